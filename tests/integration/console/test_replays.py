"""New files against a run that was: who may ask, what is asked of executors, and what is answered."""

from __future__ import annotations

import json
from typing import Any

import httpx

from shared.obs.ids import new_id
from tests.integration.console.site import (
    ACME,
    OTHER,
    Site,
    answer_commands,
    now,
    put_run,
    put_task,
    replay_report,
    workflow_files,
)


def _ask(http: httpx.Client, run: str, account: str = ACME, **files: str) -> httpx.Response:
    return http.post("workflows/replay", json={"account": account, "run": run, "files": {**workflow_files(), **files}})


def test_an_executor_is_asked_and_its_report_is_the_answer(console: Site) -> None:
    run = put_run(console, put_task(console), "00155d020a01")
    report = replay_report(run)
    with console.client("otto") as operator, answer_commands(console, progress={"report": json.dumps(report)}) as seen:
        answer = _ask(operator, run)
    assert answer.status_code == 200, answer.text
    (command,) = seen
    assert (command["kind"], command["to"], command["target"], command["by"]) == (
        "run.replay", "executor", run, "otto"
    )  # fmt: skip
    assert command["args"] == {"run": run, "account": ACME, "files": workflow_files()}
    body = answer.json()
    assert (body["command"], body["state"], body["report"]["counts"]) == (command["_id"], "done", report["counts"])
    assert body["report"]["phases"][1]["now"].items() >= report["phases"][1]["now"].items()
    audited = console.db["audit"].find_one({"target": run, "action": "run.replay"}) or {}
    assert audited["details"] == {"command": command["_id"], "run": run, "account": ACME}, "files are not for the audit"
    with console.client("otto") as operator:
        assert operator.get(f"replays/{command['_id']}").json() == body


def test_who_may_not_and_what_can_not_is_told_before_anybody_is_asked(console: Site) -> None:
    task = put_task(console)
    run, live = put_run(console, task, "00155d020a01"), put_run(console, task, "00155d020a01", state="executing")
    before = console.db["commands"].count_documents({"kind": "run.replay"})

    def status(user: str, *arguments: Any, **files: str) -> int:
        with console.client(user) as http:
            return _ask(http, *arguments, **files).status_code

    assert status("vera", run) == 403, "a viewer has nothing executed"
    assert status("olga", run) == 404
    assert status("olga", run, OTHER) == 404, "it is a run of another account"
    assert status("ole", run, OTHER) == 404, "the account is not the run's"
    assert status("otto", "run_none") == 404
    assert status("otto", live) == 409
    assert status("otto", run, **{"tax.py": "def execute(task: dict[str, str]) -> int:\n    return 'x'\n"}) == 422
    assert console.db["commands"].count_documents({"kind": "run.replay"}) == before


def test_a_refusal_and_an_answer_that_is_not_there_yet_are_told_apart(console: Site) -> None:
    run = put_run(console, put_task(console), "00155d020a01")
    with console.client("otto") as operator:
        with answer_commands(console, "refused", "the run's journal is gone"):
            refused = _ask(operator, run)
        assert (refused.status_code, refused.json()["detail"]) == (409, "the run's journal is gone")
        command = new_id("cmd_")
        asked = {"kind": "run.replay", "to": "executor", "target": run, "args": {"run": run, "account": ACME}}
        head = {"_id": command, "state": "pending", "reason": None, "claims": 0, "created_at": now(), "due_at": now()}
        console.db["commands"].insert_one({**head, **asked, "by": "otto"})
        waiting = operator.get(f"replays/{command}")
        assert (waiting.status_code, waiting.json()) == (202, {"command": command, "state": "pending", "report": None})
        assert operator.get("replays/cmd_none").status_code == 404
    with console.client("olga") as other:
        assert other.get(f"replays/{command}").status_code == 404
    console.db["commands"].delete_one({"_id": command})
