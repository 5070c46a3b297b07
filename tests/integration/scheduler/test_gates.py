"""What keeps workflows and robots from work: windows, limits, runs at once, circuit breakers, quarantine, drain."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any
from zoneinfo import ZoneInfo

from shared.mongo.lease import Lease
from shared.mongo.waiting import explain, why_waiting
from shared.obs.clock import now
from tests.integration.scheduler.conftest import ACCOUNT, World, ago, until

ZONE = "America/Sao_Paulo"
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def _window(*, open_now: bool) -> dict[str, Any]:
    """A daily window around this hour, or the ten hours before the last one."""
    hour = now().astimezone(ZoneInfo(ZONE)).hour
    start, end = ((hour - 1) % 24, (hour + 2) % 24) if open_now else ((hour - 12) % 24, (hour - 1) % 24)
    return {"days": DAYS, "start": f"{start:02d}:00", "end": f"{end:02d}:00"}


async def _set(world: World, workflow: str = "tax", **settings: Any) -> None:
    fields = {f"settings.{key}": value for key, value in settings.items()}
    await world.mongo["workflows"].update_one({"_id": f"{ACCOUNT}/{workflow}"}, {"$set": fields})


async def _no_run(world: World) -> None:
    """Another task, of a workflow that takes any, has been served: the queue was looked at, nothing else was taken."""
    await world.publish("canary")
    await world.tasks(workflow="canary", priority=0)

    async def served() -> bool:
        return await world.mongo["runs"].count_documents({"workflow": "canary"}) > 0

    await until(served)
    assert await world.mongo["runs"].count_documents({"workflow": {"$ne": "canary"}}) == 0


async def test_a_closed_workflow_waits_says_until_when_and_runs_when_it_opens(world: World) -> None:
    await world.publish(settings={"timezone": ZONE, "windows": [_window(open_now=False)]})
    await world.robot(1)
    await world.robot(2)
    (task,) = await world.tasks(priority=5)
    await world.scheduler(dispatch_sweep_s=0.2)
    await _no_run(world)
    await world.mongo["paces"].insert_one({"_id": f"{ACCOUNT}/tax", "task_s": 5.0, "overhead_s": 1.0, "samples": 9})
    said = await explain(world.mongo, await world.task(task))
    assert said.why.startswith("its workflow tax is closed (outside its windows); it opens at 20")
    assert said.facts["gate"]["reason"] == "closed"
    assert said.forecast is not None
    assert said.forecast["starts_at"] >= said.facts["gate"]["until"]
    await _set(world, windows=[_window(open_now=True)])
    assert [run for run in await world.opened(2) if run["workflow"] == "tax"]


async def test_holidays_and_maintenance_close_a_workflow(world: World) -> None:
    today = now().astimezone(ZoneInfo(ZONE)).date().isoformat()
    await world.mongo["calendars"].insert_one(
        {"_id": f"{ACCOUNT}/br", "account": ACCOUNT, "name": "br", "dates": [{"date": today, "name": "Day off"}]}
    )
    await world.mongo["portals"].insert_one(
        {
            "_id": f"{ACCOUNT}/revenue", "account": ACCOUNT, "name": "revenue", "timezone": ZONE, "weekly": [],
            "maintenance": [{"start": ago(hours=1), "end": now() + timedelta(hours=1), "reason": "new version"}],
        }
    )  # fmt: skip
    await world.publish("closed", settings={"timezone": ZONE, "holidays": ["br"]})
    await world.publish("away", settings={"portals": ["revenue"]})
    (holiday,) = await world.tasks(workflow="closed")
    (maintenance,) = await world.tasks(workflow="away")
    await world.robot()
    await world.scheduler(dispatch_sweep_s=0.2)
    await _no_run(world)
    assert "(a holiday)" in await why_waiting(world.mongo, await world.task(holiday))
    said = await why_waiting(world.mongo, await world.task(maintenance))
    assert "revenue" in said
    assert "new version" in said


async def test_a_window_that_closes_lets_the_running_task_finish(world: World) -> None:
    await world.publish(settings={"timezone": ZONE, "windows": [_window(open_now=True)]})
    await world.robot()
    await world.tasks(3)
    await world.scheduler(closing_sweep_s=0.2)
    (run,) = await world.opened()
    assert await world.mongo["commands"].count_documents({"kind": "run.stop"}) == 0
    await _set(world, windows=[_window(open_now=False)])
    command = await until(lambda: world.mongo["commands"].find_one({"kind": "run.stop", "target": run["_id"]}))
    assert command["to"] == "executor"
    assert "closed" in command["args"]["reason"]


async def test_a_robot_works_in_its_own_time_only(world: World) -> None:
    await world.publish()
    schedule = {"timezone": ZONE, "windows": [_window(open_now=False)], "holidays": []}
    robot = await world.robot(1, schedule=schedule)
    (task,) = await world.tasks()
    await world.scheduler(dispatch_sweep_s=0.2)
    assert (
        await why_waiting(world.mongo, await world.task(task))
    ) == "every connected robot is outside its time to work"
    other = await world.robot(2)
    (run,) = await world.opened()
    assert run["worker"] == other != robot


async def test_a_limit_counts_each_task_once_warns_once_and_blocks(world: World) -> None:
    limits = [{"per": "day", "max": 4, "warn_at": [50], "on_limit": "block"}]
    retry = {"delay_s": 0, "attempts": 9, "position": "front"}
    await world.publish(max_tasks=2, settings={"limits": limits, "timezone": ZONE, "retry": retry})
    robot = await world.robot()
    tasks = await world.tasks(6)
    await world.scheduler(dispatch_sweep_s=0.2)
    first, second = tasks[:2], tasks[2:4]
    steps = (
        ("retry", first, 2, "a task is counted when it is taken"),
        ("not_started", first, 2, "a second attempt is no second dispatch, and if it was none, the first one stays"),
        ("succeeded", first, 2, ""),
        ("not_started", second, 4, ""),
        ("succeeded", second, 4, "an attempt that was none was taken out, and is counted again"),
    )
    for outcome, expected, used, why in steps:
        (run,) = await until(lambda: _open_runs(world, 1))
        assert sorted(item["task"] for item in run["tasks"]) == sorted(expected)
        assert (await world.mongo["usage"].find_one({"workflow": "tax"}) or {})["used"] == used, why
        await world.finish_run(run, outcome)
        await world.settled(run["_id"])
    await world.free_again(robot)
    await _no_run_of(world, "tax")
    said = await why_waiting(world.mongo, await world.task(tasks[4]))
    assert said.startswith("its workflow tax's limit of 4 tasks per day is reached; it goes on at 20")
    assert [event["facts"]["percent"] for event in await world.events("limit_warning")] == [50]
    assert len(await world.events("limit_reached")) == 1, "once a period, though it was reached twice"


async def _open_runs(world: World, count: int) -> list[dict[str, Any]]:
    runs = await world.mongo["runs"].find({"state": "opened"}).to_list(None)
    return runs if len(runs) == count else []


async def _count(world: World, collection: str, query: dict[str, Any], count: int) -> bool:
    return bool(await world.mongo[collection].count_documents(query) == count)


async def _no_run_of(world: World, workflow: str) -> None:
    await world.publish("canary")
    await world.tasks(workflow="canary", priority=0)
    canary = await until(lambda: world.mongo["runs"].find_one({"workflow": "canary", "state": "opened"}))
    assert await world.mongo["runs"].count_documents({"workflow": workflow, "state": "opened"}) == 0
    await world.finish_run(canary)


async def test_a_limit_that_only_tells_lets_tasks_go_on(world: World) -> None:
    await world.publish(max_tasks=3, settings={"limits": [{"per": "hour", "max": 2, "on_limit": "alert"}]})
    await world.robot()
    await world.tasks(3)
    await world.scheduler()
    (run,) = await world.opened()
    assert len(run["tasks"]) == 3
    (event,) = await world.events("limit_reached")
    assert event["facts"]["used"] == 3


async def test_an_accounts_limit_is_over_all_its_workflows_and_shortens_a_batch(world: World) -> None:
    await world.mongo["accounts"].insert_one(
        {"_id": ACCOUNT, "settings": {"limits": [{"per": "month", "max": 5, "on_limit": "block"}]}}
    )
    await world.publish("tax", max_tasks=4)
    await world.publish("land", max_tasks=4)
    await world.tasks(4, workflow="tax", priority=5)
    (first, *_) = await world.tasks(4, workflow="land")
    await world.robot(1)
    await world.robot(2)
    await world.scheduler()
    one, two = await world.opened(2)
    assert (len(one["tasks"]), len(two["tasks"])) == (4, 1)
    last = await world.mongo["tasks"].find_one({"state": "queued"}) or {}
    assert last["workflow"] == "land"
    assert "its account's limit of 5 tasks per month is reached" in await why_waiting(world.mongo, last)
    assert two["tasks"][0]["task"] == first


async def test_a_task_that_fails_by_no_fault_of_its_own_uses_no_limit_up(world: World) -> None:
    await world.publish(max_tasks=2, settings={"limits": [{"per": "day", "max": 9}]})
    robot = await world.robot()
    await world.tasks(2)
    await world.scheduler()
    (run,) = await world.opened()
    await world.finish_run(run, "system")
    await world.free_again(robot)
    await until(lambda: _count(world, "usage", {"used": 0}, 1))
    assert await world.mongo["tasks"].count_documents({"counted": {"$ne": None}}) == 0


async def test_only_so_many_runs_of_a_workflow_at_once_with_two_schedulers(world: World) -> None:
    await world.publish(max_tasks=1, settings={"concurrency": {"runs": 2}})
    for n in range(6):
        await world.robot(n)
    (*_, last) = await world.tasks(12)
    await asyncio.gather(world.scheduler("scheduler-1"), world.scheduler("scheduler-2"))
    for _ in range(4):
        runs = await until(lambda: _open_runs(world, 2))
        assert len(runs) == 2
        for run in runs:
            await world.finish_run(run)
    await until(lambda: _open_runs(world, 2))
    said = await why_waiting(world.mongo, await world.task(last))
    assert said == "2 runs of its workflow tax are at work, as many as may be at once"


async def test_failures_in_a_row_hold_the_workflow_until_a_person_releases_it(world: World) -> None:
    await world.publish(max_tasks=1, settings={"breaker": {"failures": 3}, "retry": {"attempts": 9, "delay_s": 0}})
    await world.robot()
    await world.tasks(1)
    await world.scheduler(dispatch_sweep_s=0.2)
    for _ in range(3):
        (run,) = await until(lambda: _open_runs(world, 1))
        await world.finish_run(run, "retry")
    circuit = await until(lambda: world.mongo["circuits"].find_one({"_id": f"{ACCOUNT}/tax", "state": "open"}))
    assert (circuit["failures"], circuit["reason"]) == (3, "failures")
    await _no_run_of(world, "tax")
    task = await until(lambda: world.mongo["tasks"].find_one({"workflow": "tax", "state": "queued"}))
    said = await why_waiting(world.mongo, task)
    assert said.startswith("its workflow tax is held: 3 system failures in a row; the last one: ")
    assert said.endswith("SYSTEM")
    assert len(await world.events("workflow_held")) == 1
    assert (await world.ask("workflow.release", f"{ACCOUNT}/tax"))["state"] == "done"
    (run,) = await until(lambda: _runs_of(world, "tax", "opened"))
    assert (await world.ask("workflow.release", f"{ACCOUNT}/tax"))["reason"].startswith("CONFLICT")


async def _runs_of(world: World, workflow: str, state: str) -> list[dict[str, Any]]:
    return await world.mongo["runs"].find({"workflow": workflow, "state": state}).to_list(None)


async def test_a_rejected_login_holds_the_workflow_at_once(world: World) -> None:
    await world.publish(max_tasks=1)
    robot = await world.robot()
    await world.tasks(3)
    await world.scheduler(dispatch_sweep_s=0.2)
    (run,) = await world.opened()
    await world.finish_run(run, "not_started", reason="setup_failed", text="wrong password", code="LOGIN_REJECTED")
    await world.free_again(robot)
    await _no_run_of(world, "tax")
    (event,) = await world.events("login_rejected")
    assert "wrong password" in event["text"]
    assert (await world.worker(robot)).get("failures") in (None, 0), "it is not the robot's fault"


async def test_a_person_holds_a_workflow_and_its_runs_end_after_the_task_in_hand(world: World) -> None:
    await world.publish(max_tasks=2)
    await world.robot(1)
    await world.robot(2)
    await world.tasks(2)
    await world.scheduler(closing_sweep_s=0.2)
    (run,) = await world.opened()
    assert (await world.ask("workflow.hold", f"{ACCOUNT}/tax", text="the portal changes tonight"))["state"] == "done"
    await until(lambda: world.mongo["commands"].find_one({"kind": "run.stop", "target": run["_id"]}))
    (task,) = await world.tasks()
    await _no_run_of(world, "land")
    said = await why_waiting(world.mongo, await world.task(task))
    assert said == "its workflow tax is held: the portal changes tonight"
    assert (await world.ask("workflow.hold", f"{ACCOUNT}/tax"))["state"] == "refused"
    assert (await world.ask("workflow.hold", f"{ACCOUNT}/nowhere"))["reason"].startswith("NOT_FOUND")
    assert await world.mongo["audit"].count_documents({"action": "workflow.hold"}) == 1


async def test_a_robot_that_fails_again_and_again_is_quarantined(world: World) -> None:
    await world.publish(max_tasks=1, settings={"breaker": {"failures": None}, "retry": {"attempts": 9, "delay_s": 0}})
    robot = await world.robot()
    (task,) = await world.tasks()
    await world.scheduler(dispatch_sweep_s=0.2)
    for n in range(3):
        (run,) = await until(lambda: _open_runs(world, 1))
        await world.finish_run(run, "retry")
        await world.settled(run["_id"])
        worker = await world.worker(robot)
        assert worker["failures"] == n + 1
    assert worker["quarantine"]["times"] == 1
    assert worker["quarantine"]["until"] > now() + timedelta(seconds=30)
    (event,) = await world.events("robot_quarantined")
    assert event["target"] == robot

    async def said() -> bool:
        why = await why_waiting(world.mongo, await world.task(task))
        return why == "every connected robot is in quarantine after failures"

    await until(said)
    assert (await world.ask("worker.release", robot))["state"] == "done"
    (run,) = await until(lambda: _open_runs(world, 1))
    await world.finish_run(run)
    assert (await world.free_again(robot))["failures"] == 0


async def test_a_drained_robot_finishes_its_run_and_stops(world: World) -> None:
    await world.publish(max_tasks=2)
    robot = await world.robot()
    await world.tasks(3)
    await world.scheduler(dispatch_sweep_s=0.2)
    (run,) = await world.opened()
    assert (await world.ask("worker.drain", robot))["state"] == "done"
    assert (await world.worker(robot))["run"] == run["_id"]
    await world.finish_run(run)
    worker = await world.free_again(robot)
    assert (worker["mode"], worker["status"], worker["drain"]) == ("stop", "stopped", None)
    assert len(await world.events("robot_drained")) == 1
    idle = await world.robot(2, mode="pause", status="paused")
    assert (await world.ask("worker.drain", idle))["state"] == "done"
    assert (await world.worker(idle))["status"] == "stopped"


async def test_people_say_what_a_robot_may_run(world: World) -> None:
    await world.publish("tax")
    await world.publish("land", settings={"tags": ["sap"]})
    robot = await world.robot(1, mode="pause", status="paused")
    await world.scheduler(dispatch_sweep_s=0.2)
    assert (await world.ask("worker.config", robot, workflows=[f"{ACCOUNT}/land"], tags=["sap", "web"]))[
        "state"
    ] == "done"
    assert (await world.ask("worker.config", robot, tags=["No Tag"]))["reason"].startswith("INVALID_INPUT: tags.0")
    assert (await world.worker(robot))["tags"] == ["sap", "web"]
    await world.tasks(workflow="tax", priority=5)
    await world.tasks(workflow="land")
    await world.ask("worker.mode", robot, mode="run")
    (run,) = await world.opened()
    assert run["workflow"] == "land"
    (waiting,) = await world.tasks(workflow="tax")
    assert await why_waiting(world.mongo, await world.task(waiting)) == "no authorised robot may run its workflow"


async def test_robots_that_may_run_little_are_used_first(world: World) -> None:
    """The generalist stays free for what only it can do."""
    await world.publish("tax", max_tasks=1)
    await world.publish("land", max_tasks=1)
    generalist = await world.robot(1)
    specialist = await world.robot(2, exclusive=f"{ACCOUNT}/tax")
    await world.tasks(workflow="tax", priority=5)
    await world.tasks(workflow="land", priority=1)
    await world.scheduler()
    runs = await world.opened(2)
    assert {run["workflow"]: run["worker"] for run in runs} == {"tax": specialist, "land": generalist}


async def test_robots_are_shared_by_weight_between_accounts(world: World) -> None:
    for account, weight in (("acme", 3), ("mega", 1)):
        await world.mongo["accounts"].insert_one({"_id": account, "settings": {"weight": weight}})
        await world.publish("tax", max_tasks=1, account=account)
        await world.tasks(30, account=account)
    for n in range(12):
        await world.robot(n)
    await world.scheduler()
    runs = await world.opened(12)
    counts = {account: sum(1 for run in runs if run["account"] == account) for account in ("acme", "mega")}
    assert counts == {"acme": 9, "mega": 3}


async def test_a_run_whose_executor_is_gone_is_told_but_not_ended(world: World) -> None:
    """It goes on at its instruction when an executor comes: the desktop is still there."""
    await world.publish()
    await world.robot()
    await world.tasks()
    await world.scheduler(stall_grace_s=0.3, zombie_sweep_s=0.1)
    (run,) = await world.opened()
    fields = {"state": "executing", "executor": "executor-gone", "token": 1, "pending": None}
    await world.mongo["runs"].update_one({"_id": run["_id"]}, {"$set": fields})
    event = await until(lambda: world.mongo["events"].find_one({"kind": "run_stalled", "target": run["_id"]}))
    assert "waits for an executor" in event["text"]
    assert await world.mongo["commands"].count_documents({"kind": "run.robot_lost"}) == 0


async def test_a_run_without_progress_is_ended_although_its_robot_beats(world: World) -> None:
    await world.publish()
    robot = await world.robot()
    await world.tasks()
    await world.scheduler(stall_grace_s=0.4, zombie_sweep_s=0.1)
    (run,) = await world.opened()
    fields = {"state": "executing", "executor": "executor-1", "token": 1, "pending": None}
    await world.mongo["runs"].update_one({"_id": run["_id"]}, {"$set": fields})
    await world.mongo["steps"].insert_one(
        {
            "_id": f"{run['_id']}/00000001", "run": run["_id"], "seq": 1, "kind": "instruction",
            "instruction": {"name": "browser.click", "timeout_s": 1.0},
        }
    )  # fmt: skip
    lease = Lease(world.mongo, "executor/executor-1", "executor-1", beat_s=0.03)
    lease.start()
    command = await until(lambda: world.mongo["commands"].find_one({"kind": "run.robot_lost"}))
    await lease.stop()
    assert command["target"] == run["_id"]
    assert "no progress for" in command["args"]["reason"]
    (event,) = await world.events("run_stalled")
    assert event["facts"]["worker"] == robot
    assert event["facts"]["still_s"] >= 1, "not before the instruction's own time was over"
