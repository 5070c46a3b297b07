"""`regente job` and `regente document`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from services.executor.core.totp import Totp
from shared.seal import Sealer
from tests.integration.console.site import ACME, MASTER_KEY, Site


@pytest.fixture
def regente(console: Site, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command line; the exit code must be the expected one."""
    for name in ("URL", "TOKEN", "KEY"):
        monkeypatch.delenv(f"REGENTE_{name}", raising=False)
    monkeypatch.setenv("REGENTE_HOME", str(console.home))
    monkeypatch.setenv("REGENTE_ACCOUNT", ACME)
    monkeypatch.setenv("COLUMNS", "240")

    def run(*arguments: str, code: int = 0, text: str | None = None) -> Result:
        result = CliRunner().invoke(app, list(arguments), input=text)
        assert result.exit_code == code, f"{arguments}: {result.exit_code}\n{result.output}\n{result.exception!r}"
        return result

    return run


def test_jobs(regente: Any, tmp_path: Path) -> None:
    file = tmp_path / "say.yaml"
    file.write_text("command: [/bin/echo, '{0}']\ntimeout_s: 30\n")
    assert regente("job", "set", str(file)).stdout == f"{ACME}/say is registered\n"
    assert regente("job", "set", str(file), "--account", "*", "--name", "all").stdout == "*/all is registered\n"
    listed = regente("job", "list").stdout
    assert f"{ACME}/say" in listed
    assert "*/all" in listed
    shown = regente("job", "show", "say").stdout
    assert "timeout_s: 30" in shown
    regente("job", "set", "-", "--name", "say", text=shown.replace("30", "40"))
    assert json.loads(regente("job", "show", "say", "--json").stdout)["timeout_s"] == 40
    assert regente("job", "remove", "say").stdout == f"{ACME}/say is removed\n"
    regente("job", "remove", "*/all")
    regente("job", "show", "say", code=1)
    regente("job", "set", "-", code=2, text="command: [/bin/true]")
    regente("job", "set", "-", "--name", "x", code=1, text="command: [true]")


def test_documents(regente: Any, console: Site, tmp_path: Path) -> None:
    secret = tmp_path / "otp"
    secret.write_text("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ\n")
    regente("document", "set", "cli/otp", "--kind", "totp", "--file", str(secret), "--digits", "8")
    regente("document", "set", "cli/login", "--kind", "login", "--user", "ann", text="hunter2-cli\n")
    assert regente("document", "set", "cli/text", text="t0ken\n").stdout == f"{ACME}/cli/text is stored\n"
    listed = regente("document", "list").stdout
    assert all(f"{ACME}/cli/{name}" in listed for name in ("otp", "login", "text"))
    assert "hunter2" not in listed

    def plain(name: str) -> Any:
        stored = console.db["documents"].find_one({"_id": f"{ACME}/{name}"})
        assert stored is not None
        return json.loads(Sealer(MASTER_KEY).open("document", bytes(stored["sealed"]), f"{ACME}/{name}".encode()))

    assert Totp.of(plain("cli/otp")).code(59) == "94287082"
    assert plain("cli/login") == {"kind": "login", "user": "ann", "password": "hunter2-cli"}
    assert plain("cli/text") == {"kind": "text", "text": "t0ken"}
    regente("document", "remove", "cli/text")
    regente("document", "remove", "cli/text", code=1)
    regente("document", "set", "x", "--kind", "login", code=2, text="x")
    regente("document", "set", "x", code=2, text="")
