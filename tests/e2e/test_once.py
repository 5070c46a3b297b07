"""A developer runs unpublished files on a robot of the fleet: everything is seen, nothing is billed or delivered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from tests.e2e.stack import Stack
from tests.e2e.test_faults import healthy_portal, tasks

__all__ = ["healthy_portal"]


def regente(*arguments: str) -> Any:
    """Run a command line."""
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 0, f"{arguments}: {done.output}\n{done.exception!r}"
    return done


def test_unpublished_files_run_once_on_a_chosen_robot(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGENTE_HOME", str(stack.home))
    for name, text in stack.workflow.items():
        (tmp_path / name).write_text(text.replace("name: tax-certificate", "name: tried-out"))
    robot = stack.until(lambda: stack.database["workers"].find_one({"connected": True, "run": None}), "a free robot")
    value = json.dumps(tasks(1)[0]["input"])
    delivered = len(stack.received())
    done = regente(
        "workflow", "run", str(tmp_path), "--worker", robot["_id"], "--input", value, "--watch", "--json"
    )  # fmt: skip
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    task = lines[-1]["task"]
    assert (task["state"], task["workflow"], task["once"]["worker"]) == ("succeeded", "tried-out", robot["_id"])
    assert task["result"]["output"]
    assert task["evidence"] != []
    assert [one["name"] for one in lines[:-1] if one["name"] == "browser.open"] != []
    run = json.loads(regente("run", "list", "--task", task["id"], "--json").stdout)[0]
    assert (run["state"], run["worker"], run["version"]) == ("finished", robot["_id"], task["once"]["version"])
    assert "browser.open" in regente("run", "show", run["id"]).stdout
    stack.until(lambda: stack.task(task["id"])["pending"] is None, "the hand-over is cleared")
    assert stack.database["deliveries"].count_documents({"task": task["id"]}) == 0
    assert stack.database["results"].count_documents({"task": task["id"]}) == 0
    assert len(stack.received()) == delivered
    assert stack.collector.get(f"/v1/tasks/{task['id']}").status_code == 404
    assert stack.database["workflows"].find_one({"name": "tried-out"}) is None
