"""Scenarios with conditions and groups: what goes into a run, what comes next, and what waits for a group in use."""

from __future__ import annotations

import asyncio
from typing import Any

from shared.mongo.waiting import why_waiting
from tests.integration.scheduler.conftest import ACCOUNT, World, until

LOOK = {"name": "look", "when": [{"field": "kind", "op": "eq", "value": "look"}], "group_by": ["certificate"],
        "max_tasks": 3, "worker": True, "script": "look.py"}  # fmt: skip
ISSUE = {"name": "issue", "when": [{"field": "kind", "op": "eq", "value": "issue"}], "group_by": ["certificate"],
         "max_tasks": 2, "worker": True, "script": "issue.py"}  # fmt: skip


def _input(kind: str, certificate: str) -> dict[str, Any]:
    return {"kind": kind, "certificate": certificate}


async def _task(world: World, kind: str, certificate: str, **fields: Any) -> str:
    (task,) = await world.tasks(input=_input(kind, certificate), **fields)
    return task


async def _open(world: World, count: int = 1) -> list[dict[str, Any]]:
    async def check() -> list[dict[str, Any]]:
        runs = await world.mongo["runs"].find({"state": "opened"}).sort("opened_at", 1).to_list(None)
        return runs if len(runs) == count else []

    return list(await until(check))


def _tasks(run: dict[str, Any]) -> list[str]:
    return [item["task"] for item in run["tasks"]]


async def test_a_run_takes_the_first_tasks_of_the_targets_scenario_and_group(world: World) -> None:
    await world.publish(scenarios=[LOOK, ISSUE])
    mine = [await _task(world, "issue", "a")]
    await _task(world, "issue", "b")
    await _task(world, "look", "a")
    mine.append(await _task(world, "issue", "a"))
    third = await _task(world, "issue", "a")
    await world.robot()
    await world.scheduler()
    (run,) = await world.opened()
    assert _tasks(run) == mine, "as many as max_tasks says"
    assert (run["scenario"], run["group"]) == ("issue", {"certificate": "a"})
    assert (await world.task(third))["state"] == "queued"


async def test_the_remaining_scenarios_of_a_group_come_next_on_the_same_robot(world: World) -> None:
    await world.publish(scenarios=[LOOK, ISSUE])
    await world.robot()
    issue = await _task(world, "issue", "a", priority=5)
    other = await _task(world, "issue", "b", priority=4)
    look = await _task(world, "look", "a", priority=0)
    await world.scheduler()
    order: list[list[str]] = []
    for _ in range(3):
        (run,) = await _open(world)
        order.append(_tasks(run))
        await world.finish_run(run)
        await world.settled(run["_id"])
    assert order == [[issue], [look], [other]], "first all of the group's scenarios, then the next target"


async def test_two_robots_never_use_the_same_group_at_once_and_the_next_group_does_not_wait(world: World) -> None:
    await world.publish("tax", scenarios=[ISSUE])
    await world.publish("land", scenarios=[{**ISSUE, "name": "land"}])
    first = [await _task(world, "issue", "a") for _ in range(5)]
    foreign = await _task(world, "issue", "a", workflow="land")
    later = await _task(world, "issue", "b")
    for n in range(4):
        await world.robot(n)
    await asyncio.gather(world.scheduler("scheduler-1"), world.scheduler("scheduler-2"))
    one, two = await _open(world, 2)
    assert sorted([_tasks(one), _tasks(two)]) == sorted([first[:2], [later]])
    for task in (first[2], foreign):
        said = await why_waiting(world.mongo, await world.task(task))
        assert said == "a run is at work with the same certificate, as many as may be at once"
    await world.finish_run(one if _tasks(one) == first[:2] else two)

    async def went_on() -> bool:
        return (await world.task(first[2]))["state"] == "running"

    await until(went_on)
    busy = await world.mongo["runs"].count_documents({"state": "opened", "group.certificate": "a"})
    assert busy == 1


