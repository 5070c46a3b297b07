"""What people do with tasks, workflows and robots that wait: requests to the scheduler, one or many."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.integration.console.site import (
    ACME,
    OTHER,
    Site,
    answer_commands,
    now,
    put_circuit,
    put_run,
    put_task,
    put_worker,
    workflow_files,
)


def publish(http: httpx.Client, account: str = ACME) -> str:
    """A workflow of its own for a test."""
    name = f"flow-{uuid.uuid4().hex[:8]}"
    http.post("workflows", json={"account": account, "files": workflow_files(name)}).raise_for_status()
    return name


@pytest.mark.parametrize(
    ("action", "body", "args"),
    [
        ("hold", {"text": "the portal is slow"}, {"text": "the portal is slow"}),
        ("hold", None, {"text": ""}),
        ("release", None, {}),
        ("front", None, {}),
        ("priority", {"priority": 5}, {"priority": 5}),
        ("priority", {"priority": None}, {"priority": None}),
    ],
)
def test_a_task_is_steered_by_a_request(
    console: Site, admin: httpx.Client, action: str, body: dict[str, Any] | None, args: dict[str, Any]
) -> None:
    task = put_task(console)
    with answer_commands(console) as commands:
        answer = admin.post(f"tasks/{task}/{action}", json=body)
    assert answer.status_code == 200, answer.text
    (command,) = commands
    assert (command["kind"], command["to"], command["target"]) == (f"task.{action}", "scheduler", task)
    assert command["args"] == args
    assert console.db["audit"].count_documents({"action": f"task.{action}", "target": task, "account": ACME}) == 1


def test_an_ended_task_and_a_wrong_priority_are_refused(console: Site, admin: httpx.Client) -> None:
    ended, waiting = put_task(console, state="succeeded"), put_task(console)
    for action, body in (("hold", {}), ("release", None), ("front", None), ("priority", {"priority": 1})):
        assert admin.post(f"tasks/{ended}/{action}", json=body).status_code == 409
    for wrong in ({}, {"priority": 6}, {"priority": -1}, {"priority": "high"}, {"level": 1}):
        answer = admin.post(f"tasks/{waiting}/priority", json=wrong)
        assert (answer.status_code, "priority" in answer.text or "level" in answer.text) == (422, True)
    assert console.db["commands"].count_documents({"target": {"$in": [ended, waiting]}}) == 0


def test_a_bulk_action_is_one_request_whose_progress_shows(console: Site, admin: httpx.Client) -> None:
    workflow = publish(admin)
    before = now() - timedelta(hours=1)
    body = {
        "action": "priority",
        "filter": {"account": ACME, "workflow": workflow, "state": "queued", "created_before": before.isoformat()},
        "priority": None,
    }
    answer = admin.post("queue/actions", json=body)
    assert (answer.status_code, answer.json()["state"]) == (202, "pending"), answer.text
    assert answer.json()["progress"] == {"done": 0, "skipped": 0, "refused": 0, "finished": False}
    command = answer.json()["command"]
    stored = console.db["commands"].find_one({"_id": command})
    assert stored is not None
    assert (stored["kind"], stored["to"], stored["target"], stored["by"]) == ("queue.bulk", "scheduler", ACME, "admin")
    wanted = {"account": ACME, "workflow": workflow, "state": "queued"}
    kept = {name: value for name, value in stored["args"]["filter"].items() if name != "created_before"}
    assert (kept, stored["args"]["action"], stored["args"]["priority"]) == (wanted, "priority", None)
    assert stored["args"]["filter"]["created_before"] == before
    half = {"done": 3, "skipped": 0, "refused": 1, "finished": False, "last": "task_x", "at": 4}
    console.db["commands"].update_one({"_id": command}, {"$set": {"progress": half}})
    shown = admin.get(f"queue/actions/{command}").json()
    assert shown["progress"] == {"done": 3, "skipped": 0, "refused": 1, "finished": False}
    assert (shown["action"], shown["filter"]["workflow"], shown["by"]) == ("priority", workflow, "admin")
    end = {"state": "done", "progress": {**half, "done": 9, "finished": True}, "ended_at": now()}
    console.db["commands"].update_one({"_id": command}, {"$set": end})
    newest = admin.get("queue/actions", params={"account": ACME, "limit": 1}).json()["items"][0]
    assert (newest["command"], newest["state"], newest["progress"]["done"]) == (command, "done", 9)
    assert console.db["audit"].count_documents({"action": "queue.bulk", "details.command": command}) == 1
    assert admin.get("queue/actions/cmd_none").status_code == 404


def test_a_slip_holds_nothing(console: Site, admin: httpx.Client) -> None:
    held = console.db["commands"].count_documents({"kind": "queue.bulk"})
    for body, word in [
        ({"action": "hold", "filter": {"account": ACME}}, "all"),
        ({"action": "hold", "filter": {"workflow": "tax"}}, "account"),
        ({"action": "hold", "filter": {"account": ACME, "workflow": None}}, "workflow"),
        ({"action": "hold", "filter": {"account": ACME, "worklfow": "tax"}}, "worklfow"),
        ({"action": "hold", "filter": {"account": ACME, "state": "failed"}}, "state"),
        ({"action": "hold", "filter": {"account": ACME, "references": []}}, "references"),
        ({"action": "hold", "filter": {"account": ACME, "references": ["r"] * 1001}}, "references"),
        ({"action": "hold", "filter": {"account": ACME, "created_before": "2026-11-25T10:00:00"}}, "created_before"),
        ({"action": "hold", "filter": {"account": ACME, "batch": "b"}, "priority": 2}, "priority"),
        ({"action": "priority", "filter": {"account": ACME, "batch": "b"}}, "priority"),
        ({"action": "erase", "filter": {"account": ACME, "batch": "b"}}, "action"),
    ]:
        for path in ("queue/actions", "queue/count"):
            answer = admin.post(path, json=body)
            assert (answer.status_code, word in answer.json()["detail"]) == (422, True), (body, answer.text)
    missing = {"action": "hold", "filter": {"account": ACME, "workflow": "no-such-flow"}}
    assert admin.post("queue/actions", json=missing).status_code == 404
    assert console.db["commands"].count_documents({"kind": "queue.bulk"}) == held
    with answer_commands(console) as commands:
        everything = {"action": "release", "filter": {"account": ACME}, "all": True}
        command = admin.post("queue/actions", json=everything).json()["command"]
    args = next(one["args"] for one in commands if one["_id"] == command)
    assert args == {"action": "release", "filter": {"account": ACME}}


def test_what_an_action_would_find_is_counted_by_the_state_it_is_for(console: Site, admin: httpx.Client) -> None:
    workflow = publish(admin)
    batch = f"batch_{uuid.uuid4().hex}"
    for n, state in enumerate(["queued", "queued", "queued", "held", "running", "succeeded"]):
        put_task(console, workflow=workflow, batch=batch, state=state, reference=f"{batch}-{n}", priority=n % 2 or None)

    def count(action: str, **narrowed: Any) -> int:
        more = {"priority": 3} if action == "priority" else {}
        body = {"action": action, "filter": {"account": ACME, "batch": batch, **narrowed}, **more}
        return int(admin.post("queue/count", json=body).json()["count"])

    assert [count(one) for one in ("hold", "front", "release", "priority", "cancel")] == [3, 3, 1, 4, 5]
    assert count("cancel", state="running") == 1
    assert count("hold", state="held") == 0
    assert count("hold", references=[f"{batch}-{n}" for n in (0, 1, 5)]) == 2
    assert count("hold", priority=1) == 1
    assert count("hold", priority=None) == 2
    assert count("hold", created_before=(now() - timedelta(hours=1)).isoformat()) == 0


def test_a_refused_bulk_action_says_why(console: Site, admin: httpx.Client) -> None:
    with answer_commands(console, "refused", "too many at once"):
        answer = admin.post("queue/actions", json={"action": "hold", "filter": {"account": ACME, "batch": "b"}})
    assert (answer.status_code, answer.json()["detail"]) == (409, "too many at once")


def test_a_workflow_is_held_and_shows_its_circuit(console: Site, admin: httpx.Client) -> None:
    workflow = publish(admin)
    path = f"workflows/{ACME}/{workflow}"
    assert admin.get(path).json()["circuit"] is None
    with answer_commands(console) as commands:
        assert admin.post(f"{path}/hold", json={"text": "new certificate"}).status_code == 200
        assert admin.post(f"{path}/release").status_code == 200
    assert [(one["kind"], one["target"], one["args"]) for one in commands] == [
        ("workflow.hold", f"{ACME}/{workflow}", {"text": "new certificate"}),
        ("workflow.release", f"{ACME}/{workflow}", {}),
    ]
    put_circuit(console, workflow)
    circuit = admin.get(path).json()["circuit"]
    assert {name: circuit[name] for name in ("state", "reason", "by", "failures")} == {
        "state": "open",
        "reason": "failures",
        "by": "scheduler",
        "failures": 5,
    }
    assert admin.post(f"workflows/{ACME}/none/hold").status_code == 404


def test_only_the_given_fields_of_a_robot_are_sent(console: Site, admin: httpx.Client) -> None:
    worker = put_worker(console, "0a0000000021", ACME)
    workflow = publish(admin)
    name = f"{ACME}/{workflow}"
    schedule = {"timezone": "America/Sao_Paulo", "windows": [{"days": ["mon"], "start": "22:00", "end": "06:00"}]}
    bodies: list[dict[str, Any]] = [
        {"tags": ["sap", "windows-11"]},
        {"exclusive": name, "workflows": [name]},
        {"exclusive": None, "workflows": None, "account": None, "schedule": None},
        {"schedule": schedule},
    ]
    with answer_commands(console) as commands:
        for body in bodies:
            answer = admin.post(f"workers/{worker}/config", json=body)
            assert answer.status_code == 200, answer.text
        for action in ("drain", "release"):
            assert admin.post(f"workers/{worker}/{action}").status_code == 200
    assert [one["kind"] for one in commands] == ["worker.config"] * 4 + ["worker.drain", "worker.release"]
    assert [one["args"] for one in commands[:4]] == bodies
    for wrong, word in [
        ({}, "at least one field"),
        ({"tags": ["Not A Tag"]}, "tags"),
        ({"workflows": ["tax"]}, "workflows"),
        ({"workflows": [f"{ACME}/no-such-flow"]}, "no-such-flow"),
        ({"exclusive": f"{ACME}/no-such-flow"}, "exclusive"),
        ({"schedule": {"holidays": ["no-such-days"]}}, "regente calendar put"),
        ({"schedule": {"windows": [{"days": ["mon"], "start": "9", "end": "10:00"}]}}, "schedule.windows.0.start"),
        ({"colour": "red"}, "colour"),
    ]:
        answer = admin.post(f"workers/{worker}/config", json=wrong)
        assert (answer.status_code, word in answer.json()["detail"]) == (422, True), answer.text


def test_a_robot_and_its_workflows_are_of_one_account(console: Site, admin: httpx.Client) -> None:
    mine, foreign = publish(admin), publish(admin, OTHER)
    worker = put_worker(console, "0a0000000022", ACME, workflows=[f"{ACME}/{mine}"])
    for body in ({"workflows": [f"{OTHER}/{foreign}"]}, {"account": OTHER}):
        answer = admin.post(f"workers/{worker}/config", json=body)
        assert (answer.status_code, "account" in answer.json()["detail"]) == (422, True), answer.text
    shared = put_worker(console, "0a0000000023", None)
    no_calendars = admin.post(f"workers/{shared}/config", json={"schedule": {"holidays": ["days"]}})
    assert (no_calendars.status_code, "shared robot" in no_calendars.json()["detail"]) == (422, True)
    with console.client("otto") as operator:
        assert operator.post(f"workers/{shared}/config", json={"tags": ["sap"]}).status_code == 403
        assert operator.post(f"workers/{worker}/config", json={"account": None}).status_code == 403
        assert operator.post(f"workers/{worker}/config", json={"account": OTHER}).status_code == 404
    with answer_commands(console) as commands:
        both = {"account": OTHER, "workflows": [f"{OTHER}/{foreign}"]}
        assert admin.post(f"workers/{worker}/config", json=both).status_code == 200
    assert commands[0]["args"] == both


def test_a_robot_shows_what_is_special_about_it(console: Site, admin: httpx.Client) -> None:
    quarantine = {"until": now(), "times": 2, "reason": "3 runs in a row failed on it", "at": now()}
    worker = put_worker(
        console,
        "0a0000000024",
        ACME,
        tags=["sap"],
        workflows=[f"{ACME}/tax"],
        exclusive=f"{ACME}/tax",
        quarantine=quarantine,
        failures=3,
        drain={"by": "otto", "at": now()},
        schedule={"timezone": "UTC", "windows": [], "holidays": []},
    )
    shown = admin.get(f"workers/{worker}").json()
    assert (shown["tags"], shown["workflows"], shown["exclusive"]) == (["sap"], [f"{ACME}/tax"], f"{ACME}/tax")
    assert (shown["quarantine"]["times"], shown["failures"], shown["drain"]["by"]) == (2, 3, "otto")
    plain = admin.get(f"workers/{put_worker(console, '0a0000000025', ACME)}").json()
    assert (plain["tags"], plain["workflows"], plain["quarantine"], plain["failures"]) == ([], None, None, 0)


@pytest.mark.parametrize("how", ["stop", "abort"])
def test_a_run_is_stopped_or_aborted_by_a_request(console: Site, admin: httpx.Client, how: str) -> None:
    run = put_run(console, put_task(console), "0a0000000031", state="executing")
    with answer_commands(console) as commands:
        assert admin.post(f"runs/{run}/{how}", json={"reason": "the portal changed"}).status_code == 200
    (command,) = commands
    assert (command["kind"], command["to"], command["target"]) == (f"run.{how}", "executor", run)
    assert command["args"] == {"reason": "the portal changed"}
    assert console.db["audit"].count_documents({"action": f"run.{how}", "target": run, "account": ACME}) == 1
    ended = put_run(console, put_task(console), "0a0000000031")
    assert admin.post(f"runs/{ended}/{how}", json={}).status_code == 409


def test_a_task_is_aborted_by_a_request(console: Site, admin: httpx.Client) -> None:
    task = put_task(console, state="running", held_by={"run": "run_x", "attempt": 1, "epoch": 1})
    with answer_commands(console) as commands:
        assert admin.post(f"tasks/{task}/abort").status_code == 200
    (command,) = commands
    assert (command["kind"], command["to"], command["args"]) == ("task.cancel", "scheduler", {"now": True})
    assert console.db["audit"].count_documents({"action": "task.cancel", "target": task, "details.now": True}) == 1
    assert admin.post(f"tasks/{put_task(console, state='failed')}/abort").status_code == 409


@pytest.mark.parametrize(
    ("body", "args"),
    [
        ({"text": "t"}, {"text": "t"}),
        ({"text": "t", "mode": "stop"}, {"text": "t"}),
        ({"mode": "pause"}, {"text": "", "mode": "pause"}),
        ({"text": "t", "mode": "abort"}, {"text": "t", "mode": "abort"}),
    ],
)
def test_a_hold_says_what_becomes_of_the_runs(
    console: Site, admin: httpx.Client, body: dict[str, Any], args: dict[str, Any]
) -> None:
    name = publish(admin)
    with answer_commands(console) as commands:
        assert admin.post(f"workflows/{ACME}/{name}/hold", json=body).status_code == 200
    assert [(one["kind"], one["args"]) for one in commands] == [("workflow.hold", args)]
    assert admin.post(f"workflows/{ACME}/{name}/hold", json={"mode": "later"}).status_code == 422
