"""docs/partners.md brings a partner from a key to a verified webhook: its blocks are run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from pathlib import Path

import pytest

from tests.integration.collector.running import free_port, until
from tests.partners.stack import WORKFLOW, Account

PAPER = Path(__file__).resolve().parents[2] / "docs" / "partners.md"
TEXT = PAPER.read_text(encoding="utf-8")
PICTURE = b"\x89PNG a picture"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def filled_in(account: Account, port: int) -> str:
    """The first block with the reader's values; every variable of it has one."""
    values = {
        "COLLECTOR": account.collector,
        "DELIVERY": account.delivery,
        "KEY": account.key,
        "WORKFLOW": WORKFLOW,
        "INPUT": """'{"registration": "12345678"}'""",
        "PORT": str(port),
        "HOOK": "http://127.0.0.1:$PORT/regente",
    }
    names = re.findall(r"^(\w+)=", blocks("bash")[0], re.MULTILINE)
    assert names == list(values)
    return "".join(f"{name}={value}\n" for name, value in values.items())


def bash(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    strict = "set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n"
    env = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    return subprocess.run(
        ["bash", "-c", strict + script], cwd=folder, env=env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the reader works."""
    folder = tmp_path_factory.mktemp("reader")
    (python,) = blocks("python")
    (folder / "listen.py").write_text(python, encoding="utf-8")
    return folder


def test_the_blocks_work_one_after_the_other(account: Account, reader: Path) -> None:
    worked: list[str] = []

    def work() -> None:
        """A robot does it, once the partner has pushed."""
        query = {"account": account.name, "reference": "order-4711", "state": "queued"}
        # the last push of the paper has come: the task ends behind it, as with a robot that has other things to do
        pushed = {"account": account.name, "duplicates": 1}
        until(lambda: account.db["batches"].count_documents(pushed) >= 1, "pushed twice", 40)
        task = until(lambda: account.db["tasks"].find_one(query), "the task", 40)
        account.finish(task["_id"], evidence=PICTURE)
        worked.append(task["_id"])

    robot = threading.Thread(target=work, daemon=True)
    robot.start()
    keep = '\nprintf %s "$SECRET" > secret; printf %s "$AFTER" > after\n'
    done = bash(filled_in(account, free_port()) + "\n".join(blocks("bash")[1:]) + keep, reader)
    robot.join(10)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert worked
    said = done.stdout
    assert said.count('"duplicate":false') == 1
    assert said.count('"duplicate":true') == 1
    assert "the same answer" in said
    assert '"state":"succeeded"' in said
    assert "genuine" in said
    assert '"type":"task.succeeded"' in said
    assert (reader / "evidence.png").read_bytes() == PICTURE
    assert (reader / "after").read_text()


@pytest.mark.parametrize("change", ["body", "secret", "old"])
def test_the_papers_check_refuses_what_is_not_genuine(reader: Path, change: str) -> None:
    """On what the test before left there."""
    secret, body, headers = ((reader / name).read_text() for name in ("secret", "webhook.body", "webhook.headers"))
    verify = next(block for block in blocks("bash") if "verify()" in block)
    try:
        if change == "body":
            (reader / "webhook.body").write_text(body.replace("succeeded", "Succeeded", 1))
        elif change == "secret":
            secret = "whsec_" + secret.removeprefix("whsec_")[::-1].lstrip("=") + "="
        else:
            (reader / "webhook.headers").write_text(
                re.sub(r"(?i)(webhook-timestamp: )(\d+)", lambda found: found.group(1) + "1000000000", headers)
            )
        done = bash(f"SECRET='{secret}'\n{verify}", reader)
        assert done.returncode != 0
        assert "refuse it" in done.stdout
    finally:
        (reader / "webhook.body").write_text(body)
        (reader / "webhook.headers").write_text(headers)


def test_it_names_the_files_that_are_there() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", TEXT)
    assert links
    assert [link for link in links if not (PAPER.parent / link).exists()] == []
