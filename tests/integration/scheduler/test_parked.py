"""Runs that give their robot back while they wait, and want one again: nothing is lost, whoever dies in between."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from services.scheduler.recovery import Recovery
from services.scheduler.store.returning import Returning
from shared.contracts.messages import RunFinished
from shared.contracts.topology import HANDOFFS
from shared.mongo.waiting import why_waiting
from shared.obs.clock import now
from tests.integration.scheduler.conftest import ACCOUNT, World, until

GROUPED: list[dict[str, Any]] = [
    {"name": "only", "when": [], "group_by": ["certificate"], "max_tasks": 3, "worker": True, "script": "a.py"}
]
X: dict[str, Any] = {"input": {"certificate": "x"}}


async def _park(world: World, run: dict[str, Any], *, hint: bool = True) -> None:
    """Park a run as its executor would: its first task waits for a person, the others go back, so does the robot."""
    first, *others = run["tasks"]
    for item in others:
        await world.return_task(item["task"], "not_started")
    at = now()
    wait = {"kind": "decision", "seq": 7, "due_at": None, "since": at, "decision": f"{run['_id']}/7", "release": True}
    pending = {"to": "scheduler", "what": "parked", "since": at, "due_at": at, "claims": 0}
    fields: dict[str, Any] = {"state": "waiting", "executor": None, "token": 1, "wait": wait, "pending": pending}
    fields["tasks.0.state"] = "running"
    await world.mongo["runs"].update_one({"_id": run["_id"]}, {"$set": fields})
    if hint:
        await world.broker.send(HANDOFFS, "run.finished", RunFinished(run=run["_id"], worker=run["worker"]))
    assert first


async def _wake(world: World, run: str) -> None:
    """What the run waited for came, and it wants a robot again: as its executor writes it."""
    guard = {"_id": run, "state": "waiting", "worker": None, "pending": None}
    done = await world.mongo["runs"].update_one(guard, {"$set": {"state": "opened", "wants_robot": True}})
    assert done.matched_count, "the robot was not given back"


async def _run(world: World, id: str, **query: Any) -> dict[str, Any]:
    """The run once it matches."""

    async def check() -> dict[str, Any] | None:
        return await world.mongo["runs"].find_one({"_id": id, **query})

    return await until(check)


async def _parked(world: World, **more: Any) -> dict[str, Any]:
    """A run that has parked, and whose robot is free."""
    await world.publish(scenarios=GROUPED)
    await world.robot(1)
    await world.tasks(more.pop("tasks", 3), **X)
    await world.scheduler(dispatch_sweep_s=0.2, **more)
    (run,) = await world.opened()
    await _park(world, run)
    return await _run(world, run["_id"], worker=None)


async def test_a_parked_run_frees_its_robot_keeps_its_group_and_judges_nobody(world: World) -> None:
    run = await _parked(world)
    robot = await world.free_again(run["last_worker"])
    assert (robot["status"], robot.get("failures"), robot["epoch"]) == ("waiting", None, 1)
    assert run["pending"] is None
    first, *others = [item["task"] for item in run["tasks"]]
    for task in others:
        back = await world.until_task(task, "queued")
        assert (back["attempts"], back["queue"]["list"]) == (0, f"{ACCOUNT}/tax/i"), "as it was, at its old place"
    assert (await world.task(first))["state"] == "running"
    assert await why_waiting(world.mongo, await world.task(first)) == "its run waits for a person to decide"
    said = await why_waiting(world.mongo, await world.task(others[0]))
    assert said == "a run is at work with the same certificate, as many as may be at once", "it lives, it has the group"
    await world.tasks(1, input={"certificate": "y"})
    (other,) = await world.opened()
    assert other["worker"] == run["last_worker"], "the robot does other work meanwhile"
    assert await world.mongo["circuits"].count_documents({}) == 0


async def test_a_woken_run_is_served_before_new_tasks_the_oldest_first(world: World) -> None:
    run = await _parked(world, tasks=1)
    await world.mongo["workers"].update_one(
        {"_id": run["last_worker"]}, {"$set": {"mode": "pause", "status": "paused"}}
    )
    younger = {
        **run,
        "_id": "run_younger",
        "opened_at": run["opened_at"] + timedelta(seconds=1),
        "tasks": [],
        "locks": [],
    }
    await world.mongo["runs"].insert_one(younger)
    await world.tasks(1, priority=5, input={"certificate": "y"})
    await _wake(world, "run_younger")
    await _wake(world, run["_id"])
    await world.robot(2)
    woken = await _run(world, run["_id"], wants_robot=False)
    assert (woken["worker"], woken["epoch"], woken["state"]) == ("00155d010002", 1, "opened")
    assert woken["pending"]["what"] == "opened"
    assert woken["opened_at"] == run["opened_at"]
    assert woken["wait"]["seq"] == 7, "the executor goes on at the wait"
    task = await world.task(run["tasks"][0]["task"])
    assert task["held_by"] == {"run": run["_id"], "attempt": 1, "epoch": 1}
    await world.robot(3)
    assert (await _run(world, "run_younger", wants_robot=False))["worker"] == "00155d010003"
    assert await world.mongo["tasks"].count_documents({"state": "queued"}) == 1, "new tasks come after them"


async def test_only_a_robot_that_may_run_it_and_no_second_epoch(world: World) -> None:
    run = await _parked(world, tasks=1)
    await world.mongo["workers"].update_one(
        {"_id": run["last_worker"]}, {"$set": {"mode": "pause", "status": "paused"}}
    )
    await world.mongo["workflows"].update_one({"_id": f"{ACCOUNT}/tax"}, {"$set": {"settings.tags": ["web"]}})
    await world.robot(2, tags=["desktop"])
    await _wake(world, run["_id"])
    task = await world.task(run["tasks"][0]["task"])
    said = await why_waiting(world.mongo, task)
    assert said.startswith("its run gave its robot back while it waited, and wants one again: ")
    assert said.endswith("no authorised robot has all the tags that it needs (web)")
    await world.robot(3, tags=["web"], epoch=41)
    woken = await _run(world, run["_id"], wants_robot=False)
    assert (woken["worker"], woken["epoch"]) == ("00155d010003", 42), "epochs of a robot only grow"


async def test_the_scheduler_dies_at_every_point_and_another_goes_on(world: World) -> None:
    await world.publish(scenarios=GROUPED)
    robot = await world.robot(1)
    await world.tasks(2, **X)
    scheduler = await world.scheduler()
    (run,) = await world.opened()
    await world.kill(scheduler)
    await _park(world, run, hint=False)  # nobody hears of it: the sweep finds it
    later = await world.mongo["runs"].find_one({"_id": run["_id"]}) or {}
    freed = await asyncio.gather(*(Returning(world.mongo).free_robot(later) for _ in range(4)))
    assert sorted(freed) == [False, False, False, True], "once, by whoever comes first"
    assert (await world.worker(robot))["run"] is None
    back = run["tasks"][1]["task"]
    assert (await world.task(back))["pending"]["parked"], "it died before it gave the task back"
    await world.scheduler("scheduler-2", dispatch_sweep_s=0.2)
    await world.until_task(back, "queued")
    await _wake(world, run["_id"])
    woken = await _run(world, run["_id"], wants_robot=False)
    assert woken["epoch"] == 2


async def test_a_parked_run_is_found_by_the_sweep_without_any_hint(world: World) -> None:
    await world.publish(scenarios=GROUPED)
    robot = await world.robot(1)
    await world.tasks(1, **X)
    await world.scheduler()
    (run,) = await world.opened()
    await _park(world, run, hint=False)
    await world.free_again(robot)


async def test_a_robot_that_goes_while_its_run_parks_is_no_loss(world: World) -> None:
    await world.publish(scenarios=GROUPED)
    robot = await world.robot(1)
    await world.tasks(1, **X)
    scheduler = await world.scheduler()
    (run,) = await world.opened()
    await world.kill(scheduler)
    await _park(world, run, hint=False)
    await world.mongo["workers"].update_one({"_id": robot}, {"$set": {"connected": False}})
    await Recovery(world.mongo, scheduler.hints, kick=lambda: None).sweep_lost()
    assert await world.mongo["commands"].count_documents({}) == 0
    await world.scheduler("scheduler-2")
    await world.free_again(robot)


async def test_a_robot_that_goes_before_an_executor_began_is_taken_back(world: World) -> None:
    run = await _parked(world, tasks=1)
    await _wake(world, run["_id"])
    woken = await _run(world, run["_id"], wants_robot=False)
    robot = woken["worker"]
    await world.mongo["workers"].update_one({"_id": robot}, {"$set": {"connected": False}})
    again = await _run(world, run["_id"], wants_robot=True)
    assert (again["worker"], again["pending"]) == (None, None)
    assert (await world.worker(robot))["run"] is None
    await world.robot(2)
    assert (await _run(world, run["_id"], wants_robot=False))["worker"] == "00155d010002"
    assert await world.mongo["commands"].count_documents({"kind": "run.robot_lost"}) == 0


async def test_a_robot_that_goes_after_an_executor_began_is_lost(world: World) -> None:
    run = await _parked(world, tasks=1)
    await _wake(world, run["_id"])
    woken = await _run(world, run["_id"], wants_robot=False)
    claimed = {"executor": "executor-1", "token": 2, "pending": None}
    await world.mongo["runs"].update_one({"_id": run["_id"]}, {"$set": claimed})
    await world.mongo["workers"].update_one({"_id": woken["worker"]}, {"$set": {"connected": False}})
    command = await until(lambda: world.mongo["commands"].find_one({"kind": "run.robot_lost"}))
    assert command["args"]["epoch"] == woken["epoch"]


async def test_a_run_that_finds_no_robot_says_so(world: World) -> None:
    run = await _parked(world, tasks=1, wanting_robot_s=0.3, stall_grace_s=0.2)
    await world.mongo["workers"].update_many({}, {"$set": {"connected": False}})
    await _wake(world, run["_id"])
    event = await until(lambda: world.mongo["events"].find_one({"kind": "run_wants_robot"}))
    assert (event["target"], event["severity"]) == (run["_id"], "warning")
    assert event["text"].endswith("wants one again: the authorised robot is not connected")
    assert await world.events("run_stalled") == []


async def test_no_robot_while_setting_up_would_fail_again(world: World) -> None:
    run = await _parked(world, tasks=1)
    held = {"_id": f"{ACCOUNT}/tax", "account": ACCOUNT, "workflow": "tax", "state": "open", "reason": "login_rejected"}
    await world.mongo["circuits"].insert_one({**held, "text": "wrong password"})
    await _wake(world, run["_id"])
    await world.publish("canary")
    await world.tasks(workflow="canary")
    canary = await until(lambda: world.mongo["runs"].find_one({"workflow": "canary"}))
    said = await why_waiting(world.mongo, await world.task(run["tasks"][0]["task"]))
    assert said.endswith("its workflow tax is held: wrong password")
    assert (await world.ask("workflow.release", f"{ACCOUNT}/tax"))["state"] == "done"
    await world.finish_run(canary)
    await _run(world, run["_id"], wants_robot=False)


async def test_a_person_that_holds_the_workflow_lets_the_task_in_hand_go_on(world: World) -> None:
    run = await _parked(world, tasks=1)
    assert (await world.ask("workflow.hold", f"{ACCOUNT}/tax"))["state"] == "done"
    await _wake(world, run["_id"])
    await _run(world, run["_id"], wants_robot=False)


async def test_a_run_that_was_aborted_while_it_parked_frees_its_robot(world: World) -> None:
    await world.publish(scenarios=GROUPED)
    robot = await world.robot(1)
    await world.tasks(1, **X)
    scheduler = await world.scheduler()
    (run,) = await world.opened()
    await world.kill(scheduler)
    await _park(world, run, hint=False)
    await world.end_run(run["_id"], state="aborted", reason="aborted")
    await world.scheduler("scheduler-2")
    await world.free_again(robot, of=run["_id"])
