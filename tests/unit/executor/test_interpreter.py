"""The real interpreter: stops, dumps, limits, and a phase played again from its journal."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.executor.core.journal import Kind
from services.executor.interpreter import Failed, Interpreter, Limits, Returned, Session, SnapshotUnreadable, Stopped
from services.executor.replay import ReplayDiverged, replay

SCRIPT = """
from robot import browser
from regente import objects, log

opened = 0

def setup(group: dict[str, str]) -> None:
    global opened
    opened += 1

def execute(task: dict[str, str]) -> dict[str, str]:
    browser.fill(objects.search, task["registration"])
    try:
        browser.click(objects.go, commit=True)
    except LookupError as error:
        log.warning("not there", reason=str(error))
    found = browser.text(objects.answer)
    return {"found": found, "opened": str(opened)}
"""
OBJECTS = ["search", "go", "answer"]


@pytest.fixture
async def interpreter() -> AsyncIterator[Interpreter]:
    async with Interpreter(processes_max=2, limits=Limits(turn_s=1.0)) as started:
        yield started


def session(interpreter: Interpreter, source: str = SCRIPT) -> Session:
    return interpreter.session(script="tax.py", source=source, objects=OBJECTS, seed=7)


async def stopped(turn: Any) -> Stopped:
    assert isinstance(turn, Stopped), turn
    return turn


async def test_a_dump_goes_on_in_another_process(interpreter: Interpreter) -> None:
    async with session(interpreter) as first:
        assert await first.load_source() is None
        assert isinstance(await first.call("setup", "group", {}), Returned)
        await first.call("execute", "task", {"registration": "r"})
        stop = await stopped(await first.resume(None))
        assert (stop.function, stop.caller, stop.line) == ("robot.browser.click", "execute", 14)
        dump = first.dump_stop()
    async with session(interpreter) as second:
        assert (await stopped(await second.load_stop(dump))).function == "robot.browser.click"
        await second.throw(LookupError("NOT_FOUND: it is gone"))
        await second.resume(None)  # the log line
        assert await second.resume("yes") == Returned({"found": "yes", "opened": "1"})


async def test_a_session_that_is_left_at_a_stop_leaves_nothing_behind(interpreter: Interpreter) -> None:
    """Parked, aborted and failed phases end so. A cycle through Monty's snapshot would keep session and values for
    ever, because Python can't look into it."""
    gone = []
    for _ in range(3):
        async with session(interpreter) as left:
            assert await left.load_source() is None
            await stopped(await left.call("execute", "task", {"registration": "r"}))
        gone.append(weakref.ref(left))
        del left
    gc.collect()
    assert [one() for one in gone] == [None, None, None]


async def test_a_dump_that_is_none_says_so(interpreter: Interpreter) -> None:
    async with session(interpreter) as fresh:
        with pytest.raises(SnapshotUnreadable):
            await fresh.load_stop(b"nonsense")


@pytest.mark.parametrize(
    ("body", "code", "line"),
    [
        ("    while True:\n        pass\n", "SCRIPT_LIMIT", None),  # the interpreter tells no line for a time limit
        ("    rows = [0]\n    while True:\n        rows = rows + rows\n", "SCRIPT_LIMIT", 4),
        ("    return task['missing']\n", "SCRIPT_ERROR", 2),
    ],
)
async def test_limits_and_errors_end_the_phase(
    interpreter: Interpreter, body: str, code: str, line: int | None
) -> None:
    source = f"def execute(task: dict[str, str]) -> object:\n{body}"
    async with session(interpreter, source) as hostile:
        assert await hostile.load_source() is None
        failed = await hostile.call("execute", "task", {})
    assert isinstance(failed, Failed)
    assert (failed.code, failed.line) == (code, line)
    assert failed.message


def entries(*replies: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The journal of a task that asked for fill and click; each reply stands in the entry after its instruction."""
    asked = [
        {"name": "browser.fill", "args": {"target": {"$object": "search"}, "text": "r"}, "commit": False, "line": 12},
        {"name": "browser.click", "args": {"target": {"$object": "go"}}, "commit": True, "line": 14},
    ]
    rows: list[dict[str, Any]] = [{"kind": Kind.PHASE, "seq": 1, "reply": None}]
    for n, instruction in enumerate(asked):
        reply = replies[n - 1] if n else None
        row = {"kind": Kind.INSTRUCTION, "seq": n + 2, "phase": "task", "instruction": instruction, "reply": reply}
        rows.append({**row, "answers": []})
    return rows


async def test_a_phase_is_rebuilt_from_its_journal(interpreter: Interpreter) -> None:
    done = {"seq": 2, "outcome": "done", "value": None}
    async with session(interpreter) as again:
        await again.load_source()
        first = await again.call("execute", "task", {"registration": "r"})
        turn = await stopped(await replay(again, first, entries(done), 60.0))
        assert turn.function == "robot.browser.click", "it does not stand at the instruction that waits for its reply"
        await again.resume(None)
        assert await again.resume("yes") == Returned({"found": "yes", "opened": "0"})


async def test_a_script_that_asks_for_something_else_is_not_guessed_at(interpreter: Interpreter) -> None:
    done = {"seq": 2, "outcome": "done", "value": None}
    changed = SCRIPT.replace("browser.click(objects.go, commit=True)", "browser.click(objects.answer, commit=True)")
    async with session(interpreter, changed) as again:
        await again.load_source()
        first = await again.call("execute", "task", {"registration": "r"})
        with pytest.raises(ReplayDiverged, match="entry 3"):
            await replay(again, first, entries(done), 60.0)
