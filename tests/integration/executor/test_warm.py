"""Warm runs and runs without a robot, as their executor sees them; the scheduler's part is played by the test."""

from __future__ import annotations

from typing import Any

from shared.obs.clock import now
from shared.obs.ids import new_id
from tests.integration.executor.conftest import ACCOUNT, WORKFLOW, World

SCRIPT = """
from robot import browser
from regente import objects

def setup(group: dict[str, str]) -> None:
    browser.open("https://portal")

def execute(task: dict[str, str]) -> dict[str, str]:
    browser.click(objects.go)
    return {"n": task["n"]}

def keepalive(group: dict[str, str]) -> None:
    if not browser.exists(objects.go, timeout=1):
        raise RuntimeError("the session is gone")

def teardown(group: dict[str, str]) -> None:
    browser.close()
"""


async def standing_by(world: World, run: str, after: int = 0) -> dict[str, Any]:
    """A warm run once it stands ready (again)."""
    wanted = {"wait__kind": "warm", "wait__seq": {"$gt": after}, "executor": None, "pending": None}
    return await world.until_run(run, state="waiting", **wanted)


async def give(world: World, run: str, task: str | None = None, attempt: int = 1) -> str:
    """Give a task to a warm run, as the scheduler does."""
    at, id = now(), task or new_id("task_")
    held = {"run": run, "attempt": attempt, "epoch": 1}
    document = {
        "_id": id, "schema_version": 1, "account": ACCOUNT, "workflow": WORKFLOW, "partner": "p", "batch": "b",
        "reference": id, "input": {"n": "7"}, "state": "running", "attempts": attempt, "created_at": at,
        "updated_at": at, "held_by": held, "pending": None, "evidence": [], "events": {}, "history": [],
        "cancel": None, "op": "",
    }  # fmt: skip
    await world.mongo["tasks"].replace_one({"_id": id}, document, upsert=True)
    item = {"task": id, "attempt": attempt, "state": "waiting", "outcome": None}
    handed = {"to": "executor", "what": "tasks", "since": at, "due_at": at, "claims": 0}
    guard = {"_id": run, "state": "waiting", "wait.kind": "warm", "executor": None, "abort": None}
    done = await world.mongo["runs"].update_one(guard, {"$push": {"tasks": item}, "$set": {"pending": handed}})
    assert done.matched_count == 1
    return id


async def test_a_warm_run_takes_tasks_without_another_setup(world: World) -> None:
    await world.executor()
    robot = await world.robot({"browser.exists": True})
    await world.publish(SCRIPT, warm={"keep_alive_s": 600.0})
    run = await world.open(0, worker=robot.worker, warm=True)
    ready = await standing_by(world, run)
    assert [one.name for one in robot.done] == ["browser.open"]
    first = await give(world, run)
    ready = await standing_by(world, run, ready["wait"]["seq"])
    # the same task once more: it was retried
    await give(world, run, first, attempt=2)
    ready = await standing_by(world, run, ready["wait"]["seq"])
    (once, again) = ready["tasks"]
    assert [(one["attempt"], one["outcome"]) for one in (once, again)] == [(1, "succeeded"), (2, "succeeded")]
    assert [one.name for one in robot.done] == ["browser.open", "browser.click", "browser.click"]
    await world.ask("run.stop", run, reason="enough")
    ended = await world.ended(run)
    assert (ended["state"], ended["end"]["reason"]) == ("finished", "stopped")
    assert robot.done[-1].name == "browser.close"


async def test_a_warm_session_is_kept_alive_and_given_up_when_it_is_lost(world: World) -> None:
    await world.executor()
    alive = [True, True, False]
    robot = await world.robot({"browser.exists": lambda _: alive.pop(0)})
    await world.publish(SCRIPT, warm={"keep_alive_s": 0.2})
    run = await world.open(0, worker=robot.worker, warm=True)
    ended = await world.ended(run)
    assert (ended["state"], ended["end"]["reason"]) == ("finished", "warm_lost")
    assert [one.name for one in robot.done] == ["browser.open", *["browser.exists"] * 3, "browser.close"]


async def test_an_abort_of_a_warm_run_tears_it_down(world: World) -> None:
    await world.executor()
    robot = await world.robot()
    await world.publish(SCRIPT, warm={"keep_alive_s": 600.0})
    run = await world.open(0, worker=robot.worker, warm=True)
    await standing_by(world, run)
    await world.ask("run.abort", run, reason="enough")
    ended = await world.ended(run)
    assert (ended["state"], ended["end"]["reason"]) == ("aborted", "aborted")
    assert robot.done[-1].name == "browser.close"


NO_ROBOT = """
from regente import decide, log

def setup(group: dict[str, str]) -> None:
    log.info("ready")

def execute(task: dict[str, str]) -> dict[str, str]:
    return {"answer": decide("Yes or no?", options=["yes", "no"], release=True)}
"""


async def test_a_run_without_a_robot_waits_and_goes_on(world: World) -> None:
    await world.executor()
    await world.publish(NO_ROBOT, worker=False)
    run = await world.open(2, worker=None, epoch=0)
    answers = ["yes", "no"]
    seen = 0
    for answer in answers:
        wanted = {"wait__kind": "decision", "wait__seq": {"$gt": seen}, "executor": None, "pending": None}
        parked = await world.until_run(run, state="waiting", **wanted)
        seen = parked["wait"]["seq"]
        assert (await world.ask("decision.answer", parked["wait"]["decision"], answer=answer))["state"] == "done"
        if answer == "yes":
            back = [item for item in parked["tasks"] if item["state"] == "returned"]
            assert not back, "without a robot there is nothing to give back, so its other tasks stay"
    ended = await world.ended(run)
    assert ended["end"]["reason"] == "completed"
    assert [task["result"]["output"]["answer"] for task in await world.tasks(run)] == answers
