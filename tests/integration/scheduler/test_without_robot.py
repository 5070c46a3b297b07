"""Scenarios without a robot: opened at once, under the same order, limits and locks as all others."""

from __future__ import annotations

import asyncio
from typing import Any

from services.scheduler.recovery import Recovery
from shared.mongo.lease import Lease
from shared.mongo.waiting import explain, why_waiting
from shared.obs.clock import now
from tests.integration.scheduler.conftest import ACCOUNT, World, until

ALONE: list[dict[str, Any]] = [{"name": "alone", "max_tasks": 2, "worker": False, "script": "a.py"}]
MIXED: list[dict[str, Any]] = [
    {"name": "robot", "when": [{"field": "kind", "op": "eq", "value": "r"}], "max_tasks": 2, "script": "r.py"},
    {"name": "alone", "when": [], "group_by": ["certificate"], "max_tasks": 2, "worker": False, "script": "a.py"},
]


def _alone(certificate: str) -> dict[str, Any]:
    return {"input": {"kind": "s", "certificate": certificate}}


async def _runs(world: World, count: int, **query: Any) -> list[dict[str, Any]]:
    """Opened runs that match, once there are exactly that many."""

    async def check() -> list[dict[str, Any]] | None:
        runs = await world.mongo["runs"].find({"state": "opened", **query}).sort("opened_at", 1).to_list(None)
        return runs if len(runs) == count else None

    return await until(check)


async def test_a_run_without_a_robot_is_opened_at_once(world: World) -> None:
    await world.publish(scenarios=ALONE)
    tasks = await world.tasks(3)
    await world.scheduler()
    one, two = await _runs(world, 2)
    assert [len(run["tasks"]) for run in (one, two)] == [2, 1]
    for run in (one, two):
        assert (run["worker"], run["epoch"], run["pending"]["to"]) == (None, 0, "executor")
    held = [(await world.task(task))["held_by"] for task in tasks]
    assert [one["epoch"] for one in held] == [0, 0, 0]
    await world.finish_run(one)
    await world.settled(one["_id"])
    assert (await world.mongo["runs"].find_one({"_id": one["_id"]}) or {})["settled_at"]


async def test_robots_get_no_such_tasks_and_the_server_gets_no_others(world: World) -> None:
    await world.publish(scenarios=MIXED)
    robot = await world.robot(1)
    await world.robot(2)
    await world.tasks(2, priority=5, **_alone("x"))
    await world.tasks(2, priority=0, input={"kind": "r"})
    await world.scheduler()
    runs = await _runs(world, 2)
    by_scenario = {run["scenario"]: run for run in runs}
    assert by_scenario["alone"]["worker"] is None
    assert by_scenario["robot"]["worker"] in (robot, "00155d010002")
    free = await world.mongo["workers"].count_documents({"run": None})
    assert free == 1, "the other robot has nothing to do"


async def test_groups_limits_and_runs_at_once_hold_without_robots(world: World) -> None:
    limits = [{"per": "day", "max": 5, "on_limit": "block"}]
    await world.publish(scenarios=MIXED, settings={"limits": limits, "concurrency": {"runs": 2}})
    await world.tasks(3, **_alone("x"))
    await world.tasks(1, **_alone("y"))
    (last,) = await world.tasks(1, **_alone("z"))
    await world.scheduler(dispatch_sweep_s=0.2)
    one, two = await _runs(world, 2)
    assert {run["group"]["certificate"] for run in (one, two)} == {"x", "y"}, "one run at a time has a group"
    said = await why_waiting(world.mongo, await world.task(last))
    assert said == "2 runs of its workflow tax are at work, as many as may be at once"
    await world.finish_run(one)
    third, _ = await _runs(world, 2)
    await world.finish_run(two)
    await _runs(world, 2)
    (used,) = await world.mongo["usage"].find({}).to_list(None)
    assert used["used"] == 5
    assert third is not None


