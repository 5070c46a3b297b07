"""The order of work end to end, with real scripts and robots: groups, refused log-ins, timeouts, windows."""

from __future__ import annotations

import uuid
from itertools import pairwise
from typing import Any

from tests.e2e import invariants
from tests.e2e.stack import Stack
from tests.e2e.test_faults import healthy_portal

__all__ = ["healthy_portal"]

WORKFLOW = """
name: {name}
input: {{type: object}}
timeouts: {{task: {timeout}, instruction: 10s}}
scenarios:
  - {{name: look, when: [{{field: kind, value: look}}], group_by: [user], max_tasks: 5, worker: true, script: look.py}}
  - {{name: do, when: [{{field: kind, op: ne, value: look}}], group_by: [user], max_tasks: 5, worker: true, script:
  do.py}}
settings:
  retry: {{attempts: 2, delay: 1s}}
  delivery: {{endpoint: acme-results, events: [succeeded, failed, held]}}
"""
LOOK = """
from regente import login_rejected

def setup(group: dict[str, str]) -> None:
    if group["user"] == "locked":
        login_rejected("wrong password for " + group["user"])

def execute(task: dict[str, str]) -> dict[str, object]:
    return {"saw": task["n"]}
"""
DO = """
import time

def execute(task: dict[str, str]) -> dict[str, object]:
    if task["n"] == "slow":
        time.sleep(25)  # sat out in the process: time parked would not count
    return {"did": task["n"]}
"""


def _publish(stack: Stack, timeout: str = "2m") -> str:
    name = f"order-{uuid.uuid4().hex[:6]}"
    stack.console.publish({"workflow.yaml": WORKFLOW.format(name=name, timeout=timeout), "look.py": LOOK, "do.py": DO})
    return name


def _push(stack: Stack, name: str, *inputs: dict[str, str]) -> list[str]:
    return list(stack.push([{"reference": uuid.uuid4().hex, "input": one} for one in inputs], name).values())


def _task(kind: str, user: str, n: str) -> dict[str, str]:
    return {"kind": kind, "user": user, "n": n}


def _event(stack: Stack, **query: Any) -> dict[str, Any]:
    return dict(stack.until(lambda: stack.database["events"].find_one(query), f"an event {query}"))


def test_each_scenario_runs_its_own_script_with_its_groups_values(stack: Stack) -> None:
    name = _publish(stack)
    pushed = [_task(kind, user, str(n)) for n, (kind, user) in enumerate([("look", "a"), ("do", "b"), ("do", "a")] * 2)]
    ids = _push(stack, name, *pushed)
    assert stack.until_settled(ids) == ["succeeded"] * 6
    for id, given in zip(ids, pushed, strict=True):
        key = "saw" if given["kind"] == "look" else "did"
        assert stack.task(id)["result"]["output"] == {key: given["n"]}
    runs = list(stack.database["runs"].find({"workflow": name}).sort("opened_at", 1))
    for run in runs:
        inputs = [stack.task(item["task"])["input"] for item in run["tasks"]]
        assert {one["user"] for one in inputs} == {run["group"]["user"]}
        assert {one["kind"] == "look" for one in inputs} == {run["scenario"] == "look"}
    of_a = [run for run in runs if run["group"]["user"] == "a"]
    for one, two in pairwise(of_a):
        assert one["finished_at"] <= two["opened_at"], "one run at a time has the group"
    invariants.check(stack, ids)


def test_a_refused_login_holds_the_workflow_before_a_second_try(stack: Stack) -> None:
    name = _publish(stack)
    ids = _push(stack, name, *(_task("look", "locked", str(n)) for n in range(3)))
    event = _event(stack, kind="login_rejected", target=f"{stack.console.account}/{name}")
    assert "wrong password for locked" in event["text"]
    stack.until(lambda: stack.states(ids) == ["queued"] * 3, "its tasks are back in the queue")
    assert stack.database["runs"].count_documents({"workflow": name}) == 1, "nobody tried again"
    assert all(stack.task(id)["attempts"] == 0 for id in ids), "a failing setup fails no task"
    row = next(one for one in stack.console._call("GET", "queue")["items"] if one["workflow"] == name)
    assert row["open"] is False
    assert "wrong password for locked" in row["why"]
    why = stack.console._call("GET", "queue/why", params={"task": ids[0]})
    assert why["why"].startswith(f"its workflow {name} is held: the portal refused the log-in")
    action = {"action": "cancel", "filter": {"account": stack.console.account, "workflow": name}}
    stack.console._call("POST", "queue/actions", json=action)
    stack.until(lambda: stack.states(ids) == ["cancelled"] * 3, "all of them are called off")


def test_a_task_that_takes_too_long_is_aborted_told_and_tried_again(stack: Stack) -> None:
    name = _publish(stack, timeout="1s")
    ids = _push(stack, name, _task("do", "a", "slow"))
    assert stack.until_settled(ids) == ["failed"]
    task = stack.task(ids[0])
    assert (task["attempts"], task["error"]["code"]) == (2, "TASK_TIMEOUT")
    assert stack.database["events"].count_documents({"kind": "task_timed_out", "target": ids[0]}) == 2
    invariants.check(stack, ids)


def test_a_window_that_closes_lets_the_task_in_hand_finish(stack: Stack) -> None:
    name = _publish(stack)
    inputs = [_task("do", "a", "slow"), *(_task("do", "a", str(n)) for n in range(3))]
    ids = _push(stack, name, *inputs)
    begun = {"_id": ids[0], "started_at": {"$ne": None}}
    stack.until(lambda: stack.database["tasks"].find_one(begun), "the first one has begun")
    path = f"workflows/{stack.console.account}/{name}/settings"
    stack.console._call("PATCH", path, json={"windows": [_closed_now(stack)]})
    stopping = {"workflow": name, "abort.kind": "after_task"}
    run = stack.until(lambda: stack.database["runs"].find_one(stopping), "its run is to end after the task")
    assert "closed" in run["abort"]["reason"]
    assert stack.task(ids[0])["state"] == "running", "the task in hand goes on"
    stack.console._call("POST", f"runs/{run['_id']}/abort", json={"reason": "the test has seen enough"})
    stack.until(lambda: stack.states(ids[1:]) == ["queued"] * 3, "the others go back")
    why = stack.console._call("GET", "queue/why", params={"task": ids[1]})
    assert "is closed (outside its windows)" in why["why"]
    stack.console._call("POST", f"tasks/{ids[0]}/cancel", json={})
    stack.console._call("PATCH", path, json={"windows": []})
    stack.until(lambda: stack.states(ids[1:]) == ["succeeded"] * 3, "the others run when it is open again")


def _closed_now(stack: Stack) -> dict[str, Any]:
    """A window of a minute on another day than today."""
    now = stack.database.client.admin.command("hello")["localTime"]
    day = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")[(now.weekday() + 3) % 7]
    return {"days": [day], "start": "00:00", "end": "00:01"}
