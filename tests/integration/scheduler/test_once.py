"""One-off runs: on the robot that a person named, whatever the workflow's gates say, counted and judged nowhere."""

from __future__ import annotations

from typing import Any

import pytest

from shared.domain.once import task_of, version_id
from shared.mongo.waiting import explain, why_waiting
from tests.integration.scheduler.conftest import ACCOUNT, World, until

SCENARIOS = [
    {"name": "issue", "group_by": ["certificate"], "max_tasks": 20, "worker": True, "script": "a.py"},
    {"name": "other", "max_tasks": 1, "worker": True, "script": "a.py"},
]


async def _ask(world: World, robot: str, scenario: str = "issue", **input: Any) -> dict[str, Any]:
    """Ask for a one-off run, as the console does; the request when it has ended."""
    version = version_id(ACCOUNT, "tax", "d" * 64)
    document = {"_id": version, "account": ACCOUNT, "workflow": "tax", "input": {}, "scenarios": SCENARIOS}
    await world.mongo["versions"].replace_one({"_id": version}, document, upsert=True)
    args = {"account": ACCOUNT, "workflow": "tax", "version": version, "scenario": scenario, "input": input}
    return await world.ask("run.once", robot, **args)


async def _run(world: World, asked: dict[str, Any]) -> dict[str, Any]:
    """The run of a one-off task, once it is open."""

    async def check() -> dict[str, Any] | None:
        return await world.mongo["runs"].find_one({"tasks.task": task_of(asked["_id"])})

    found: dict[str, Any] = await until(check)
    return found


async def test_a_one_off_run_opens_on_its_robot_with_its_own_version(world: World) -> None:
    await world.publish(settings={"limits": [{"per": "day", "max": 1, "on_limit": "block"}]})
    await world.robot(1)
    robot = await world.robot(2)
    await world.scheduler()
    asked = await _ask(world, robot, certificate="c1")
    assert (asked["state"], asked["reason"]) == ("done", task_of(asked["_id"]))
    run = await _run(world, asked)
    assert (run["worker"], run["version"], run["scenario"]) == (robot, f"{ACCOUNT}/tax/once-{'d' * 32}", "issue")
    assert run["group"] == {"certificate": "c1"}
    assert run["once"] == {"task": task_of(asked["_id"]), "by": "ana"}
    task = await world.task(task_of(asked["_id"]))
    assert (task["state"], task["partner"], task["attempts"], task.get("queue")) == ("running", None, 1, None)
    assert task["held_by"] == {"run": run["_id"], "attempt": 1, "epoch": 1}
    assert await world.mongo["usage"].count_documents({"used": {"$gt": 0}}) == 0


async def test_holds_and_windows_of_the_workflow_do_not_stop_it(world: World) -> None:
    await world.publish(settings={"windows": [{"days": ["mon"], "start": "03:00", "end": "03:01"}]})
    robot = await world.robot()
    await world.scheduler(closing_sweep_s=0.1)
    await world.ask("workflow.hold", f"{ACCOUNT}/tax", mode="abort")
    asked = await _ask(world, robot)
    run = await _run(world, asked)
    await world.publish("canary")
    await world.robot(5)
    await world.tasks(workflow="canary")
    await world.opened(2)  # sweeps went by
    assert await world.mongo["commands"].count_documents({"target": run["_id"]}) == 0


async def test_a_busy_robot_comes_to_it_next_and_it_says_why_it_waits(world: World) -> None:
    await world.publish(max_tasks=1)
    robot = await world.robot()
    await world.tasks(3, priority=5)
    await world.scheduler()
    (first,) = await world.opened()
    asked = await _ask(world, robot)
    task = await world.task(task_of(asked["_id"]))
    assert await why_waiting(world.mongo, task) == f"its robot {robot} has a run in hand"
    assert (await explain(world.mongo, task)).facts["once"]["worker"] == robot
    await world.finish_run(first)
    run = await _run(world, asked)
    assert run["worker"] == robot
    assert await world.mongo["runs"].count_documents({}) == 2


