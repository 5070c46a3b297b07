"""What people do to the queue: to the front, hold, release, priority, cancel, for one task or many; all audited."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from services.scheduler.hints import Hints
from services.scheduler.requests import Later
from services.scheduler.task_requests import TaskRequests
from shared.obs.clock import now
from tests.integration.scheduler.conftest import ACCOUNT, World, until

AGED = {"aging": {"every_s": 3600}, "priority": 1}


async def _order(world: World, count: int) -> list[str]:
    """The order in which one robot is given the tasks that wait."""
    await world.robot(99)
    taken: list[str] = []
    while len(taken) < count:
        (run,) = await until(lambda: world.mongo["runs"].find({"state": "opened"}).to_list(None))
        taken += [item["task"] for item in run["tasks"]]
        await world.finish_run(run)
        await world.settled(run["_id"])
    return taken


async def test_a_task_at_the_front_goes_before_all_of_its_level_in_its_account(world: World) -> None:
    await world.publish("tax", max_tasks=1)
    await world.publish("land", max_tasks=1)
    first, second = await world.tasks(2, workflow="tax")
    (last,) = await world.tasks(workflow="land")
    (urgent,) = await world.tasks(workflow="tax", priority=3)
    await world.scheduler()
    assert (await world.ask("task.front", last))["state"] == "done"
    assert await _order(world, 4) == [urgent, last, first, second]
    assert (await world.ask("task.front", last))["reason"].startswith("CONFLICT: only a queued task")
    (entry,) = await world.mongo["audit"].find({"action": "task.front"}).to_list(None)
    assert (entry["target"], entry["by"]) == (last, "ana")


async def test_another_priority_keeps_the_age(world: World) -> None:
    await world.publish(max_tasks=1)
    old, young = await world.tasks(2)
    (high,) = await world.tasks(priority=4)
    await world.scheduler()
    assert (await world.ask("task.priority", young, priority=4))["state"] == "done"
    assert (await world.ask("task.priority", old, priority=9))["reason"].startswith("INVALID_INPUT")
    assert await _order(world, 3) == [young, high, old], "older than the other one of its new level"
    assert (await world.task(young))["priority"] == 4


async def test_waiting_raises_tasks_and_a_front_keeps_what_it_overtook(world: World) -> None:
    hours = 3600 * 1_000_000
    await world.publish("slow", max_tasks=1, settings={**AGED, "priority": 0})
    await world.publish("fast", max_tasks=1, settings={"priority": 3})
    (old,) = await world.tasks(workflow="slow")
    (fresh,) = await world.tasks(workflow="slow")
    (high,) = await world.tasks(workflow="fast")
    place = (await world.task(old))["queue"]
    await world.mongo["tasks"].update_one({"_id": old}, {"$set": {"queue.rank": place["rank"] - 4 * hours}})
    await world.scheduler()
    assert await _order(world, 3) == [old, high, fresh], "four levels up in four hours, past the other workflow's three"


@pytest.mark.parametrize("action", ["hold", "cancel"])
async def test_an_action_for_a_filter_reaches_exactly_what_matches(world: World, action: str) -> None:
    await world.publish()
    mine = await world.tasks(230, batch="b1")
    other = await world.tasks(3, batch="b2")
    await world.scheduler()
    query = {"account": ACCOUNT, "workflow": "tax", "batch": "b1"}
    command = await world.ask("queue.bulk", ACCOUNT, action=action, filter=query, text="wrong file")
    assert command["state"] == "done"
    assert (command["progress"]["done"], command["progress"]["finished"]) == (230, True)
    state = {"hold": "held", "cancel": "cancelled"}[action]
    assert (
        await world.mongo["tasks"].count_documents({"_id": {"$in": mine}, "state": state, "history.by": "ana"}) == 230
    )
    assert await world.mongo["tasks"].count_documents({"_id": {"$in": other}, "state": "queued"}) == 3
    assert await world.mongo["audit"].count_documents({"action": f"task.{action}"}) == 230
    assert await world.mongo["audit"].count_documents({"action": f"queue.{action}"}) == 1


async def test_held_tasks_are_released_and_moved_by_a_filter_in_their_order(world: World) -> None:
    await world.publish(max_tasks=1)
    (first,) = await world.tasks(batch="a")
    mine = await world.tasks(3, batch="b")
    await world.scheduler()
    query = {"account": ACCOUNT, "batch": "b"}
    assert (await world.ask("queue.bulk", ACCOUNT, action="hold", filter=query))["state"] == "done"
    await world.mongo["tasks"].update_many({"state": "held"}, {"$set": {"pending": None}})  # its partner was told
    assert (await world.ask("queue.bulk", ACCOUNT, action="release", filter=query))["progress"]["done"] == 3
    assert (await world.ask("queue.bulk", ACCOUNT, action="front", filter=query))["progress"]["done"] == 3
    assert await _order(world, 4) == [*mine, first]


async def test_a_scheduler_that_dies_in_the_middle_leaves_the_rest_to_the_next(world: World) -> None:
    await world.publish()
    tasks = await world.tasks(30)
    service = await world.scheduler()
    dead = TaskRequests(world.mongo, Hints(world.broker), kick=lambda: None)
    command = {"_id": "cmd_1", "kind": "task.hold", "by": "ana", "args": {"text": ""}, "bulk": "cmd_1"}
    for task in tasks[:10]:  # it did these, and died before it wrote how far it was
        outcome = await dead.hold({**command, "_id": f"cmd_1_{task}", "target": task})
        assert not isinstance(outcome, Later)
    at = now()
    args = {"action": "hold", "filter": {"account": ACCOUNT}, "text": ""}
    await world.mongo["commands"].insert_one(
        {"_id": "cmd_1", "kind": "queue.bulk", "to": "scheduler", "target": ACCOUNT, "args": args, "by": "ana",
         "state": "pending", "reason": None, "claims": 1, "created_at": at + timedelta(seconds=1), "due_at": at}
    )  # fmt: skip

    async def done() -> bool:
        return bool(await world.mongo["commands"].find_one({"_id": "cmd_1", "state": "done"}))

    await until(done)
    held = await world.mongo["tasks"].find({"state": "held"}).to_list(None)
    assert len(held) == 30
    assert all(task["events"] == {"held": 1} for task in held), "each once"
    assert service.started


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"action": "explode", "filter": {"account": ACCOUNT}}, "an action is one of"),
        ({"action": "hold", "filter": {}}, "a filter names its account"),
        ({"action": "hold", "filter": {"account": ACCOUNT, "colour": "red"}}, "a filter has no colour"),
        ({"action": "hold", "filter": {"account": ACCOUNT, "state": "failed"}}, "state: queued, held or running"),
    ],
)
async def test_senseless_requests_are_refused(world: World, args: dict[str, Any], says: str) -> None:
    await world.scheduler()
    command = await world.ask("queue.bulk", ACCOUNT, **args)
    assert command["state"] == "refused"
    assert says in command["reason"]


async def test_running_tasks_of_a_filter_are_cancelled_by_their_executor(world: World) -> None:
    await world.publish(max_tasks=2)
    await world.robot()
    tasks = await world.tasks(3)
    await world.scheduler()
    (run,) = await world.opened()
    running = {item["task"] for item in run["tasks"]}
    await world.ask("queue.bulk", ACCOUNT, action="cancel", filter={"account": ACCOUNT})
    asked = await world.mongo["commands"].find({"kind": "task.cancel", "to": "executor"}).to_list(None)
    assert {command["target"] for command in asked} == running
    (waiting,) = set(tasks) - running
    assert (await world.task(waiting))["state"] == "cancelled"
