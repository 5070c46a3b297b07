"""A run keeps its version, whatever is published meanwhile; a new one is tried against it once it has ended."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.integration.executor.conftest import ACCOUNT, World, until
from tests.integration.executor.test_waits import SCRIPT, asked

OLD = SCRIPT % ""
NEW = OLD.replace('"note": note', '"note": "new " + note').replace("browser.click(objects.go)\n    answer", "answer")


def files(script: str, **more: str) -> dict[str, str]:
    """A folder with this script, as it is published."""
    definition = "name: tax\ninput: {type: object}\nscenarios:\n  - {name: only, script: a.py}\n"
    return {"workflow.yaml": definition, "objects.yaml": 'go: {selectors: ["css=#go"]}\n', "a.py": script, **more}


async def _answer_next(world: World, run: str, answer: str) -> dict[str, Any]:
    """Answer the question that a run stands at, once it is parked for it; the question."""

    async def parked() -> dict[str, Any] | None:
        question = await world.mongo["decisions"].find_one({"run": run, "state": "open"})
        stands = question and {"_id": run, "executor": None, "state": "waiting", "wait.decision": question["_id"]}
        return question if stands and await world.mongo["runs"].find_one(stands) else None

    question: dict[str, Any] = await until(parked)
    assert (await world.ask("decision.answer", question["_id"], answer=answer))["state"] == "done"
    return question


async def test_a_run_goes_on_with_its_version_after_a_publication_and_a_takeover(world: World) -> None:
    gone, robot = await world.executor("executor-1"), await world.robot()
    await world.publish(OLD)
    run = await world.open(2, worker=robot.worker)
    question = await asked(world, run)
    await world.publish(NEW, number=2)
    await world.leave(gone)
    await world.executor("executor-2")
    assert (await _answer_next(world, run, "left"))["_id"] == question["_id"]
    await _answer_next(world, run, "right")
    ended = await world.ended(run)
    assert ended["version"] == "acme/tax/1"
    results = [task["result"]["output"] for task in await world.tasks(run)]
    assert [one["note"] for one in results] == ["before 0", "before 1"], "the second task began after the publication"
    assert [one.name for one in robot.done].count("browser.click") == 4
    later = await world.open(1, worker=robot.worker, epoch=2)
    await _answer_next(world, later, "left")
    assert (await world.ended(later))["version"] == "acme/tax/2"
    (task,) = await world.tasks(later)
    assert task["result"]["output"]["note"] == "new before 0"
    assert [one.name for one in robot.done].count("browser.click") == 5


async def test_a_phase_that_is_rebuilt_is_rebuilt_with_the_runs_version(world: World) -> None:
    """Without its snapshot the script is played again from the journal: of its own version, which still fits."""
    await world.executor()
    robot = await world.robot()
    await world.publish(OLD)
    run = await world.open(1, worker=robot.worker)
    question = await asked(world, run)
    await world.mongo["steps"].update_one({"run": run, "seq": question["seq"]}, {"$unset": {"snapshot": ""}})
    await world.publish(NEW, number=2)
    await world.ask("decision.answer", question["_id"], answer="left")
    assert (await world.ended(run))["end"]["reason"] == "completed"
    (task,) = await world.tasks(run)
    assert task["result"]["output"] == {"answer": "left", "note": "before 0", "by": "setup"}


async def _ended(world: World) -> str:
    """A run of the old version that has ended."""
    robot = await world.robot()
    await world.publish(OLD)
    run = await world.open(1, worker=robot.worker)
    await _answer_next(world, run, "left")
    await world.until_run(run, state="finished", trim=None)
    return run


async def _replay(world: World, run: str, script: str, **more: Any) -> dict[str, Any]:
    return await world.ask("run.replay", run, **{"run": run, "account": ACCOUNT, "files": files(script), **more})


async def test_a_new_version_is_tried_against_a_run_that_has_ended(world: World) -> None:
    await world.executor()
    run = await _ended(world)
    before = (await world.run(run), await world.steps(run), await world.tasks(run))
    same = await _replay(world, run, OLD)
    assert (same["state"], '"same": true' in same["progress"]["report"]) == ("done", True), same
    assert "files" not in same["args"], "what was sent is not kept"
    other = await _replay(world, run, NEW)
    assert other["state"] == "done"
    assert '"verdict": "differs"' in other["progress"]["report"]
    assert before == (await world.run(run), await world.steps(run), await world.tasks(run)), "nothing is written"
    assert [one.name for one in world.robots[0].done] == [
        "browser.open", "browser.click", "browser.click", "browser.close"
    ]  # fmt: skip


async def test_what_can_not_be_tried_is_refused_with_the_reason(world: World) -> None:
    await world.executor()
    run = await _ended(world)
    robot = world.robots[0]
    live = await world.open(1, worker=robot.worker, epoch=2)
    await asked(world, live)
    renamed = files(OLD)
    renamed["workflow.yaml"] = renamed["workflow.yaml"].replace("name: only", "name: other")
    for target, more, text in (
        (live, {}, "has ended"),
        ("run_none", {}, "there is no run"),
        (run, {"account": "other"}, "there is no run"),
        (run, {"files": renamed}, "no scenario only"),
        (run, {"files": {"workflow.yaml": "name: tax"}}, "not a workflow"),
    ):
        refused = await _replay(world, target, OLD, **more)
        assert (refused["state"], text in refused["reason"]) == ("refused", True), refused["reason"]
        assert "files" not in refused["args"]
    await world.mongo["steps"].delete_many({"run": run})
    refused = await _replay(world, run, OLD)
    assert "journal is gone" in refused["reason"]


async def test_a_trial_keeps_nobody_waiting_and_another_executor_does_it_over(world: World) -> None:
    """A script that computes for ever holds a trial up, no request to stop a run; and a trial survives its executor."""
    first = await world.executor("executor-1")
    run = await _ended(world)
    endless = OLD.replace('    note = "before', '    while True:\n        pass\n    note = "before')
    asking = asyncio.create_task(_replay(world, run, endless))
    robot = world.robots[0]
    live = await world.open(1, worker=robot.worker, epoch=2)
    await asked(world, live)
    assert (await world.ask("run.abort", live, reason="enough"))["state"] == "done"

    async def in_hand() -> bool:
        return bool(first._trials._works)

    if not asking.done():
        await until(in_hand)
    await world.leave(first)
    await world.executor("executor-2")
    done = await asking
    assert done["state"] == "done"
    assert "SCRIPT_LIMIT" in done["progress"]["report"]
