"""Spans of runs: what an executor sends, and what the one that takes a run over sends again from the journal alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.executor.spans import RunSpans
from shared.contracts.messages import WorkerInstruction
from shared.obs import trace, tracing
from tests.integration.executor.conftest import World, until
from tests.integration.executor.test_interruptions import QUICK, drop
from tests.otlp_receiver import Received, Receiver, gaps, receiving

SCRIPT = """
from regente import log
from robot import browser

def setup(group: dict[str, str]) -> None:
    browser.open("http://portal.example/planted")

def execute(task: dict[str, str]) -> dict[str, str]:
    log.info("planted")
    browser.click("css=#planted")
    if browser.exists("css=#gone", timeout=1):
        raise ValueError("planted")
    return {"text": browser.text("css=#planted")}

def teardown(group: dict[str, str]) -> None:
    browser.close()
"""
TABLE = {"browser.exists": False, "browser.text": "planted"}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A collector of traces, and this process recording for it."""
    with receiving() as here:
        tracing.start(here.url, share=1.0, service="executor", instance="executor-1", version="0")
        yield here
        await asyncio.to_thread(tracing.stop, 30)


async def whole(receiver: Receiver, run: str, *, tasks: int) -> list[Received]:
    """The spans of a run once all have come; `task` is delivery's, so attempts have a parent that is not here."""

    async def there() -> list[Received]:
        found = [span for span in list(receiver.spans.values()) if span.attributes.get("regente.run") == run]
        names = [span.name for span in found]
        return found if "run" in names and names.count("outcome") == tasks else []

    found: list[Received] = await until(there, 30)
    return found


async def test_a_journal_tells_the_same_spans_again(world: World, receiver: Receiver) -> None:
    await world.publish(SCRIPT)
    robot = await world.robot(TABLE)
    await world.executor()
    run = await world.open(2, worker=robot.worker)
    ended = await world.ended(run, 30)
    assert [task["outcome"] for task in ended["tasks"]] == ["succeeded"] * 2
    sent = {span.id: span for span in await whole(receiver, run, tasks=2)}
    by_name = sorted(span.name for span in sent.values() if span.name not in {"server", "queue", "robot"})
    each = ["attempt", "instruction browser.click", "instruction browser.exists", "instruction browser.text", "outcome"]
    assert by_name == sorted([*each, *each, "instruction browser.close", "instruction browser.open", "run", "setup",
                              "teardown"])  # fmt: skip
    own = next(span for span in sent.values() if span.name == "run")
    assert not gaps([span for span in sent.values() if span.trace == own.trace])
    for attempt in (span for span in sent.values() if span.name == "attempt"):
        assert attempt.links == ((own.trace, own.id),), "a run without a task's trace is linked"
    receiver.spans.clear()
    await RunSpans(world.executors[0].store, ended).taken_over(int(ended["last_seq"]))
    await asyncio.to_thread(tracing.stop, 30)
    again = receiver.spans
    missing = {span.name for span in sent.values() if (span.trace, span.id) not in again}
    assert missing == {"run", "attempt", "outcome"}, "those end with whoever goes on"
    assert {(span.trace, span.id) for span in again.values()} <= {(span.trace, span.id) for span in sent.values()}
    for span in again.values():
        assert (span.name, span.parent) == (sent[span.id].name, sent[span.id].parent)
    assert not any(b"planted" in body for body in receiver.bodies)


async def test_who_takes_over_ends_the_spans_of_the_one_that_died(world: World, receiver: Receiver) -> None:
    await world.publish(SCRIPT)
    robot = await world.robot(TABLE)

    def fall_silent(_: WorkerInstruction) -> str:
        robot.silent = True
        return "planted"

    robot.table["browser.text"] = fall_silent
    first = await world.executor(**QUICK)
    run = await world.open(1, worker=robot.worker)
    await until(lambda: world.mongo["steps"].find_one({"run": run, "instruction.name": "browser.text"}), 30)
    await drop(world, first)
    receiver.spans.clear()  # as if nothing of it had been sent
    await world.executor("executor-2", **QUICK)
    robot.silent = False
    assert (await world.ended(run, 60))["tasks"][0]["outcome"] == "succeeded"
    found = await whole(receiver, run, tasks=1)
    own = next(span for span in found if span.name == "run")
    assert not gaps([span for span in found if span.trace == own.trace])
    names = {span.name for span in found}
    assert {"setup", "instruction browser.open", "instruction browser.click", "instruction browser.exists"} <= names
    (text,) = [span for span in found if span.name == "instruction browser.text"]
    assert text.attributes["regente.again"] is True
    assert trace.derived("run", run) == own.id
