"""What comes back: returned tasks, ended runs, zombies, cancelled tasks. Nothing is lost, nothing repeated unasked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.scheduler.main import Scheduler
from shared.contracts.messages import RunFinished, TaskReturned
from shared.contracts.topology import HANDOFFS
from shared.domain.task_state import TaskState
from shared.obs.clock import now
from shared.runtime.commands import issue
from tests.integration.scheduler.conftest import World, ago, until

RETRY = {"retry": {"attempts": 3, "position": "end", "delay_s": 0}}


async def _running(world: World, count: int = 1, **settings: Any) -> tuple[Scheduler, dict[str, Any], list[str]]:
    """A scheduler, and a run that holds `count` tasks on robot 1."""
    await world.publish(settings={**RETRY, **settings})
    ids = await world.tasks(count)
    await world.robot(1)
    service = await world.scheduler()
    (run,) = await world.opened()
    return service, run, ids


async def _robot_free(world: World, run: dict[str, Any]) -> None:
    async def check() -> bool:
        worker = await world.worker(run["worker"])
        return worker["run"] is None and worker["status"] == "waiting"

    await until(check)


async def _not_pending(world: World, run: str) -> None:
    async def check() -> bool:
        return (await world.mongo["runs"].find_one({"_id": run}) or {})["pending"] is None

    await until(check)


@pytest.mark.parametrize("hinted", [True, False])
async def test_an_ended_run_frees_its_robot(world: World, hinted: bool) -> None:
    _, run, (task,) = await _running(world)
    done = {"state": "succeeded", "held_by": None}
    await world.mongo["tasks"].update_one({"_id": task}, {"$set": done})
    await world.end_run(run["_id"])
    if hinted:
        await world.broker.send(HANDOFFS, "run.finished", RunFinished(run=run["_id"], worker=run["worker"]))
    await _robot_free(world, run)
    await _not_pending(world, run["_id"])
    assert (await world.task(task))["state"] == "succeeded"


async def test_a_task_whose_turn_never_came_goes_back_to_its_place(world: World) -> None:
    _, run, (first, second) = await _running(world, 2)
    await world.tasks(3)
    await world.return_task(first, "not_started")
    await world.return_task(second, "not_started")
    for task in (first, second):
        await world.broker.send(HANDOFFS, "task.returned", TaskReturned(task=task, run=run["_id"]))
    await world.end_run(run["_id"], state="aborted")
    (again,) = await world.opened()
    assert [(one["task"], one["attempt"]) for one in again["tasks"]][:2] == [(first, 1), (second, 1)]
    assert again["epoch"] == run["epoch"] + 1


async def test_a_retry_waits_its_delay_and_counts(world: World) -> None:
    _, run, (task,) = await _running(world, retry={"attempts": 3, "delay_s": 0.6})
    await world.return_task(task, "retry")
    waiting = await world.until_task(task, "queued")
    assert "queue" not in waiting
    assert waiting["attempts"] == 1
    await world.end_run(run["_id"])
    (again,) = await world.opened()
    assert again["tasks"][0] == {"task": task, "attempt": 2, "state": "waiting", "outcome": None}
    assert again["opened_at"] >= waiting["not_before"]


async def test_a_hint_that_comes_twice_or_for_nothing_does_no_harm(world: World) -> None:
    _, run, (task,) = await _running(world)
    await world.broker.send(HANDOFFS, "run.finished", RunFinished(run=run["_id"], worker=run["worker"]))
    await world.broker.send(HANDOFFS, "task.returned", TaskReturned(task=task, run=run["_id"]))
    await world.broker.send(HANDOFFS, "task.returned", TaskReturned(task="task_unknown", run="run_unknown"))
    await world.return_task(task, "not_started")
    for _ in range(3):
        await world.broker.send(HANDOFFS, "task.returned", TaskReturned(task=task, run=run["_id"]))
    await world.mongo["workers"].update_one({"_id": run["worker"]}, {"$set": {"mode": "pause"}})
    await world.end_run(run["_id"], state="aborted")
    returned = await world.until_task(task, "queued")
    assert returned["attempts"] == 0
    assert len(returned["history"]) == 2
    assert await world.broker.depth("scheduler.handoffs.dead") == 0


async def test_a_cancelled_task_that_comes_back_ends(world: World) -> None:
    _, run, (task,) = await _running(world)
    cancel = {"by": "ana", "at": now(), "command": "cmd_1"}
    await world.mongo["tasks"].update_one({"_id": task}, {"$set": {"cancel": cancel}})
    await world.return_task(task, "retry")
    ended = await world.until_task(task, "cancelled")
    assert (ended["pending"]["what"], ended["events"]) == ("cancelled", {"cancelled": 1})
    assert run["tasks"][0]["task"] == task


@pytest.mark.parametrize("what", ["retry", "nonsense"])
async def test_a_hand_over_that_never_works_is_held_as_poison(world: World, what: str) -> None:
    _, _, (task,) = await _running(world)
    await world.return_task(task, what, **({"claims": 20} if what == "retry" else {}))
    held = await world.until_task(task, "held")
    assert held["hold"]["reason"] == "poison"
    assert held["pending"]["to"] == "delivery"


def _step(run: str, seq: int, task: str, effect: str, **more: Any) -> dict[str, Any]:
    return {
        "_id": f"{run}/{seq:08d}", "run": run, "seq": seq, "kind": "instruction", "task": task, "attempt": 1,
        "instruction": {"name": "browser.click", "effect": effect, "commit": more.pop("commit", False)}, **more,
    }  # fmt: skip


async def test_zombies_of_an_ended_run_are_judged_by_its_journal(world: World) -> None:
    """An executor that died in the middle of ending: the run is final, nothing is pending, its tasks still run."""
    _, run, (untouched, read_only, answered, unanswered, committed) = await _running(world, 5)
    id = run["_id"]
    await world.mongo["steps"].insert_many(
        [
            _step(id, 1, read_only, "read"),
            _step(id, 2, answered, "act"),
            _step(id, 3, committed, "act", commit=True, reply={"seq": 2, "outcome": "done"}),
            _step(id, 4, unanswered, "act", reply={"seq": 3, "outcome": "done"}),
        ]
    )
    await world.mongo["workers"].update_one({"_id": run["worker"]}, {"$set": {"mode": "pause"}})
    await world.end_run(id, state="aborted", pending=False)
    for task, attempts in ((untouched, 0), (read_only, 1), (answered, 1)):
        back = await world.until_task(task, "queued")
        assert back["attempts"] == attempts
        assert back["held_by"] is None
    for task in (unanswered, committed):
        held = await world.until_task(task, "held")
        assert held["hold"]["reason"] == "in_doubt"
        assert held["hold"]["run"] == id
        assert held["pending"]["what"] == "held"

    async def freed() -> bool:
        return (await world.worker(run["worker"]))["status"] == "paused"

    await until(freed)


async def test_a_failed_zombie_without_attempts_fails(world: World) -> None:
    _, run, (task,) = await _running(world, retry={"attempts": 1})
    await world.mongo["steps"].insert_one(_step(run["_id"], 1, task, "read"))
    await world.end_run(run["_id"], pending=False)
    failed = await world.until_task(task, "failed")
    assert failed["error"]["kind"] == "system"
    assert failed["finished_at"] is not None


async def test_a_robot_and_a_task_of_a_run_that_is_gone_are_freed(world: World) -> None:
    service, run, (task,) = await _running(world)
    await world.kill(service)
    await world.mongo["runs"].delete_one({"_id": run["_id"]})
    await world.scheduler()
    (again,) = await world.opened()
    assert again["_id"] != run["_id"]
    assert (again["worker"], again["tasks"][0]["task"]) == (run["worker"], task)


@pytest.mark.parametrize("done", ["task given back", "robot released", "nothing"])
async def test_a_scheduler_that_dies_while_a_run_ends_leaves_nothing_behind(world: World, done: str) -> None:
    """The next one finds the run's hand-over and does what is missing, whichever line the first one died at."""
    service, run, (task,) = await _running(world)
    await world.kill(service)
    await world.end_run(run["_id"], state="aborted")
    if done == "robot released":
        await world.mongo["workers"].update_one({"_id": run["worker"]}, {"$set": {"run": None, "status": "waiting"}})
    if done != "nothing":
        place = {"list": "acme/tax/i", "rank": 1}
        fields = {"state": "queued", "held_by": None, "attempts": 0, "queue": place}
        await world.mongo["tasks"].update_one({"_id": task}, {"$set": fields})
    await world.scheduler()
    (again,) = await world.opened()
    assert [(one["task"], one["attempt"]) for one in again["tasks"]] == [(task, 1)]
    await _not_pending(world, run["_id"])


