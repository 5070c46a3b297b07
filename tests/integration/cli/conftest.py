"""One console for all tests of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from tests.integration.console.site import ACME, Site, site


@pytest.fixture(scope="session")
def console(servers: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A console with accounts and users."""
    with site(servers, tmp_path_factory.mktemp("console")) as made:
        yield made


@pytest.fixture
def admin(console: Site) -> Iterator[httpx.Client]:
    """The API as the admin of everything."""
    with console.client() as client:
        yield client


@pytest.fixture
def regente(console: Site, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command line; the exit code must be the expected one."""
    for name in ("URL", "TOKEN", "KEY", "COLLECTOR_URL", "DELIVERY_URL", "ACCOUNT"):
        monkeypatch.delenv(f"REGENTE_{name}", raising=False)
    monkeypatch.setenv("REGENTE_HOME", str(console.home))
    monkeypatch.setenv("REGENTE_ACCOUNT", ACME)
    monkeypatch.setenv("COLUMNS", "240")

    def run(*arguments: str, code: int = 0, text: str | None = None) -> Result:
        result = CliRunner().invoke(app, list(arguments), input=text)
        assert result.exit_code == code, f"{arguments}: {result.exit_code}\n{result.output}\n{result.exception!r}"
        return result

    return run