async def test_what_is_shared_goes_to_whoever_is_first_in_the_order(world: World) -> None:
    """The workflow may do one more task: the first of all, whether it needs a robot or not."""
    limits = [{"per": "day", "max": 1, "on_limit": "block"}]
    for name, first, then in (("east", "r", "s"), ("west", "s", "r")):
        await world.publish(name, scenarios=MIXED, settings={"limits": limits})
        await world.tasks(1, workflow=name, priority=3, input={"kind": first, "certificate": name})
        await world.tasks(1, workflow=name, priority=2, input={"kind": then, "certificate": name})
    await world.robot(1)
    await world.robot(2)
    await world.scheduler()
    runs = await _runs(world, 2)
    assert {(run["workflow"], run["scenario"]) for run in runs} == {("east", "robot"), ("west", "alone")}


async def test_only_so_many_at_once_in_all_with_two_schedulers_and_it_is_told(world: World) -> None:
    await world.publish("one", scenarios=ALONE)
    await world.publish("two", scenarios=ALONE)
    await world.tasks(8, workflow="one")
    (*_, last) = await world.tasks(8, workflow="two")
    await asyncio.gather(*(world.scheduler(f"scheduler-{n}", server_runs_max=2) for n in (1, 2)))
    for _ in range(2):
        for run in await _runs(world, 2):
            await world.finish_run(run)
    one, _ = await _runs(world, 2)
    said = await explain(world.mongo, await world.task(last))
    assert said.why == "behind 3 others; 2 runs without a robot are at work, as many as may be"
    assert said.facts["server"] == {"runs": 2, "max": 2}
    await world.mongo["runs"].update_one({"_id": one["_id"]}, {"$set": {"state": "waiting", "pending": None}})
    await until(lambda: world.mongo["runs"].count_documents({"state": {"$in": ["opened", "waiting"]}}, limit=3))
    await _runs(world, 2)
    assert await world.mongo["runs"].count_documents({"state": "waiting"}) == 1, "a parked one is in nobody's way"


async def test_a_task_without_robot_waits_for_none_and_is_not_behind_those_that_do(world: World) -> None:
    await world.publish(scenarios=MIXED)
    await world.tasks(9, input={"kind": "r"})
    (task,) = await world.tasks(1, **_alone("x"))
    said = await why_waiting(world.mongo, await world.task(task))
    assert said == "it is the next one; it needs no robot and is about to start"
    await world.mongo["paces"].insert_one({"_id": f"{ACCOUNT}/tax", "task_s": 5.0, "overhead_s": 1.0, "samples": 9})
    explained = await explain(world.mongo, await world.task(task))
    assert explained.forecast is not None
    assert (explained.forecast["starts_at"] - now()).total_seconds() < 5


async def test_nobody_takes_a_run_without_a_robot_for_lost(world: World) -> None:
    await world.publish(scenarios=ALONE)
    await world.tasks(1)
    scheduler = await world.scheduler(stall_grace_s=0.2)
    (run,) = await _runs(world, 1)
    event = await until(lambda: world.mongo["events"].find_one({"kind": "run_stalled", "target": run["_id"]}))
    assert "waits for an executor" in event["text"]
    lease = Lease(world.mongo, "executor/executor-1", "executor-1", beat_s=0.03)
    assert await lease.acquire()
    lease.start()
    fields = {"state": "executing", "executor": "executor-1", "token": 1, "pending": None}
    await world.mongo["runs"].update_one({"_id": run["_id"]}, {"$set": fields})
    stalled = {"kind": "run_stalled", "_id": f"stalled/{run['_id']}/0"}
    event = await until(lambda: world.mongo["events"].find_one(stalled))
    assert "although its executor lives" in event["text"]
    await Recovery(world.mongo, scheduler.hints, kick=lambda: None).sweep_lost()
    assert await world.mongo["commands"].count_documents({}) == 0, "no robot was lost"
    await lease.stop()


async def test_a_window_that_closes_ends_runs_without_a_robot_too(world: World) -> None:
    await world.publish(scenarios=ALONE)
    await world.tasks(2)
    await world.scheduler(closing_sweep_s=0.2)
    (run,) = await _runs(world, 1)
    assert (await world.ask("workflow.hold", f"{ACCOUNT}/tax"))["state"] == "done"
    await until(lambda: world.mongo["commands"].find_one({"kind": "run.stop", "target": run["_id"]}))