async def test_a_run_that_lives_is_left_alone(world: World) -> None:
    service, run, (task,) = await _running(world)
    await world.mongo["runs"].update_one({"_id": run["_id"]}, {"$set": {"state": "executing"}})
    for sweep in (service.recovery.sweep_zombies, service.recovery.sweep_lost, service.recovery.sweep_handed_over):
        await sweep()
    assert (await world.task(task))["state"] == "running"
    assert (await world.worker(run["worker"]))["run"] == run["_id"]
    assert await world.mongo["commands"].count_documents({}) == 0


@pytest.mark.parametrize("held", [False, True])
async def test_cancelling_what_waits(world: World, held: bool) -> None:
    (task,) = await world.tasks()
    if held:
        hold = {"state": "held", "hold": {"reason": "person", "text": "wait"}}
        await world.mongo["tasks"].update_one({"_id": task}, {"$set": hold, "$unset": {"queue": ""}})
    await world.scheduler()
    assert (await world.ask("task.cancel", task))["state"] == "done"
    cancelled = await world.task(task)
    assert (cancelled["state"], cancelled["cancel"]["by"], "queue" in cancelled) == ("cancelled", "ana", False)
    assert cancelled["pending"]["what"] == "cancelled"
    again = await world.ask("task.cancel", task)
    assert (again["state"], again["reason"]) == ("refused", "FINAL: the task is cancelled already")


