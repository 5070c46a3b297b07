"""A workflow that a person holds: its runs go on, finish their task, or end now."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.scheduler.conftest import ACCOUNT, World, until

WORKFLOW = f"{ACCOUNT}/tax"


async def _asked(world: World) -> list[tuple[str, str]]:
    """What executors were asked to do, oldest first."""
    found = await world.mongo["commands"].find({"to": "executor"}).sort("created_at", 1).to_list(None)
    return [(one["kind"], one["target"]) for one in found]


async def _at_work(world: World) -> dict[str, Any]:
    """A scheduler, and a run that it opened."""
    await world.publish()
    await world.robot()
    await world.tasks(3)
    await world.scheduler(closing_sweep_s=0.2)
    (run,) = await world.opened()
    return run


@pytest.mark.parametrize(("mode", "kind"), [(None, "run.stop"), ("stop", "run.stop"), ("abort", "run.abort")])
async def test_a_hold_ends_the_runs_as_its_mode_says(world: World, mode: str | None, kind: str) -> None:
    run = await _at_work(world)
    args = {"mode": mode} if mode else {}
    done = await world.ask("workflow.hold", WORKFLOW, text="the portal changes", **args)
    assert done["state"] == "done", done["reason"]

    async def asked() -> bool:
        return await _asked(world) == [(kind, run["_id"])]

    await until(asked)
    command = await world.mongo["commands"].find_one({"kind": kind})
    assert command is not None
    assert "the portal changes" in command["args"]["reason"]


async def test_a_paused_workflow_lets_its_runs_go_on_until_it_is_aborted(world: World) -> None:
    run = await _at_work(world)
    assert (await world.ask("workflow.hold", WORKFLOW, mode="pause"))["state"] == "done"
    await world.tasks(1)
    again = await world.ask("workflow.hold", WORKFLOW, mode="pause")
    assert (again["state"], "held already" in again["reason"]) == ("refused", True)
    assert await _asked(world) == []
    assert (await world.ask("workflow.hold", WORKFLOW, mode="stop"))["state"] == "done"

    async def asked() -> list[tuple[str, str]]:
        return await _asked(world)

    assert await until(asked) == [("run.stop", run["_id"])]
    stop = {"kind": "after_task", "by": "ana", "reason": "", "command": "c"}
    await world.mongo["runs"].update_one({"_id": run["_id"]}, {"$set": {"abort": stop}})
    assert (await world.ask("workflow.hold", WORKFLOW, mode="abort"))["state"] == "done"

    async def aborted() -> bool:
        return await _asked(world) == [("run.stop", run["_id"]), ("run.abort", run["_id"])]

    await until(aborted)
    await world.mongo["runs"].update_one({"_id": run["_id"]}, {"$set": {"abort": {**stop, "kind": "person"}}})
    circuit = await world.mongo["circuits"].find_one({"_id": WORKFLOW})
    assert circuit is not None
    assert (circuit["state"], circuit["mode"]) == ("open", "abort")


async def test_a_run_that_opens_while_the_hold_comes_is_aborted_too(world: World) -> None:
    run = await _at_work(world)
    await world.ask("workflow.hold", WORKFLOW, mode="abort")
    late = {**run, "_id": "run_late", "worker": "00155d010009", "pending": None}
    await world.mongo["runs"].insert_one(late)

    async def asked() -> bool:
        return ("run.abort", "run_late") in await _asked(world)

    await until(asked)


async def test_a_release_forgets_the_mode_and_a_wrong_mode_is_refused(world: World) -> None:
    run = await _at_work(world)
    assert (await world.ask("workflow.hold", WORKFLOW, mode="later"))["state"] == "refused"
    assert (await world.ask("workflow.hold", WORKFLOW, mode="pause"))["state"] == "done"
    assert (await world.ask("workflow.release", WORKFLOW))["state"] == "done"
    assert (await world.ask("workflow.hold", WORKFLOW))["state"] == "done"

    async def asked() -> bool:
        return await _asked(world) == [("run.stop", run["_id"])]

    await until(asked)