async def test_a_paused_robot_keeps_it_waiting_and_another_account_is_refused(world: World) -> None:
    await world.publish()
    robot = await world.robot(1)
    foreign, silent = await world.robot(2, account="other"), await world.robot(3, connected=False)
    unknown = await world.robot(4, authorisation="pending")
    await world.scheduler()
    await world.ask("worker.mode", robot, mode="pause")
    asked = await _ask(world, robot)
    assert "mode pause" in await why_waiting(world.mongo, await world.task(task_of(asked["_id"])))
    reasons = [(await _ask(world, one))["reason"] for one in (foreign, silent, unknown, "none")]
    wanted = ("belongs to another account", "is not connected", "is not authorised", "there is no robot none")
    for reason, text in zip(reasons, wanted, strict=True):
        assert text in reason
    assert "with this scenario" in (await _ask(world, robot, "nonsense"))["reason"]
    await world.ask("worker.mode", robot, mode="run")
    assert (await _run(world, asked))["worker"] == robot


async def test_a_group_is_never_used_twice_and_the_robot_works_meanwhile(world: World) -> None:
    await world.publish(scenarios=SCENARIOS[:1])
    one, two = await world.robot(1), await world.robot(2)
    await world.tasks(1, input={"certificate": "c1"})
    await world.scheduler()
    (run,) = await world.opened()
    other = two if run["worker"] == one else one
    asked = await _ask(world, other, certificate="c1")
    task = await world.task(task_of(asked["_id"]))
    assert "such as its certificate" in await why_waiting(world.mongo, task)
    await world.tasks(1, input={"certificate": "c2"})
    second = (await world.opened(2))[1]
    assert (second["worker"], second["group"]) == (other, {"certificate": "c2"})
    await world.finish_run(run)
    await world.finish_run(second)
    assert (await _run(world, asked))["worker"] == other


@pytest.mark.parametrize("what", ["retry", "not_started"])
async def test_it_is_not_repeated_and_nobody_is_judged_by_it(world: World, what: str) -> None:
    await world.publish(settings={"retry": {"attempts": 5, "delay_s": 1}, "breaker": {"failures": 1}})
    robot = await world.robot()
    await world.scheduler()
    run = await _run(world, await _ask(world, robot))
    error = {"kind": "system", "code": "TIMEOUT", "message": "the button did not appear"}
    await world.mongo["tasks"].update_one({"_id": run["tasks"][0]["task"]}, {"$set": {"last_error": error}})
    await world.finish_run(run, what, reason="setup_failed" if what == "not_started" else "completed")
    task = await world.until_task(run["tasks"][0]["task"], "failed")
    assert (task["error"]["message"], task["pending"]["to"]) == ("the button did not appear", "delivery")
    worker = await world.free_again(robot)
    assert int(worker.get("failures") or 0) == 0
    await world.settled(run["_id"])
    assert await world.mongo["circuits"].count_documents({"state": "open"}) == 0
    assert await world.mongo["paces"].count_documents({}) == 0


async def test_people_can_cancel_it_and_nothing_else(world: World) -> None:
    await world.publish()
    robot = await world.robot()
    await world.scheduler()
    await world.ask("worker.mode", robot, mode="stop")
    id = task_of((await _ask(world, robot))["_id"])
    for kind in ("task.hold", "task.front", "task.priority", "task.release"):
        refused = await world.ask(kind, id, priority=3)
        assert (refused["state"], "one-off run" in refused["reason"]) == ("refused", True), kind
    assert (await world.ask("task.cancel", id))["state"] == "done"
    assert (await world.task(id))["state"] == "cancelled"


async def test_two_schedulers_open_it_once(world: World) -> None:
    await world.publish()
    robots = [await world.robot(n) for n in range(1, 5)]
    await world.scheduler("scheduler-1")
    await world.scheduler("scheduler-2")
    asked = [await _ask(world, robot, "other") for robot in robots for _ in range(2)]
    runs = [await _run(world, one) for one in asked[::2]]
    assert sorted(run["worker"] for run in runs) == sorted(robots)
    assert await world.mongo["runs"].count_documents({}) == 4
