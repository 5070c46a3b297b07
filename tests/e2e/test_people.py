"""What people can do to work in hand: stop a robot, abort a run, cancel a task; and what a script that fails leaves
behind."""

from __future__ import annotations

from tests.e2e import invariants
from tests.e2e.stack import Stack
from tests.e2e.test_faults import healthy_portal, settle, slow_submits, submitting, tasks, working

__all__ = ["healthy_portal"]
CUT_S_MAX = 2.0
"""From the wish to the outcome in the journal, with the instruction in flight cut between."""


def test_a_stopped_robot_finishes_its_task_first(stack: Stack) -> None:
    """The tasks that it had not begun go back as they were, and are done by the other one."""
    ids = list(stack.push(tasks(4)).values())
    run = stack.until(lambda: working(stack, ids), "a task in hand")
    call(stack, f"workers/{run['worker']}/mode", mode="stop")
    ended = stack.until(lambda: ended_run(stack, run["_id"]), "the run ends")
    assert ended["end"]["reason"] in ("stopped", "completed")
    worker = stack.until(lambda: free(stack, run["worker"]), "the robot is released")
    assert worker["status"] == "stopped"
    assert stack.until_settled(ids) == ["succeeded"] * 4
    assert all(stack.task(id)["attempts"] == 1 for id in ids)
    call(stack, f"workers/{run['worker']}/mode", mode="run")
    stack.until(lambda: free(stack, run["worker"])["status"] == "waiting", "the robot works again")
    invariants.check(stack, ids)


def test_an_aborted_run_cuts_the_instruction_submitting(stack: Stack) -> None:
    """A submit was in flight, so its task is held in doubt; the others go back and are done."""
    slow_submits(stack, 20.0)
    ids = list(stack.push(tasks(3)).values())
    step = stack.until(lambda: submitting(stack, ids), "a submit in flight")
    call(stack, f"runs/{step['run']}/abort", reason="looks wrong")
    ended = stack.until(lambda: ended_run(stack, step["run"]), "the run ends", 30)
    assert ended["state"] == "aborted"
    assert ended["end"]["reason"] == "aborted"
    assert stack.task(step["task"])["state"] == "held"
    stack.portal.delete("/_demo/faults").raise_for_status()
    states = stack.until_settled(ids, 120)
    assert sorted(states) == ["held"] + ["succeeded"] * 2
    settle(stack, step["task"], "failed")
    invariants.check(stack, [id for id in ids if id != step["task"]])


def test_an_aborted_task_ends_within_two_seconds_and_its_neighbours_go_back(stack: Stack) -> None:
    """A submit was in flight: the task is held in doubt, its run aborted, the others are done by another run."""
    slow_submits(stack, 20.0)
    ids = list(stack.push(tasks(3)).values())
    step = stack.until(lambda: submitting(stack, ids), "a submit in flight")
    call(stack, f"tasks/{step['task']}/abort")
    held = stack.until(lambda: stack.task(step["task"])["state"] == "held", "the task is held")
    assert held
    command = stack.database["commands"].find_one({"target": step["task"], "kind": "task.cancel"})
    outcome = stack.database["steps"].find_one({"run": step["run"], "kind": "outcome", "task": step["task"]})
    assert command is not None
    assert outcome is not None
    assert command["state"] == "done", command["reason"]
    assert (outcome["at"] - command["created_at"]).total_seconds() < CUT_S_MAX
    stack.portal.delete("/_demo/faults").raise_for_status()
    assert sorted(stack.until_settled(ids, 120)) == ["held"] + ["succeeded"] * 2
    settle(stack, step["task"], "failed")
    invariants.check(stack, [id for id in ids if id != step["task"]])


def call(stack: Stack, path: str, **body: str) -> None:
    stack.console._call("POST", path, json=body)


def ended_run(stack: Stack, run: str) -> dict[str, object] | None:
    found = stack.database["runs"].find_one({"_id": run, "state": {"$in": ["finished", "aborted"]}})
    return dict(found) if found else None


def free(stack: Stack, worker: str) -> dict[str, object] | None:
    found = stack.database["workers"].find_one({"_id": worker, "run": None})
    return dict(found) if found else None
