"""Whatever happens to an executor around a wait, the run goes on: each of the queries about waits fails before or after
it took effect, and the executor dies in each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from services.executor.main import Executor
from services.executor.store_waits import WaitStore
from shared.errors import TemporaryError
from shared.mongo.events import raise_event
from tests.integration.executor.conftest import World, until

SCRIPT = """
from regente import decide, wait

def execute(task: dict[str, str]) -> dict[str, str]:
    wait(1)
    first = decide("Which one?", options=["left", "right"])
    second = decide("In time?", timeout=0.2, default="late", image="none")
    wait(31)
    return {"first": first, "second": second}
"""
OF_ONE_RUN = ("park", "wake", "ask", "decision", "answer", "expire", "taken_in", "image")
OF_ALL = ("due", "not_taken_in", "stopped")
WHEN = ("before", "after")
QUICK: dict[str, Any] = {"lease_beat_s": 0.1, "lease_gone_s": 0.5, "runs_max": 40}


class Fault:
    """One of the store's queries does not come back, once: before or after it took effect."""

    def __init__(self, store: WaitStore, method: str, when: str, run: str | None, act: Callable[[], Any]) -> None:
        """run: the run it is about; none: whatever it is about. act: what happens instead of an answer."""
        self.happened = False
        self._real = getattr(store, method)
        self._when, self._run, self._act = when, run, act
        setattr(store, method, self._call)

    async def _call(self, *args: Any, **kwargs: Any) -> Any:
        about = args[0].get("run", args[0]["_id"]) if args and isinstance(args[0], dict) else (*args, "")[0]
        if self.happened or (self._run is not None and not str(about).startswith(self._run)):
            return await self._real(*args, **kwargs)
        self.happened = True
        if self._when == "after":
            await self._real(*args, **kwargs)
        await self._act()
        raise TemporaryError("the database went away")


async def nothing() -> None:
    """The query fails, no more."""


def waits(service: Executor) -> WaitStore:
    """The store that the executor's runs use."""
    return service._crew._tools.waits


async def drop(world: World, service: Executor) -> None:
    """What kill -9 does: everything in hand ends where it stands, then connections and subprocesses are gone."""
    service._crew._leaving = True
    service._lease.held = False
    tasks = [service._lease._task, *service._crew._works.values(), *(one._task for one in service._sweepers)]
    for consumer in service._consumers:
        consumer._stopping = True
        tasks += [consumer._task, *consumer._running]
    going = {task for task in tasks if task is not None}
    async with asyncio.timeout(30.0):
        while going:  # one that was about to go on swallows the first
            for task in going:
                task.cancel()
            _, going = await asyncio.wait(going, timeout=0.5)
        await service.mongo.close()
        await service.broker.stop()
        await service._stack.aclose()
    world.executors.remove(service)


async def bring_to_its_end(world: World, run: str) -> None:
    """Answer its question, end its long wait, and see that it went on as if nothing had happened."""
    asked = await until(lambda: world.mongo["decisions"].find_one({"run": run, "question": "Which one?"}), 30.0)
    command = await world.ask_only("decision.answer", asked["_id"], answer="left")
    timer = await world.until_run(run, 30.0, state="waiting", wait__kind="timer", executor=None)
    step = {"run": run, "seq": timer["wait"]["seq"]}
    await world.mongo["steps"].update_one(step, {"$set": {"instruction.args.seconds": 0.0}})
    await world.mongo["runs"].update_one({"_id": run}, {"$set": {"wait.due_at": timer["opened_at"]}})
    ended = await world.ended(run, 30.0)
    assert ended["end"]["reason"] == "completed"
    (task,) = await world.tasks(run)
    assert task["result"]["output"] == {"first": "left", "second": "late"}
    assert await world.mongo["events"].count_documents({"kind": "decision_asked", "facts.run": run}) == 2
    assert await world.mongo["decisions"].count_documents({"run": run, "woken": False}) == 0
    done = await until(lambda: world.mongo["commands"].find_one({"_id": command, "state": {"$ne": "pending"}}), 30.0)
    assert done["state"] == "done"


