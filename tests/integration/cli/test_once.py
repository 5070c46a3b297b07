"""`regente workflow run`: asked for, watched, and its exit code."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.integration.console.site import ACME, Site, now, put_run, put_task, put_worker, workflow_files

ROBOT = "0b0000000011"


@contextmanager
def owner(on: Site, outcome: str) -> Iterator[None]:
    """The scheduler's and the executor's part: the task waits a moment, runs, and ends."""
    over = threading.Event()

    def work() -> None:
        while not over.wait(0.05):
            found = on.db["commands"].find_one({"kind": "run.once", "state": "pending"})
            if found is None:
                continue
            task = f"task_{found['_id'].removeprefix('cmd_')}"
            once = {"worker": ROBOT, "version": found["args"]["version"], "scenario": "only", "by": found["by"]}
            put_worker(on, ROBOT, ACME, run="run_other", status="running")
            put_task(on, _id=task, once=once, partner=None, workflow=found["args"]["workflow"], input={})
            end = {"state": "done", "reason": task, "ended_at": now()}
            on.db["commands"].update_one({"_id": found["_id"]}, {"$set": end})
            over.wait(1.2)
            run = put_run(on, task, ROBOT)
            error = (
                {"kind": "business", "code": "BUSINESS", "message": "unknown there"} if outcome == "failed" else None
            )
            result = {"output": {"protocol": "p-1"}} if outcome == "succeeded" else None
            fields = {"state": outcome, "error": error, "result": result, "held_by": {"run": run, "attempt": 1}}
            on.db["tasks"].update_one({"_id": task}, {"$set": fields})

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.fixture
def directory(console: Site, tmp_path: Path) -> str:
    """A workflow's folder, and a robot to run it on."""
    put_worker(console, ROBOT, ACME)
    for name, text in workflow_files("cli-once").items():
        (tmp_path / name).write_text(text)
    return str(tmp_path)


def test_a_folder_is_run_once_and_watched(regente: Any, console: Site, directory: str) -> None:
    with owner(console, "succeeded"):
        done = regente("workflow", "run", directory, "--worker", ROBOT, "--input", '{"a": "b"}', "--watch")
    assert f"waits: its robot {ROBOT} has a run in hand" in done.stderr
    assert "browser.click" in done.stdout
    assert '"protocol": "p-1"' in done.stdout
    stored = console.db["commands"].find_one(
        {"kind": "run.once", "args.workflow": "cli-once"}, sort=[("created_at", -1)]
    )
    assert stored is not None
    assert stored["args"]["input"] == {"a": "b"}


def test_the_exit_code_says_how_it_ended(regente: Any, console: Site, directory: str, tmp_path: Path) -> None:
    (tmp_path / "input.json").write_text('{"registration": "9"}')
    with owner(console, "failed"):
        file = str(tmp_path / "input.json")
        failed = regente("workflow", "run", directory, "--worker", ROBOT, "--input", file, "--watch", "--json", code=1)
    assert "the one-off run is failed: unknown there" in failed.stderr
    lines = [json.loads(line) for line in failed.stdout.splitlines()]
    assert next(one["name"] for one in lines[:-1] if one["kind"] == "instruction") == "browser.click"
    assert lines[-1]["task"]["state"] == "failed"


def test_without_watching_the_task_is_told(regente: Any, console: Site, directory: str) -> None:
    asked = json.loads(regente("workflow", "run", directory, "--worker", ROBOT, "--json").stdout)
    assert asked["task"].startswith("task_")
    console.db["commands"].delete_many({"kind": "run.once"})
    regente("workflow", "run", directory, "--worker", ROBOT, "--input", "nothing.json", code=2)
    regente("workflow", "run", directory, "--worker", ROBOT, "--input", "[1]", code=2)
    regente("workflow", "run", directory, "--worker", "none", code=1)
