"""Everything is killed once in the middle of work; each time every task reaches the outcome that the design names.

The tests share one running system, so each also proves that the one before left it whole.
"""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.e2e import invariants
from tests.e2e.stack import Stack

GOOD = "10.482.113/0001-07"
UNKNOWN = "99.999.999/0001-99"


def tasks(count: int, registration: str = GOOD) -> list[dict[str, Any]]:
    stamp = uuid.uuid4().hex[:8]
    rows = []
    for n in range(count):
        reference = f"{stamp}-{n}"
        data = {"registration": registration, "certificate": "portal/acme", "kind": "clearance", "period": "2026-10"}
        rows.append({"reference": reference, "input": {**data, "reference": reference}})
    return rows


@pytest.fixture(autouse=True)
def healthy_portal(stack: Stack) -> Iterator[None]:
    yield
    stack.until(stack.all_ready, "whatever a test killed is back")
    stack.portal.delete("/_demo/faults").raise_for_status()
    stack.forgive()


def slow_submits(stack: Stack, seconds: float) -> None:
    stack.portal.post("/_demo/faults", json={"slow_submit_s": seconds}).raise_for_status()


def submitting(stack: Stack, ids: list[str]) -> dict[str, Any] | None:
    """The last step of a run that waits for the reply to a submit of one of these tasks, which the portal has counted.

    A step that is stored is not sent yet: what is cut before the robot has it is rightly done again.
    """
    counted = stack.portal.get("/_demo/submits").json()["by_reference"]
    for task in stack.running(ids):
        last = stack.database["steps"].find_one({"run": task["held_by"]["run"]}, sort=[("_id", -1)])
        in_flight = last is not None and last["kind"] == "instruction" and last["instruction"]["commit"]
        if last is not None and in_flight and stack.task(last["task"])["reference"] in counted:
            return dict(last)
    return None


def working(stack: Stack, ids: list[str], instructions: int = 3) -> dict[str, Any] | None:
    """A run that has done some instructions of one of these tasks."""
    for task in stack.running(ids):
        query = {"run": task["held_by"]["run"], "task": task["_id"], "kind": "instruction"}
        if stack.database["steps"].count_documents(query) >= instructions:
            return stack.run_of(task["_id"])
    return None


def test_tasks_flow(stack: Stack) -> None:
    ids = list(stack.push([*tasks(3), *tasks(1, UNKNOWN)]).values())
    assert stack.until_settled(ids) == ["succeeded"] * 3 + ["failed"]
    failed = stack.task(ids[-1])
    assert failed["error"]["kind"] == "business"
    assert failed["attempts"] == 1
    assert any(one["media_type"] == "image/png" for one in stack.task(ids[0])["evidence"])
    invariants.check(stack, ids)


def test_executor_killed_while_the_robot_submits(stack: Stack) -> None:
    slow_submits(stack, 4.0)
    ids = list(stack.push(tasks(2)).values())
    step = stack.until(lambda: submitting(stack, ids), "a submit in flight")
    stack.kill("-".join(step["executor"].split("-")[:2]))
    states = stack.until_settled(ids)
    taken = stack.database["steps"].find_one({"run": step["run"], "kind": "takeover"})
    assert states == ["succeeded"] * 2
    assert taken is not None
    assert taken["seq"] == step["seq"] + 1, "it did not go on at the instruction where it stood"
    assert (taken["at"] - step["at"]).total_seconds() < 10
    invariants.check(stack, ids)


@pytest.mark.parametrize("name", ["scheduler-1", "delivery-1", "collector-1"])
def test_a_service_killed_in_the_middle_of_work(stack: Stack, name: str) -> None:
    ids = list(stack.push(tasks(3)).values())
    stack.until(lambda: working(stack, ids), "a task in hand")
    stack.kill(name)
    assert stack.until_settled(ids) == ["succeeded"] * 3
    stack.until(stack.all_ready, "everything up again")
    invariants.check(stack, ids)


def test_collector_killed_while_a_partner_pushes(stack: Stack) -> None:
    """The partner repeats a push whose answer it never saw: each reference is one task."""
    rows = tasks(3)
    body = {"workflow": "tax-certificate", "tasks": rows}
    stack.kill("collector-1")
    first = {}

    def pushed() -> bool:
        try:
            answer = stack.collector.post("/v1/tasks", json=body)
        except httpx.TransportError:
            return False
        first.update({item["reference"]: item["id"] for item in answer.json()["accepted"]})
        return answer.status_code == 202

    stack.until(pushed, "the push is taken")
    again = stack.push(rows)
    assert again == first
    assert stack.until_settled(list(first.values())) == ["succeeded"] * 3
    invariants.check(stack, list(first.values()))


