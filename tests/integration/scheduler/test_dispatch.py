"""Tasks become runs: in order, each once, with several schedulers at work, and quickly."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from services.scheduler.core.opening import Opening
from services.scheduler.store.opening import Missed, Openings
from shared.contracts.messages import RunFinished, TaskAccepted
from shared.contracts.topology import HANDOFFS
from shared.mongo.waiting import why_waiting
from shared.obs.clock import monotonic_s, now
from shared.obs.ids import new_id
from tests.integration.scheduler.conftest import ACCOUNT, World, ago, until

ROBOTS = 20


async def _accepted(world: World, count: int = 1) -> None:
    await world.broker.send(HANDOFFS, "task.accepted", TaskAccepted(account=ACCOUNT, workflow="tax", count=count))


async def test_a_task_becomes_a_run_on_a_free_robot(world: World) -> None:
    await world.publish(settings={"priority": 2})
    robot = await world.robot(epoch=4)
    await world.scheduler(dispatch_sweep_s=60)
    (task,) = await world.tasks()
    await _accepted(world)
    (run,) = await world.opened()
    assert run["worker"] == robot
    assert run["epoch"] == 5
    assert run["tasks"] == [{"task": task, "attempt": 1, "state": "waiting", "outcome": None}]
    assert run["version"] == "acme/tax/1"
    assert run["pending"]["to"] == "executor"
    held = await world.task(task)
    assert held["held_by"] == {"run": run["_id"], "attempt": 1, "epoch": 5}
    assert (held["state"], held["attempts"], "queue" in held) == ("running", 1, False)
    assert held["history"][-1]["run"] == run["_id"]
    worker = await world.worker(robot)
    assert (worker["status"], worker["run"], worker["epoch"]) == ("reserved", run["_id"], 5)


async def test_a_task_reaches_a_free_robot_in_a_quarter_of_a_second(world: World) -> None:
    await world.publish()
    await world.scheduler(dispatch_sweep_s=60)
    took_s: list[float] = []
    for n in range(5):
        await world.robot(n)
        await world.tasks()
        started_s = monotonic_s()
        await _accepted(world)
        await world.opened(n + 1)
        took_s.append(monotonic_s() - started_s)
    assert sorted(took_s)[len(took_s) // 2] < 0.25


async def test_a_lost_hint_costs_a_sweep_no_task(world: World) -> None:
    await world.publish()
    await world.robot()
    await world.scheduler(dispatch_sweep_s=0.2)
    await world.tasks()
    assert await world.opened()


async def test_two_schedulers_give_each_task_to_one_run_in_order(world: World) -> None:
    """300 tasks of two workflows and three priorities, 20 robots, runs of up to 5 tasks that end at once."""
    await world.publish("tax", max_tasks=5, settings={"priority": 1})
    await world.publish("land", max_tasks=5, settings={"priority": 4})
    ranks: dict[str, tuple[int, int]] = {}
    for workflow, priority, level in (("tax", None, 1), ("tax", 5, 5), ("land", None, 4)):
        ids = await world.tasks(100, workflow=workflow, priority=priority)
        ranks.update({id: (-level, n) for n, id in enumerate(ids)})
    for n in range(ROBOTS):
        await world.robot(n)
    await asyncio.gather(world.scheduler("scheduler-1"), world.scheduler("scheduler-2"))
    seen: set[str] = set()

    async def execute() -> bool:
        """Stands for the executors: every open run ends well at once."""
        async for run in world.mongo["runs"].find({"state": "opened"}):
            ids = [one["task"] for one in run["tasks"]]
            await world.mongo["tasks"].update_many(
                {"_id": {"$in": ids}, "held_by.run": run["_id"]}, {"$set": {"state": "succeeded", "held_by": None}}
            )
            await world.end_run(run["_id"])
            await world.broker.send(HANDOFFS, "run.finished", RunFinished(run=run["_id"], worker=run["worker"]))
            seen.update(ids)
        return len(seen) == 300

    await until(execute, 40)
    runs = await world.mongo["runs"].find({}).sort([("opened_at", 1), ("_id", 1)]).to_list(None)
    taken = [one["task"] for run in runs for one in run["tasks"]]
    assert sorted(taken) == sorted(ranks), "each task in exactly one run"
    assert all(one["attempt"] == 1 for run in runs for one in run["tasks"])
    for run in runs:
        mine = [ranks[one["task"]] for one in run["tasks"]]
        assert mine == sorted(mine), "a run takes its tasks in order"
    _assert_order_respected(runs, ranks)
    assert len({(run["worker"], run["epoch"]) for run in runs}) == len(runs), "an epoch is never used twice"


def _assert_order_respected(runs: list[dict[str, Any]], ranks: dict[str, tuple[int, int]]) -> None:
    """Runs open in the order of their first tasks, up to as many as run at once: an opening that meets another one's
    writes is tried again, and others go ahead meanwhile."""
    firsts = [ranks[run["tasks"][0]["task"]] for run in runs]
    slots = {first: place for place, first in enumerate(sorted(firsts))}
    late = [abs(place - slots[first]) for place, first in enumerate(firsts)]
    assert max(late) <= ROBOTS, late
    assert sorted(late)[len(late) // 2] <= 2, late


async def _opening(world: World, robot: str, tasks: list[str]) -> Opening:
    return Opening(
        run=new_id("run_"), account=ACCOUNT, workflow="tax", version=f"{ACCOUNT}/tax/1", scenario="only", worker=robot,
        epoch_before=0, tasks=tasks, seed=1, at=now(),
    )  # fmt: skip


async def test_many_openings_at_once_share_no_task_and_no_robot(world: World) -> None:
    """The transaction alone must hold: everybody wants the same tasks, and two want the same robot."""
    await world.publish()
    robots = [await world.robot(n) for n in range(4)]
    tasks = await world.tasks(10)
    openings = [await _opening(world, robot, tasks) for robot in [*robots, robots[0]]]
    done = await asyncio.gather(*(Openings(world.mongo).open(opening) for opening in openings))
    opened = [run for run in done if isinstance(run, dict)]
    assert len(opened) == 1
    assert [one["task"] for one in opened[0]["tasks"]] == tasks
    assert all(run in (Missed.TASKS, Missed.CONFLICT, Missed.ROBOT) for run in done if not isinstance(run, dict))
    assert await world.mongo["workers"].count_documents({"run": None}) == 3
    again = await Openings(world.mongo).open(await _opening(world, opened[0]["worker"], await world.tasks()))
    assert again is Missed.ROBOT


async def test_an_opening_takes_only_what_may_still_run(world: World) -> None:
    await world.publish()
    robot = await world.robot()
    (good,) = await world.tasks()
    (late,) = await world.tasks(deadline=ago(seconds=1))
    (delayed,) = await world.tasks(not_before=now() + timedelta(hours=1), queue=None)
    (held,) = await world.tasks(state="held")
    (handed,) = await world.tasks(pending={"to": "delivery", "what": "held"})
    run = await Openings(world.mongo).open(await _opening(world, robot, [late, delayed, held, handed, good]))
    assert isinstance(run, dict)
    assert [one["task"] for one in run["tasks"]] == [good]


async def test_robots_of_an_account_take_only_its_tasks(world: World) -> None:
    await world.publish()
    await world.robot(1, account="other")
    await world.scheduler()
    (task,) = await world.tasks()
    await world.robot(2, account=ACCOUNT)
    (run,) = await world.opened()
    assert run["worker"].endswith("02")
    assert run["tasks"][0]["task"] == task


@pytest.mark.parametrize(
    "fields", [{"mode": "pause", "status": "paused"}, {"connected": False}, {"authorisation": "revoked"}]
)
async def test_robots_that_may_not_work_get_nothing(world: World, fields: dict[str, Any]) -> None:
    await world.publish()
    unfit = await world.robot(1, **fields)
    await world.tasks(2)
    await world.scheduler()
    await world.robot(2)
    (run,) = await world.opened()
    assert run["worker"] != unfit
    assert (await world.worker(unfit))["run"] is None


async def test_unpublished_workflows_wait_and_say_so(world: World) -> None:
    await world.publish()
    await world.robot()
    (waiting,) = await world.tasks(workflow="draft", priority=5)
    (task,) = await world.tasks()
    await world.scheduler()
    (run,) = await world.opened()
    assert run["tasks"][0]["task"] == task
    assert await why_waiting(world.mongo, await world.task(waiting)) == "its workflow draft has no published version"


async def test_a_task_that_no_longer_fits_is_held_and_the_others_go_on(world: World) -> None:
    await world.publish(number=1)
    await world.publish(number=2, input={"type": "object", "required": ["registration"]})
    (bad,) = await world.tasks(input={})
    (good,) = await world.tasks(input={"registration": "1"})
    await world.robot()
    await world.scheduler()
    (run,) = await world.opened()
    assert [one["task"] for one in run["tasks"]] == [good]
    held = await world.until_task(bad, "held")
    assert held["hold"]["reason"] == "input"
    assert "registration" in held["hold"]["text"]
    assert (held["pending"]["to"], held["pending"]["what"], held["events"]) == ("delivery", "held", {"held": 1})


async def test_delayed_tasks_join_when_their_time_has_come(world: World) -> None:
    await world.publish(max_tasks=1)
    (delayed,) = await world.tasks(not_before=now() + timedelta(seconds=1), queue=None)
    (past,) = await world.tasks(not_before=ago(hours=1))
    assert (await why_waiting(world.mongo, await world.task(delayed))).startswith("delayed until ")
    await world.robot(1)
    await world.robot(2)
    await world.scheduler(dispatch_sweep_s=0.1)
    first, second = await world.opened(2)
    assert [run["tasks"][0]["task"] for run in (first, second)] == [past, delayed]
    assert second["opened_at"] >= (await world.task(delayed))["eligible_at"]


async def test_tasks_expire_that_did_not_run_in_time(world: World) -> None:
    await world.publish()
    (late,) = await world.tasks(deadline=ago(seconds=1))
    (delayed,) = await world.tasks(deadline=ago(seconds=1), not_before=now() + timedelta(hours=1), queue=None)
    await world.robot()
    await world.scheduler()
    for id in (late, delayed):
        task = await world.until_task(id, "expired")
        assert task["pending"]["what"] == "expired"
        assert task["finished_at"] is not None
        assert "queue" not in task
    assert await world.mongo["runs"].count_documents({}) == 0


async def test_waiting_tasks_say_why(world: World) -> None:
    await world.publish()
    first, *_, last = await world.tasks(1003)

    async def why(id: str) -> str:
        return await why_waiting(world.mongo, await world.task(id))

    assert await why(first) == "no robot is authorised for its account"
    robot = await world.robot(connected=False)
    assert await why(first) == "the authorised robot is not connected"
    await world.mongo["workers"].update_one(
        {"_id": robot}, {"$set": {"connected": True, "run": "r", "status": "running"}}
    )
    assert await why(first) == "it is the next one; the only robot is busy"
    assert await why(last) == "behind more than 1000 others; the only robot is busy"
    await world.tasks(2, workflow="tax", priority=5)
    assert await why(first) == "behind 2 others; the only robot is busy"
