"""Waits and decisions on the real parts: a run that waits is a document, and goes on where it stood."""

from __future__ import annotations

from typing import Any

from services.executor.main import Executor
from services.executor.recovery import Crew
from shared.obs.clock import now
from tests.integration.executor.conftest import World, until

SCRIPT = """
from robot import browser
from regente import decide, objects, wait, log

seen = {"by": "setup"}

def setup(group: dict[str, str]) -> None:
    browser.open("https://portal")

def execute(task: dict[str, str]) -> dict[str, str]:
    note = "before " + task["n"]
    browser.click(objects.go)
    answer = decide("Which one?", options=["left", "right"]%s)
    browser.click(objects.go)
    return {"answer": answer, "note": note, "by": seen["by"]}

def teardown(group: dict[str, str]) -> None:
    browser.close()
"""


def crew(service: Executor) -> Crew:
    """What an executor has in hand."""
    return service._crew


async def asked(world: World, run: str, after: int = 0) -> dict[str, Any]:
    """The question of a parked run; not of one that was just woken. after: seq of the question before."""
    put_away = {"executor": None, "pending__to": {"$ne": "executor"}, "wait__seq": {"$gt": after}}
    parked = await world.until_run(run, state="waiting", wait__kind="decision", **put_away)
    found = await world.mongo["decisions"].find_one({"_id": parked["wait"]["decision"]})
    assert found is not None
    return found


async def test_a_question_parks_the_run_and_an_answer_wakes_it(world: World) -> None:
    service, robot = await world.executor(), await world.robot()
    await world.publish(SCRIPT % "")
    run = await world.open(2, worker=robot.worker)
    first = await asked(world, run)
    assert (first["question"], first["options"], first["state"]) == ("Which one?", ["left", "right"], "open")
    assert (first["pending"]["to"], first["pending"]["what"]) == ("delivery", "asked"), "partners may want to know"
    await until(lambda: _idle(service))
    event = await world.mongo["events"].find_one({"kind": "decision_asked"})
    assert event is not None
    assert event["target"] == first["_id"]
    assert [one.name for one in robot.done] == ["browser.open", "browser.click"]
    refused = await world.ask("decision.answer", first["_id"], answer="up")
    assert (refused["state"], "left, right" in refused["reason"]) == ("refused", True)
    assert (await world.ask("decision.answer", first["_id"], answer="left"))["state"] == "done"
    second = await asked(world, run, first["seq"])
    assert second["_id"] != first["_id"]
    assert (await world.ask("decision.answer", second["_id"], answer="right"))["state"] == "done"
    ended = await world.ended(run)
    assert (ended["state"], ended["end"]["reason"], ended["wait"]) == ("finished", "completed", None)
    results = [task["result"]["output"] for task in await world.tasks(run)]
    assert [one["answer"] for one in results] == ["left", "right"]
    assert results[0] == {"answer": "left", "note": "before 0", "by": "setup"}
    assert [one.name for one in robot.done].count("browser.open") == 1
    late = await world.ask("decision.answer", second["_id"], answer="left")
    assert (late["state"], "answered already" in late["reason"]) == ("refused", True)


async def _idle(service: Executor) -> bool:
    return not crew(service)._works


async def test_another_executor_goes_on_after_the_one_that_asked_is_gone(world: World) -> None:
    gone, robot = await world.executor("executor-1"), await world.robot()
    await world.publish(SCRIPT % "")
    run = await world.open(1, worker=robot.worker)
    question = await asked(world, run)
    await world.leave(gone)
    await world.executor("executor-2")
    assert (await world.ask("decision.answer", question["_id"], answer="left"))["state"] == "done"
    assert (await world.ended(run))["end"]["reason"] == "completed"
    kinds = [step["kind"] for step in await world.steps(run)]
    assert kinds.count("takeover") == 1
    (task,) = await world.tasks(run)
    assert (task["state"], task["result"]["output"]["note"]) == ("succeeded", "before 0")


async def test_a_deadline_gives_the_default_or_a_timeout_that_the_script_can_catch(world: World) -> None:
    robot = await world.robot()
    await world.executor()
    await world.publish(SCRIPT % ", timeout=0.3, default='right'")
    run = await world.open(1, worker=robot.worker)
    await world.ended(run)
    (task,) = await world.tasks(run)
    assert task["result"]["output"]["answer"] == "right"
    await world.mongo["versions"].delete_many({})
    await world.publish(SCRIPT % ", timeout=0.3")
    run = await world.open(1, worker=robot.worker, epoch=2)
    await world.ended(run)
    (task,) = await world.tasks(run)
    assert (task["state"], task["error"]["code"]) == ("failed", "SCRIPT_ERROR")
    assert "TimeoutError: TIMEOUT: nobody answered in time" in task["error"]["message"]
    found = await world.mongo["decisions"].find_one({"run": run})
    assert found is not None
    assert (found["state"], found["woken"]) == ("expired", True)