async def test_a_query_about_a_wait_that_fails_interrupts_no_run_for_good(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each query, before and after it took effect; a run for each, all at once."""
    monkeypatch.setattr("services.executor.recovery.BROKEN_PAUSE_S", 0.05)
    service = await world.executor(**QUICK)
    await world.publish(SCRIPT, worker=False)
    faults, runs = {}, []
    for method in OF_ALL:
        for when in WHEN:
            faults[method, when] = Fault(waits(service), method, when, None, nothing)
    for method in OF_ONE_RUN:
        for when in WHEN:
            run = await world.open(1, worker=None, epoch=0, state="held for now", pending=None)
            faults[method, when] = Fault(waits(service), method, when, run, nothing)
            runs.append(run)
    handed = {"state": "opened", "pending": {"to": "executor", "what": "opened", "since": 0, "due_at": 0, "claims": 0}}
    handed["pending"]["due_at"] = (await world.run(runs[0]))["opened_at"]  # type: ignore[index]
    await world.mongo["runs"].update_many({"_id": {"$in": runs}}, {"$set": handed})
    await asyncio.gather(*(bring_to_its_end(world, run) for run in runs))
    assert [what for what, fault in faults.items() if not fault.happened] == []


DEATHS = [(method, when) for method in ("ask", "park", "answer", "wake", "decision", "taken_in") for when in WHEN]


@pytest.mark.parametrize(("method", "when"), DEATHS)
async def test_an_executor_that_dies_around_a_wait_is_followed_by_another(world: World, method: str, when: str) -> None:
    """Between asking and parking, between an answer and waking, and wherever else a query stands."""
    died = asyncio.Event()

    async def die() -> None:
        died.set()
        await asyncio.Event().wait()

    first = await world.executor("executor-1", **QUICK)
    await world.publish(SCRIPT, worker=False)
    fault = Fault(waits(first), method, when, None, die)
    run = await world.open(1, worker=None, epoch=0)
    end = asyncio.create_task(bring_to_its_end(world, run))
    await asyncio.wait_for(died.wait(), 30.0)
    await drop(world, first)
    await world.executor("executor-2", **QUICK)
    await end
    assert fault.happened


@pytest.mark.parametrize("where", ["in a short wait", "parked"])
async def test_an_executor_that_dies_while_a_run_waits_is_followed_by_another(world: World, where: str) -> None:
    first = await world.executor("executor-1", **QUICK)
    await world.publish(SCRIPT.replace("wait(1)", "wait(3)"), worker=False)
    run = await world.open(1, worker=None, epoch=0)
    if where == "parked":
        await world.until_run(run, state="waiting", wait__kind="decision", executor=None)
    else:
        await until(lambda: world.mongo["steps"].find_one({"run": run, "kind": "instruction"}))
    await drop(world, first)
    await world.executor("executor-2", **QUICK)
    await bring_to_its_end(world, run)
    steps = await world.steps(run)
    asked = [step for step in steps if step["kind"] == "instruction" and step["instruction"]["name"] == "regente.wait"]
    following = steps[[step["seq"] for step in steps].index(asked[0]["seq"]) + 1 :]
    ended = next(step for step in following if step["kind"] == "instruction")
    waited_s = (ended["at"] - asked[0]["at"]).total_seconds()
    assert 3.0 <= waited_s < 3.0 + 8.0, "it is the same wait, whoever sits it out"


async def test_a_question_is_told_of_although_the_first_try_failed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a question is there it is not asked again, so whoever listens for events has to be told before."""
    tries = []

    async def fails_once(*args: Any, **kwargs: Any) -> bool:
        tries.append(args)
        if len(tries) == 1:
            raise TemporaryError("the database went away")
        return await raise_event(*args, **kwargs)

    monkeypatch.setattr("services.executor.recovery.BROKEN_PAUSE_S", 0.05)
    monkeypatch.setattr("services.executor.store_waits.raise_event", fails_once)
    await world.executor(**QUICK)
    await world.publish(SCRIPT, worker=False)
    await bring_to_its_end(world, await world.open(1, worker=None, epoch=0))
