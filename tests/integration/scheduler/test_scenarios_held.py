"""A scenario whose setup fails again and again is held, and the others of its workflow go on."""

from __future__ import annotations

import asyncio
from typing import Any

from services.scheduler.core.judging import SETUP_FAILURES_MAX
from services.scheduler.core.opening import Opening
from services.scheduler.settling import Settling
from services.scheduler.store.opening import Missed, Openings
from shared.mongo.waiting import explain, why_waiting
from shared.obs.clock import now
from tests.integration.scheduler.conftest import ACCOUNT, World, until

KINDS = [{"field": "kind", "op": "eq", "value": "a"}], []
SCENARIOS: list[dict[str, Any]] = [
    {"name": name, "max_tasks": 2, "worker": True, "script": f"{name}.py", "when": when}
    for name, when in zip(("first", "second"), KINDS, strict=True)
]
A, B = {"input": {"kind": "a"}}, {"input": {"kind": "b"}}
SETUP_FAILED = {"reason": "setup_failed", "text": "the portal does not answer"}


async def _opened(world: World, scenario: str) -> dict[str, Any]:
    """The one run of a scenario that waits for an executor."""

    async def check() -> dict[str, Any] | None:
        return await world.mongo["runs"].find_one({"state": "opened", "scenario": scenario})

    return await until(check)


async def _hold_first(world: World, times: int = SETUP_FAILURES_MAX) -> None:
    """Let the first scenario's setup fail so often in a row."""
    for _ in range(times):
        run = await _opened(world, "first")
        await world.finish_run(run, "not_started", **SETUP_FAILED)
        await world.settled(run["_id"])


async def test_failing_setups_hold_their_scenario_and_nothing_else(world: World) -> None:
    await world.publish(scenarios=SCENARIOS)
    robot = await world.robot()
    first = await world.tasks(3, priority=5, **A)
    await world.scheduler(dispatch_sweep_s=0.2)
    await _hold_first(world)
    await world.free_again(robot)
    (second,) = await world.tasks(priority=0, **B)
    run = await _opened(world, "second")
    assert [item["task"] for item in run["tasks"]] == [second], "tasks of the held scenario are looked past"
    circuit = await world.mongo["circuits"].find_one({"_id": f"{ACCOUNT}/tax#first"}) or {}
    assert (circuit["state"], circuit["failures"], circuit["reason"]) == ("open", SETUP_FAILURES_MAX, "setup")
    (event,) = await world.events("scenario_held")
    assert (event["severity"], event["target"], event["facts"]["scenario"]) == ("error", f"{ACCOUNT}/tax", "first")
    assert await world.events("workflow_held") == [], "its workflow's own circuit breaker counts no setups"
    tasks = [await world.task(one) for one in first]
    assert {task["state"] for task in tasks} == {"queued"}, "no task is held for it"
    said = await explain(world.mongo, tasks[0])
    assert said.why == (
        "its scenario first of workflow tax is held: its setup failed 5 times in a row; "
        "the last time: the portal does not answer"
    )
    assert said.facts["gate"]["scenario"] == "first"
    assert said.forecast is not None
    assert said.forecast["text"] == "nobody can say: a person must act first"


async def test_a_task_is_not_behind_those_of_a_held_scenario(world: World) -> None:
    await world.publish(scenarios=SCENARIOS)
    held = {"_id": f"{ACCOUNT}/tax#first", "account": ACCOUNT, "workflow": "tax", "scenario": "first", "state": "open"}
    await world.mongo["circuits"].insert_one(held)
    await world.robot(run="run_x", status="running")
    await world.tasks(9, **A)
    (other, task) = await world.tasks(2, **B)
    assert await why_waiting(world.mongo, await world.task(task)) == "behind 1 other; the only robot is busy"
    assert await why_waiting(world.mongo, await world.task(other)) == "it is the next one; the only robot is busy"


async def test_a_release_closes_all_circuits_of_a_workflow_and_counts_from_zero(world: World) -> None:
    await world.publish(scenarios=SCENARIOS, settings={"breaker": {"failures": 1}})
    await world.robot()
    await world.tasks(1, **A)
    await world.scheduler(dispatch_sweep_s=0.2)
    await _hold_first(world)
    await world.tasks(1, **B)
    await world.finish_run(await _opened(world, "second"), "system")
    await until(lambda: world.mongo["circuits"].find_one({"_id": f"{ACCOUNT}/tax", "state": "open"}))
    assert (await world.ask("workflow.release", f"{ACCOUNT}/tax"))["state"] == "done"
    circuits = await world.mongo["circuits"].find({}).to_list(None)
    assert [(one["state"], one["failures"], one["text"]) for one in circuits] == [("closed", 0, "")] * 2
    await _hold_first(world, 1)
    again = await world.mongo["circuits"].find_one({"_id": f"{ACCOUNT}/tax#first"}) or {}
    assert (again["state"], again["failures"]) == ("closed", 1)
    assert (await world.ask("workflow.release", f"{ACCOUNT}/tax"))["reason"].startswith("CONFLICT")


async def test_a_setup_that_works_ends_the_count(world: World) -> None:
    await world.publish(scenarios=SCENARIOS)
    await world.robot()
    await world.tasks(1, **A)
    await world.scheduler(dispatch_sweep_s=0.2)
    await _hold_first(world, SETUP_FAILURES_MAX - 1)
    run = await _opened(world, "first")
    await world.finish_run(run)
    await world.settled(run["_id"])
    circuit = await world.mongo["circuits"].find_one({"_id": f"{ACCOUNT}/tax#first"}) or {}
    assert (circuit["state"], circuit["failures"]) == ("closed", 0)


async def test_a_run_put_away_by_two_schedulers_counts_once(world: World) -> None:
    await world.publish(scenarios=SCENARIOS)
    await world.robot()
    await world.tasks(1, **A)
    scheduler = await world.scheduler()
    run = await _opened(world, "first")
    await world.kill(scheduler)
    await world.finish_run(run, "not_started", **SETUP_FAILED)
    ended = await world.mongo["runs"].find_one({"_id": run["_id"]}) or {}
    put_away = await asyncio.gather(*(Settling(world.mongo).settle(ended) for _ in range(4)))
    assert sorted(put_away) == [False, False, False, True]
    circuit = await world.mongo["circuits"].find_one({"_id": f"{ACCOUNT}/tax#first"}) or {}
    assert circuit["failures"] == 1


async def test_a_run_is_not_opened_for_a_scenario_that_was_held_meanwhile(world: World) -> None:
    """The queue was looked at before: the transaction that opens the run looks again."""
    await world.publish(scenarios=SCENARIOS)
    robot = await world.robot()
    (task,) = await world.tasks(1, **A)
    held = {"_id": f"{ACCOUNT}/tax#first", "account": ACCOUNT, "workflow": "tax", "scenario": "first", "state": "open"}
    await world.mongo["circuits"].insert_one(held)

    def opening(scenario: str) -> Opening:
        return Opening(
            run=f"run_{scenario}", account=ACCOUNT, workflow="tax", version=f"{ACCOUNT}/tax/1", scenario=scenario,
            worker=robot, epoch_before=0, tasks=[task], seed=1, at=now(),
        )  # fmt: skip

    assert await Openings(world.mongo).open(opening("first")) is Missed.HELD
    assert (await world.worker(robot))["run"] is None
    assert (await world.task(task))["state"] == "queued"
    assert isinstance(await Openings(world.mongo).open(opening("second")), dict)