def test_driver_killed_while_the_robot_submits(stack: Stack) -> None:
    """The task in hand is held in doubt, the others are done after a new setup."""
    slow_submits(stack, 6.0)
    ids = list(stack.push(tasks(4)).values())
    step = stack.until(lambda: submitting(stack, ids), "a submit in flight")
    run = stack.database["runs"].find_one({"_id": step["run"]})
    assert run is not None
    robot = {"02005e000001": "robot-1", "02005e000002": "robot-2"}[run["worker"]]
    pid = stack.driver_pid(robot)
    assert pid is not None

    os.kill(pid, signal.SIGKILL)
    stack.portal.delete("/_demo/faults")
    states = stack.until_settled(ids)
    held = stack.task(step["task"])
    assert held["state"] == "held"
    assert held["hold"]["reason"] == "in_doubt"
    assert sorted(states) == ["held"] + ["succeeded"] * 3
    ended = stack.database["runs"].find_one({"_id": step["run"]})
    assert ended is not None
    assert ended["end"]["reason"] == "robot_lost"
    settle(stack, step["task"], "failed")
    invariants.check(stack, [id for id in ids if id != step["task"]])


def test_agent_killed_while_the_robot_submits(stack: Stack) -> None:
    """As with the driver; and what the partner is told of a settled task comes after what it was told before."""
    slow_submits(stack, 6.0)
    ids = list(stack.push(tasks(4)).values())
    step = stack.until(lambda: submitting(stack, ids), "a submit in flight")
    run = stack.database["runs"].find_one({"_id": step["run"]})
    assert run is not None
    stack.kill({"02005e000001": "robot-1", "02005e000002": "robot-2"}[run["worker"]])
    stack.portal.delete("/_demo/faults")
    states = stack.until_settled(ids)
    assert stack.task(step["task"])["hold"]["reason"] == "in_doubt"
    assert sorted(states) == ["held"] + ["succeeded"] * 3
    settle(stack, step["task"], "succeeded")
    types = [one["content"]["type"] for one in stack.received() if one["content"]["data"]["id"] == step["task"]]
    assert types == ["task.held", "task.succeeded"]
    invariants.check(stack, [id for id in ids if id != step["task"]])


def test_every_queue_purged_in_the_middle_of_a_run(stack: Stack) -> None:
    ids = list(stack.push(tasks(3)).values())
    stack.until(lambda: working(stack, ids), "a task in hand")
    servers = stack.launcher.servers
    assert servers is not None
    with httpx.Client(base_url=servers.amqp_admin_url, timeout=10) as admin:
        for row in admin.get("/api/queues").json():
            admin.delete(f"/api/queues/regente/{row['name']}/contents")
    assert stack.until_settled(ids) == ["succeeded"] * 3
    invariants.check(stack, ids)


def test_database_restarted_in_the_middle_of_a_run(stack: Stack) -> None:
    ids = list(stack.push(tasks(3)).values())
    stack.until(lambda: working(stack, ids), "a task in hand")
    stack.restart_server("database")
    assert stack.until_settled(ids, 120) == ["succeeded"] * 3
    invariants.check(stack, ids)


def test_broker_restarted_with_its_data_deleted(stack: Stack) -> None:
    ids = list(stack.push(tasks(3)).values())
    stack.until(lambda: working(stack, ids), "a task in hand")
    stack.restart_server("broker", wipe=True)
    assert stack.until_settled(ids, 120) == ["succeeded"] * 3
    invariants.check(stack, ids)


def test_running_task_cancelled(stack: Stack) -> None:
    """It ends at its next instruction; the partner is told."""
    slow_submits(stack, 3.0)
    ids = list(stack.push(tasks(1)).values())
    stack.until(lambda: working(stack, ids, 2), "the task in hand")
    answer = stack.collector.delete(f"/v1/tasks/{ids[0]}")
    assert answer.status_code in (200, 202)
    assert stack.until_settled(ids) == ["cancelled"]
    assert stack.collector.delete(f"/v1/tasks/{ids[0]}").status_code == 409
    invariants.check(stack, ids)


def settle(stack: Stack, task: str, outcome: str) -> None:
    """A person says what became of a held task."""
    stack.console._call("POST", f"tasks/{task}/settle", json={"outcome": outcome, "note": "looked at the portal"})
    stack.until(lambda: stack.task(task)["state"] == outcome, f"settled as {outcome}")
    stack.until(
        lambda: any(
            one["content"]["data"]["id"] == task and one["content"]["type"] == f"task.{outcome}"
            for one in stack.received()
        ),
        "the settled outcome is delivered",
    )