async def test_cancelling_what_runs_goes_to_the_executor(world: World) -> None:
    _, _, (task,) = await _running(world)
    id = await issue(world.mongo, world.broker, kind="task.cancel", to="scheduler", target=task, args={}, by="ana")
    moved = await until(lambda: world.mongo["commands"].find_one({"_id": id, "to": "executor"}))
    assert moved["state"] == "pending"
    assert (await world.task(task))["state"] == "running"


async def test_a_held_event_is_handed_on_before_the_task_goes_on(world: World) -> None:
    """The partner's webhook for the hold would be lost if the task went back to the queue before delivery took it."""
    (task,) = await world.tasks()
    at = now()
    pending = {"to": "delivery", "what": "held", "since": at, "due_at": at, "claims": 0}
    fields = {"state": "held", "hold": {"reason": "in_doubt", "text": ""}, "pending": pending, "attempts": 1}
    await world.mongo["tasks"].update_one({"_id": task}, {"$set": fields, "$unset": {"queue": ""}})
    await world.scheduler()
    asking = asyncio.create_task(world.ask("task.requeue", task, note="again"))
    command = await until(lambda: world.mongo["commands"].find_one({"target": task}))

    async def put_off() -> bool:
        found = await world.mongo["commands"].find_one({"_id": command["_id"]}) or {}
        return found["due_at"] != command["due_at"]

    await until(put_off)
    assert (await world.task(task))["state"] == "held"
    await world.mongo["tasks"].update_one({"_id": task}, {"$set": {"pending": None}})
    assert (await asking)["state"] == "done"
    queued = await world.task(task)
    assert (queued["state"], queued["attempts"], queued["hold"]) == ("queued", 1, None)
    assert queued["queue"]["list"] == "acme/tax/i"


async def test_holding_and_releasing(world: World) -> None:
    (task,) = await world.tasks()
    await world.scheduler()
    assert (await world.ask("task.hold", task, text="ask the partner"))["state"] == "done"
    held = await world.task(task)
    assert (held["state"], held["hold"]["reason"], held["hold"]["text"]) == ("held", "person", "ask the partner")
    assert (await world.ask("task.hold", task))["state"] == "refused"
    await world.mongo["tasks"].update_one({"_id": task}, {"$set": {"pending": None}})
    assert (await world.ask("task.release", task))["state"] == "done"
    assert (await world.task(task))["state"] == TaskState.QUEUED


async def test_requests_are_found_without_their_hints(world: World) -> None:
    (task,) = await world.tasks()
    document = {
        "_id": "cmd_lost_hint", "schema_version": 1, "kind": "task.cancel", "to": "scheduler", "target": task,
        "args": {}, "by": "ana",
        "state": "pending", "reason": None, "claims": 0, "created_at": now(), "due_at": ago(seconds=1),
    }  # fmt: skip
    await world.mongo["commands"].insert_one(document)
    await world.scheduler()
    await world.until_task(task, "cancelled")