async def test_many_tasks_of_a_group_in_use_do_not_keep_the_others_waiting(world: World) -> None:
    """More of them than the queue is looked through: the next group is found by its key."""
    await world.publish(scenarios=[ISSUE])
    await world.tasks(1200, input=_input("issue", "a"))
    free = await _task(world, "issue", "zz")
    await world.robot(1)
    await world.robot(2)
    await world.scheduler()
    runs = await _open(world, 2)
    assert [free] in [_tasks(run) for run in runs]


async def test_a_scenario_without_a_robot_does_not_bury_the_next_one(world: World) -> None:
    """600 groups of a scenario whose tags nobody has stand in front: the robot that is free takes what is behind."""
    await world.publish(scenarios=[{**LOOK, "tags": ["sap"]}, ISSUE])
    for n in range(600):
        await world.tasks(input=_input("look", f"c{n}"))
    last = await _task(world, "issue", "z")
    await world.robot(1)
    await world.scheduler()
    (run,) = await _open(world)
    assert _tasks(run) == [last]


async def test_a_group_may_be_used_by_several_where_the_settings_say_so(world: World) -> None:
    await world.publish(scenarios=[ISSUE], settings={"concurrency": {"group": None}})
    for _ in range(6):
        await _task(world, "issue", "a")
    for n in range(3):
        await world.robot(n)
    await world.scheduler()
    assert len(await _open(world, 3)) == 3


async def test_a_new_versions_scenarios_count_for_tasks_that_wait_already(world: World) -> None:
    await world.publish(number=1)
    tasks = [await _task(world, "issue", name) for name in ("a", "b", "a")]
    boat = await _task(world, "boat", "a")
    await world.publish(number=2, scenarios=[LOOK, ISSUE])
    await world.robot(1)
    await world.robot(2)
    await world.scheduler()
    runs = await _open(world, 2)
    assert sorted(_tasks(run) for run in runs) == sorted([[tasks[0], tasks[2]], [tasks[1]]])
    held = await world.until_task(boat, "held")
    assert held["hold"]["text"] == "no scenario of its workflow's current version takes its input"
    assert held["events"] == {"held": 1}


async def test_old_tasks_without_a_key_are_given_one(world: World) -> None:
    await world.publish(scenarios=[ISSUE])
    (old,) = await world.tasks(input=_input("issue", "a"), group="", queue={"list": f"{ACCOUNT}/tax/i", "rank": 5})
    await world.robot()
    await world.scheduler()
    (run,) = await _open(world)
    assert _tasks(run) == [old]
    assert run["group"] == {"certificate": "a"}


async def test_scenarios_whose_tags_no_free_robot_has_are_looked_past(world: World) -> None:
    await world.publish(scenarios=[{**LOOK, "tags": ["sap"]}, ISSUE])
    look = await _task(world, "look", "a")
    issue = await _task(world, "issue", "b")
    plain = await world.robot(1, tags=["web"])
    await world.scheduler(dispatch_sweep_s=0.2)
    (run,) = await _open(world)
    assert (_tasks(run), run["worker"]) == ([issue], plain)
    said = await why_waiting(world.mongo, await world.task(look))
    assert said == "no authorised robot has all the tags that it needs (sap)"
    able = await world.robot(2, tags=["web", "sap"])
    (_, run) = await _open(world, 2)
    assert (_tasks(run), run["worker"]) == ([look], able)


async def test_a_task_that_waits_runs_under_the_version_that_is_current_when_its_run_opens(world: World) -> None:
    """And the run that is at work keeps the one that it opened with."""
    await world.publish(number=1, max_tasks=1)
    first, second = await world.tasks(2)
    await world.robot()
    await world.scheduler(dispatch_sweep_s=0.2)
    (run,) = await _open(world)
    assert (_tasks(run), run["version"]) == ([first], f"{ACCOUNT}/tax/1")
    await world.publish(number=2, max_tasks=1)
    kept = await world.mongo["runs"].find_one({"_id": run["_id"]}) or {}
    assert kept["version"] == f"{ACCOUNT}/tax/1"
    await world.finish_run(run)
    (run,) = await _open(world)
    assert (_tasks(run), run["version"]) == ([second], f"{ACCOUNT}/tax/2")
