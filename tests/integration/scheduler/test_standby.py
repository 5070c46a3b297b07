"""Warm standby: runs that stand ready, get their tasks at once, and end when they are to."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from services.scheduler.core.opening import Opening
from services.scheduler.recovery import Recovery
from services.scheduler.store.opening import Missed
from services.scheduler.store.standby import StandbyStore
from shared.mongo.waiting import explain, why_waiting
from shared.obs.clock import now
from tests.integration.scheduler.conftest import ACCOUNT, World, ago, until

WARM: dict[str, Any] = {"keep_alive_s": 60.0}
GROUPED: list[dict[str, Any]] = [
    {"name": "look", "when": [{"field": "kind", "op": "eq", "value": "look"}], "group_by": ["certificate"],
     "max_tasks": 3, "warm": WARM, "script": "a.py"},
    {"name": "rest", "when": [], "group_by": ["certificate"], "max_tasks": 3, "script": "b.py"},
]  # fmt: skip
PLAIN: list[dict[str, Any]] = [{"name": "only", "when": [], "max_tasks": 3, "warm": WARM, "script": "a.py"}]
SETTINGS: dict[str, Any] = {"warm": {"groups": [{"certificate": "x"}]}, "retry": {"attempts": 3, "delay_s": 0}}
FLOW = f"{ACCOUNT}/tax"


def _look(certificate: str) -> dict[str, Any]:
    return {"input": {"kind": "look", "certificate": certificate}}


async def _warm(world: World, count: int = 1) -> list[dict[str, Any]]:
    """Warm runs that live, once there are that many."""

    async def check() -> list[dict[str, Any]] | None:
        query = {"warm": True, "settled_at": None}
        runs = await world.mongo["runs"].find(query).sort("opened_at", 1).to_list(None)
        return runs if len(runs) >= count else None

    return await until(check)


async def _park(world: World, run: dict[str, Any]) -> None:
    """What its executor does when setup is done, or no task is left: all it had has ended well."""
    at = now()
    wait = {"kind": "warm", "seq": 3, "due_at": at + timedelta(seconds=60), "since": at}
    fields = {"state": "waiting", "executor": None, "pending": None, "wait": wait, "started_at": at}
    await world.mongo["runs"].update_one({"_id": run["_id"]}, {"$set": fields, "$inc": {"token": 1}})


async def _finish_tasks(world: World, run: dict[str, Any], outcome: str = "succeeded") -> None:
    """Bring the tasks that a run was given to one outcome."""
    state = {"system": "failed"}.get(outcome, outcome)
    failure = {"kind": "system", "code": "BROKEN"} if outcome in ("system", "retry") else None
    for n, item in enumerate(run["tasks"]):
        if item["state"] != "waiting":
            continue
        if outcome == "retry":
            await world.return_task(item["task"], "retry")
        else:
            ended = {
                "state": state,
                "held_by": None,
                "error": failure,
                "started_at": ago(seconds=1),
                "finished_at": now(),
            }
            await world.mongo["tasks"].update_one({"_id": item["task"]}, {"$set": ended})
        noted = {f"tasks.{n}.state": "ended", f"tasks.{n}.outcome": state, f"tasks.{n}.failure": failure}
        await world.mongo["runs"].update_one({"_id": run["_id"]}, {"$set": noted})


async def _given(world: World, run: str, count: int) -> dict[str, Any]:
    """The run once it was given so many tasks in all."""

    async def check() -> dict[str, Any] | None:
        found = await world.mongo["runs"].find_one({"_id": run})
        return found if found and len(found["tasks"]) >= count else None

    return await until(check)


async def _stop(world: World, run: str) -> str:
    """Why the run was asked to end."""
    command = await until(lambda: world.mongo["commands"].find_one({"kind": "run.stop", "target": run}))
    return str(command["args"]["reason"])


async def _ready(world: World, *, scenarios: list[dict[str, Any]] = GROUPED, **settings: Any) -> dict[str, Any]:
    """A warm run that stands ready on an exclusive robot."""
    await world.publish(scenarios=scenarios, settings={**SETTINGS, **settings})
    await world.robot(1, exclusive=FLOW)
    await world.scheduler(dispatch_sweep_s=0.2, closing_sweep_s=0.2)
    (run,) = await _warm(world)
    await _park(world, run)
    return run


async def test_a_warm_run_is_opened_without_tasks_on_an_exclusive_robot_only(world: World) -> None:
    await world.publish(scenarios=GROUPED, settings=SETTINGS)
    await world.robot(1)
    exclusive = await world.robot(2, exclusive=FLOW)
    await world.robot(3, exclusive=f"{ACCOUNT}/other")
    await asyncio.gather(*(world.scheduler(f"scheduler-{n}", dispatch_sweep_s=0.2) for n in (1, 2)))
    (run,) = await _warm(world)
    assert (run["worker"], run["tasks"], run["group"]) == (exclusive, [], {"certificate": "x"})
    assert (run["scenario"], run["state"], run["pending"]["what"]) == ("look", "opened", "opened")
    assert (await world.worker(exclusive))["status"] == "reserved"
    await world.robot(4, exclusive=FLOW)
    await world.publish("canary")
    await world.tasks(workflow="canary")
    await until(lambda: world.mongo["runs"].find_one({"workflow": "canary"}))
    assert await world.mongo["runs"].count_documents({"warm": True}) == 1, "one for each scenario and group"


async def test_tasks_of_its_group_go_to_a_run_that_stands_ready(world: World) -> None:
    run = await _ready(world, limits=[{"per": "day", "max": 9}])
    await world.robot(2)
    mine = await world.tasks(4, **_look("x"))
    given = await _given(world, run["_id"], 3)
    assert [item["task"] for item in given["tasks"]] == mine[:3], "a batch, in order"
    assert given["pending"]["what"] == "tasks"
    assert (given["state"], given["wait"]["kind"]) == ("waiting", "warm"), "the executor takes it from here"
    task = await world.task(mine[0])
    assert (task["state"], task["held_by"]) == ("running", {"run": run["_id"], "attempt": 1, "epoch": run["epoch"]})
    said = await why_waiting(world.mongo, await world.task(mine[3]))
    assert said == "the robot that is kept warm for it is at work, or being prepared"
    await world.tasks(1, **_look("y"))
    (other,) = await world.opened()
    assert (other["worker"], other["group"]) == ("00155d010002", {"certificate": "y"})
    await _finish_tasks(world, given)
    await _park(world, run)
    again = await _given(world, run["_id"], 4)
    assert again["tasks"][3]["task"] == mine[3]
    (used,) = await world.mongo["usage"].find({}).to_list(None)
    assert used["used"] == 5, "each is counted once"


async def test_other_robots_take_what_is_too_much_for_it_where_they_may_share_the_group(world: World) -> None:
    run = await _ready(world, scenarios=PLAIN)
    await world.robot(2)
    tasks = await world.tasks(5)
    given = await _given(world, run["_id"], 3)
    assert [item["task"] for item in given["tasks"]] == tasks[:3], "its robot is preferred"
    (other,) = await world.opened()
    assert (other["worker"], [item["task"] for item in other["tasks"]]) == ("00155d010002", tasks[3:])


async def test_a_free_robot_that_would_take_its_tasks_opens_the_warm_run_instead(world: World) -> None:
    await world.publish(scenarios=GROUPED, settings=SETTINGS)
    tasks = await world.tasks(2, **_look("x"))
    await world.robot(1, exclusive=FLOW)
    await world.scheduler(dispatch_sweep_s=0.2)
    (run,) = await _warm(world)
    assert run["tasks"] == []
    assert (await world.task(tasks[0]))["state"] == "queued"
    await _park(world, run)
    await _given(world, run["_id"], 2)


async def test_work_goes_before_standby_and_a_needed_robot_is_freed(world: World) -> None:
    await world.publish(scenarios=GROUPED, settings=SETTINGS)
    await world.tasks(1, input={"kind": "other", "certificate": "y"})
    robot = await world.robot(1, exclusive=FLOW)
    await world.scheduler(dispatch_sweep_s=0.2)
    (first,) = await world.opened()
    assert (first["warm"], first["scenario"]) == (False, "rest")
    await world.finish_run(first)
    (run,) = await _warm(world)
    await _park(world, run)
    (task,) = await world.tasks(1, input={"kind": "other", "certificate": "z"})
    before = {"$set": {"queue.rank": (await world.task(task))["queue"]["rank"] - 11_000_000}}
    await world.mongo["tasks"].update_one({"_id": task}, before)
    assert (await _stop(world, run["_id"])).startswith("its robot is needed for other tasks")
    await world.end_run(run["_id"], reason="stopped")
    await until(lambda: world.mongo["runs"].find_one({"tasks.task": task}))
    assert (await world.worker(robot))["run"] != run["_id"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("pause", "its robot is set to pause"),
        ("drain", "its robot is being drained"),
        ("exclusive", "its robot is no longer exclusive to its workflow"),
        ("version", "a new version was published"),
        ("settings", "it is no longer to be kept warm"),
        ("hold", "its workflow tax is held: enough"),
        ("window", "its workflow tax is closed"),
    ],
)
async def test_a_run_that_stands_ready_ends(world: World, change: str, why: str) -> None:
    run = await _ready(world)
    robot = run["worker"]
    match change:
        case "pause":
            await world.ask("worker.mode", robot, mode="pause")
        case "drain":
            await world.ask("worker.drain", robot)
        case "exclusive":
            await world.ask("worker.config", robot, exclusive=None)
        case "version":
            await world.publish(scenarios=GROUPED, settings=SETTINGS, number=2)
        case "settings":
            await world.mongo["workflows"].update_one({"_id": FLOW}, {"$set": {"settings.warm": None}})
        case "hold":
            await world.ask("workflow.hold", FLOW, text="enough")
        case _:
            day = (now() + timedelta(days=3)).strftime("%a").lower()
            closed = [{"days": [day], "start": "00:00", "end": "00:01"}]
            await world.mongo["workflows"].update_one({"_id": FLOW}, {"$set": {"settings.windows": closed}})
    assert (await _stop(world, run["_id"])).startswith(why)
    await world.tasks(1, **_look("x"))
    await world.end_run(run["_id"], reason="stopped")
    await world.settled(run["_id"])
    assert (await world.mongo["runs"].find_one({"_id": run["_id"]}) or {})["tasks"] == [], "it got no task any more"


async def test_a_lost_session_is_opened_anew_after_growing_pauses(world: World) -> None:
    run = await _ready(world)
    await world.end_run(run["_id"], reason="warm_lost", text="the portal logged it out")
    await world.settled(run["_id"])
    lock = next(lock for lock in run["locks"] if lock.startswith("warm/"))
    slot = await world.mongo["slots"].find_one({"_id": lock}) or {}
    assert slot["failures"] == 1
    assert timedelta(0) < slot["until"] - now() <= timedelta(seconds=5)
    await world.publish("canary")
    await world.robot(2)
    await world.tasks(workflow="canary")
    await until(lambda: world.mongo["runs"].find_one({"workflow": "canary"}))
    assert await world.mongo["runs"].count_documents({"warm": True}) == 1, "not yet"
    await world.mongo["slots"].update_one({"_id": lock}, {"$set": {"until": ago(seconds=1)}})
    again = (await _warm(world))[-1]
    assert again["_id"] != run["_id"]
    assert await world.mongo["circuits"].count_documents({"state": "open"}) == 0


async def test_setups_of_warm_runs_that_fail_hold_their_scenario(world: World) -> None:
    await world.publish(scenarios=GROUPED, settings=SETTINGS)
    await world.robot(1, exclusive=FLOW)
    await world.scheduler(dispatch_sweep_s=0.2)
    for _ in range(5):
        await world.mongo["slots"].update_many({}, {"$set": {"until": None}})
        (run,) = await _warm(world)
        await world.end_run(run["_id"], reason="setup_failed", text="no page")
        await world.settled(run["_id"])
    (event,) = await world.events("scenario_held")
    assert event["facts"]["scenario"] == "look"


async def test_failures_are_judged_while_it_lives_and_once(world: World) -> None:
    run = await _ready(world, breaker={"failures": 3}, limits=[{"per": "day", "max": 9}])
    await world.tasks(4, **_look("x"))
    given = await _given(world, run["_id"], 3)
    await _finish_tasks(world, given, "system")
    await _park(world, run)
    circuit = await until(lambda: world.mongo["circuits"].find_one({"_id": FLOW, "state": "open"}))
    assert circuit["failures"] == 3
    assert len(await world.events("workflow_held")) == 1
    (used,) = await world.mongo["usage"].find({}).to_list(None)
    assert used["used"] == 0, "system failures use no limit up"
    assert (await _stop(world, run["_id"])).startswith("its workflow tax is held: 3 system failures in a row")
    await world.end_run(run["_id"], reason="stopped")
    await world.settled(run["_id"])
    again = await world.mongo["circuits"].find_one({"_id": FLOW}) or {}
    assert again["failures"] == 3, "what was judged is not judged again"


async def test_a_task_that_failed_in_it_is_tried_again_after_a_new_setup(world: World) -> None:
    run = await _ready(world)
    (task,) = await world.tasks(1, **_look("x"))
    given = await _given(world, run["_id"], 1)
    await _finish_tasks(world, given, "retry")
    await world.until_task(task, "queued")
    await _park(world, run)
    assert (await _stop(world, run["_id"])) == f"task {task} is to be tried again, after a new setup"


async def test_whoever_comes_first_has_the_run(world: World) -> None:
    """The scheduler gives tasks, the executor claims for keepalive, a person aborts: each expects it parked."""
    run = await _ready(world)
    (scheduler,) = world.schedulers
    await world.kill(scheduler)
    tasks = await world.tasks(2, **_look("x"))
    parked = await world.mongo["runs"].find_one({"_id": run["_id"]}) or {}

    async def push(task: str) -> int | Missed:
        given = Opening(
            run=run["_id"], account=ACCOUNT, workflow="tax", version=run["version"], scenario="look",
            worker=run["worker"], epoch_before=run["epoch"] - 1, tasks=[task], seed=0, at=now(),
        )  # fmt: skip
        return await StandbyStore(world.mongo).push(parked, given)

    await world.mongo["runs"].update_one({"_id": run["_id"]}, {"$set": {"executor": "executor-1"}})
    assert await push(tasks[0]) is Missed.ROBOT
    assert (await world.task(tasks[0]))["state"] == "queued", "all of it or nothing"
    await world.mongo["runs"].update_one({"_id": run["_id"]}, {"$set": {"executor": None}})
    done = await asyncio.gather(*(push(task) for task in tasks))
    assert sorted(str(one) for one in done if one == 1) == ["1"], "the second one finds tasks in hand"
    assert len((await world.mongo["runs"].find_one({"_id": run["_id"]}) or {})["tasks"]) == 1


async def test_one_that_stands_ready_is_neither_stalled_nor_a_zombie_but_its_robot_may_be_lost(world: World) -> None:
    await world.publish(scenarios=GROUPED, settings=SETTINGS)
    robot = await world.robot(1, exclusive=FLOW)
    scheduler = await world.scheduler(dispatch_sweep_s=0.2, stall_grace_s=0.3, zombie_sweep_s=0.1)
    (run,) = await _warm(world)
    await _park(world, run)
    await world.publish("canary")
    await world.robot(2)
    await world.tasks(workflow="canary")
    canary = await until(lambda: world.mongo["runs"].find_one({"workflow": "canary"}))
    await until(lambda: world.mongo["events"].find_one({"kind": "run_stalled", "target": canary["_id"]}))
    assert await world.mongo["events"].count_documents({"target": run["_id"]}) == 0
    assert (await world.worker(robot))["run"] == run["_id"]
    await world.mongo["workers"].update_one({"_id": robot}, {"$set": {"connected": False}})
    await Recovery(world.mongo, scheduler.hints, kick=lambda: None).sweep_lost()
    lost = {"kind": "run.robot_lost", "target": run["_id"]}
    assert await world.mongo["commands"].find_one(lost)


async def test_tasks_that_nobody_takes_up_are_told_of(world: World) -> None:
    await world.publish(scenarios=GROUPED, settings=SETTINGS)
    await world.robot(1, exclusive=FLOW)
    await world.scheduler(dispatch_sweep_s=0.2, stall_grace_s=0.3, zombie_sweep_s=0.1)
    (run,) = await _warm(world)
    await _park(world, run)
    await world.tasks(1, **_look("x"))
    await _given(world, run["_id"], 1)
    event = await until(lambda: world.mongo["events"].find_one({"kind": "run_stalled", "target": run["_id"]}))
    assert "waits for an executor" in event["text"]


async def test_a_limit_on_runs_at_once_does_not_keep_a_run_that_lives_from_its_tasks(world: World) -> None:
    run = await _ready(world, concurrency={"runs": 1})
    await world.tasks(1, **_look("x"))
    await _given(world, run["_id"], 1)


async def test_a_task_of_its_group_says_that_it_is_about_to_start(world: World) -> None:
    run = await _ready(world, concurrency={"runs": 1})
    (scheduler,) = world.schedulers
    await world.kill(scheduler)
    (task,) = await world.tasks(1, **_look("x"))
    await world.mongo["paces"].insert_one({"_id": FLOW, "task_s": 5.0, "overhead_s": 90.0, "samples": 9})
    said = await explain(world.mongo, await world.task(task))
    assert said.why == "a robot is kept warm for it, and is about to take it"
    assert said.facts["warm"] == "ready"
    assert said.forecast is not None
    assert (said.forecast["starts_at"] - now()).total_seconds() < 5
    await world.mongo["runs"].update_one({"_id": run["_id"]}, {"$set": {"executor": "executor-1"}})
    busy = await explain(world.mongo, await world.task(task))
    assert busy.why == "the robot that is kept warm for it is at work, or being prepared"