LONG = """
from robot import browser
from regente import wait
import time

def execute(task: dict[str, str]) -> dict[str, str]:
    browser.url()
    wait(3600)
    time.sleep(1.5)
    return {"done": "yes"}
"""


async def test_a_long_wait_parks_the_run_until_its_time(world: World) -> None:
    service, robot = await world.executor(), await world.robot()
    await world.publish(LONG)
    run = await world.open(1, worker=robot.worker)
    parked = await world.until_run(run, state="waiting", wait__kind="timer")
    assert 3590 < (parked["wait"]["due_at"] - now()).total_seconds() <= 3600
    await until(lambda: _idle(service))
    await world.mongo["steps"].update_one(
        {"run": run, "seq": parked["wait"]["seq"]}, {"$set": {"instruction.args.seconds": 0.0}}
    )
    await world.mongo["runs"].update_one({"_id": run}, {"$set": {"wait.due_at": now()}})
    assert (await world.ended(run))["end"]["reason"] == "completed"
    waits = [step["instruction"]["name"] for step in await world.steps(run) if step["kind"] == "instruction"]
    assert waits == ["browser.url", "regente.wait", "regente.wait"]


async def test_an_abort_and_a_cancellation_reach_a_parked_run(world: World) -> None:
    await world.executor()
    robot = await world.robot()
    await world.publish(SCRIPT % "")
    run = await world.open(2, worker=robot.worker)
    question = await asked(world, run)
    (first, _) = await world.tasks(run)
    await world.ask("task.cancel", first["_id"])
    cancelled = await world.mongo["tasks"].find_one({"_id": first["_id"]})
    assert cancelled is not None
    assert cancelled["state"] == "cancelled"
    await asked(world, run, question["seq"])
    await world.ask("run.abort", run, reason="enough")
    ended = await world.ended(run)
    assert (ended["state"], ended["end"]["reason"]) == ("aborted", "aborted")
    assert [one.name for one in robot.done][-1] == "browser.close", "teardown runs after an abort"
    states = [one["state"] async for one in world.mongo["decisions"].find({"run": run}).sort("_id", 1)]
    assert states == ["withdrawn", "withdrawn"]


GIVES_BACK = SCRIPT % ", release=True"


async def test_a_run_that_gave_its_robot_back_is_set_up_anew_and_goes_on(world: World) -> None:
    service = await world.executor()
    one, two = await world.robot(n=1), await world.robot(n=2)
    await world.publish(GIVES_BACK)
    run = await world.open(2, worker=one.worker, epoch=5)
    question = await asked(world, run)
    parked = await world.run(run)
    assert (parked["pending"]["to"], parked["pending"]["what"]) == ("scheduler", "parked")
    (_, back) = await world.tasks(run)
    assert (back["pending"]["to"], back["pending"]["what"]) == ("scheduler", "not_started")
    # the scheduler frees the robot
    freed = {"$set": {"worker": None, "last_worker": one.worker, "pending": None}}
    await world.mongo["runs"].update_one({"_id": run}, freed)
    assert (await world.ask("decision.answer", question["_id"], answer="left"))["state"] == "done"
    await world.until_run(run, state="opened", wants_robot=True, executor=None)
    # and finds another one
    at = now()
    handed = {"to": "executor", "what": "opened", "since": at, "due_at": at, "claims": 0}
    found = {"worker": two.worker, "epoch": 9, "wants_robot": False, "pending": handed}
    await world.mongo["runs"].update_one({"_id": run}, {"$set": found})
    ended = await world.ended(run)
    assert ended["end"]["reason"] == "completed"
    assert [x.name for x in one.done] == ["browser.open", "browser.click"]
    assert [(x.name, x.epoch) for x in two.done] == [
        ("browser.open", 9), ("browser.click", 9), ("browser.close", 9)
    ]  # fmt: skip
    (task, _) = await world.tasks(run)
    assert task["result"]["output"] == {"answer": "left", "note": "before 0", "by": "setup"}
    await until(lambda: _idle(service))


async def test_an_abort_while_the_robot_is_given_back_ends_the_run_without_teardown(world: World) -> None:
    await world.executor()
    robot = await world.robot()
    await world.publish(GIVES_BACK)
    run = await world.open(1, worker=robot.worker)
    await asked(world, run)
    await world.mongo["runs"].update_one({"_id": run}, {"$set": {"worker": None, "pending": None}})
    await world.ask("run.abort", run, reason="enough")
    ended = await world.ended(run)
    assert ended["end"]["reason"] == "aborted"
    assert "browser.close" not in [one.name for one in robot.done]
    (task,) = await world.tasks(run)
    assert task["state"] in ("failed", "held")
