"""The interpreter: sessions of Monty, driven one host call at a time, dumped to bytes and loaded from them.

Owns: the pool of interpreter subprocesses and everything that names Monty's classes. Called by: runner.py. Survives a
crash: nothing here; what survives are the dumps, sealed into the journal by store.py. Change also: FORMAT when the
pinned pydantic-monty changes its dump format: an executor takes only runs whose format it reads.

A session is a subprocess of its own with limits on memory and on time between two host calls, so a hostile script
ends with a clear error and hurts no other run. Limits travel in the dump. After a time limit the heap guarantees
nothing, so the session is dropped, never fed again."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from types import TracebackType
from typing import Any

from pydantic_monty import (
    AsyncFunctionSnapshot,
    AsyncMonty,
    AsyncMontySession,
    AsyncNameLookupSnapshot,
    MontyComplete,
    MontyCrashedError,
    MontyError,
    MontyRuntimeError,
    MontySyntaxError,
    __version__,
)

from services.executor.limits import Limits
from shared.script.modules import script_modules

FORMAT = f"monty-{'.'.join(__version__.split('.')[:2])}"
PRINT_CHARS_MAX = 16_000
"""Of what a script prints between two instructions; the rest is dropped and said so."""


@dataclass(frozen=True)
class Stopped:
    """The script stopped at a host call."""

    function: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    is_os: bool
    line: int | None
    """Line of the script, 1-based; none when the call stands in a string of code."""
    caller: str | None
    """The script's function that the line stands in."""


@dataclass(frozen=True)
class Returned:
    """The phase's function returned."""

    value: Any


@dataclass(frozen=True)
class Failed:
    """The script ended with an exception, or was ended by a limit."""

    code: str
    """SCRIPT_ERROR, or SCRIPT_LIMIT for time, memory and recursion."""
    message: str
    line: int | None
    traceback: list[dict[str, Any]]


Turn = Stopped | Returned | Failed


class SnapshotUnreadable(Exception):
    """A dump could not be loaded; the phase has to be replayed from the journal."""


class Interpreter:
    """The pool. `async with` starts and stops its subprocesses."""

    def __init__(self, *, processes_max: int, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._pool = AsyncMonty(
            min_processes=1,
            max_processes=processes_max,
            checkout_timeout=60,
            request_timeout=60,
        )

    async def __aenter__(self) -> Interpreter:
        await self._pool.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._pool.__aexit__(kind, error, trace)

    def session(self, *, script: str, source: str, objects: Iterable[str], seed: int) -> Session:
        """A session for one phase of one run; `async with` takes a subprocess and gives it back."""
        checkout = self._pool.checkout(
            script_name=script,
            limits={
                "max_memory": self._limits.memory_bytes_max,
                "max_turn_duration_secs": self._limits.turn_s,
                "max_suspensions": self._limits.host_calls_max,
            },
            external_modules=script_modules(objects),
            os_policy={"datetime": "call_host", "sleep": "call_host", "random_start": {"seed": seed}},
        )
        return Session(checkout, script, source, self._limits)


class Session:
    """One script in one subprocess."""

    def __init__(self, checkout: AsyncMontySession, script: str, source: str, limits: Limits) -> None:
        self._checkout = checkout
        self._session: AsyncMontySession = checkout
        self._stack = AsyncExitStack()
        self._script = script
        self._source = source.encode()
        self._limits = limits
        self._snapshot: Any = None
        self._calls = 0
        self._printed = _Printed()

    async def __aenter__(self) -> Session:
        self._session = await self._stack.enter_async_context(self._checkout)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._snapshot = None  # it holds the values of the last call, whoever still holds this session
        await self._stack.aclose()

    async def load_source(self) -> Failed | None:
        """Load the script itself: imports are answered, nothing else may happen at its top level."""
        turn = await self._drive(self._session.feed_start(self._source.decode(), print_callback=self._printed.add))
        if isinstance(turn, Failed):
            return turn
        if isinstance(turn, Stopped):
            return Failed("SCRIPT_ERROR", f"calls {turn.function} while it is loaded", turn.line, [])
        return None

    async def load_state(self, dump: bytes) -> None:
        """Go back to a state between two phases.

        Raises: SnapshotUnreadable.
        """
        try:
            await self._session.load_session(dump)
        except MontyError as error:
            raise SnapshotUnreadable(str(error)) from error

    async def load_stop(self, dump: bytes) -> Turn:
        """Go back to a stop at a host call, to be resumed.

        Raises: SnapshotUnreadable.
        """
        try:
            self._snapshot = await self._session.load_snapshot(dump, print_callback=self._printed.add)
        except MontyError as error:
            raise SnapshotUnreadable(str(error)) from error
        return self._turn()

    async def call(self, function: str, name: str, value: dict[str, Any]) -> Turn:
        """Call one of the script's functions with one argument; the first stop or the end."""
        code = f"{function}({name})" if function in self._functions() else "{}"
        return await self._drive(self._session.feed_start(code, inputs={name: value}, print_callback=self._printed.add))

    async def resume(self, value: Any) -> Turn:
        """Go on with the value of the host call."""
        return await self._drive(self._snapshot.resume({"return_value": value}))

    async def throw(self, exception: Exception) -> Turn:
        """Go on with an exception at the host call."""
        return await self._drive(self._snapshot.resume({"exception": exception}))

    def dump_stop(self) -> bytes:
        """The state at this stop."""
        data: bytes = self._snapshot.dump()
        return data

    async def dump_state(self) -> bytes:
        """The state between two phases."""
        return await self._session.dump()

    def printed(self) -> list[str]:
        """What was printed since the last call, line by line."""
        return self._printed.take()

    def calls(self) -> int:
        """How often the script called out of itself since the last call, imports and unknown names included."""
        calls, self._calls = self._calls, 0
        return calls

    def _functions(self) -> set[str]:
        text = self._source.decode()
        return {name for name in ("setup", "execute", "keepalive", "teardown") if f"\ndef {name}(" in f"\n{text}"}

    async def _drive(self, pending: Any) -> Turn:
        """Wait for the next stop that is the executor's to answer; imports and unknown names are answered here."""
        try:
            self._snapshot = await pending
            while True:
                snapshot = self._snapshot
                self._calls += 1
                if isinstance(snapshot, AsyncNameLookupSnapshot):
                    self._snapshot = await snapshot.resume()
                elif isinstance(snapshot, AsyncFunctionSnapshot) and _is_import(snapshot):
                    self._snapshot = await snapshot.resume_auto()
                else:
                    return self._turn()
        except MontyRuntimeError as error:
            return _failed(error, self._script, self._limits)
        except MontySyntaxError as error:
            return Failed("SCRIPT_ERROR", error.display("type-msg"), None, [])
        except MontyCrashedError as error:
            text = self._limits.said("", str(error)) or f"the interpreter was stopped: {error}"
            return Failed("SCRIPT_LIMIT", text, None, [])

    def _turn(self) -> Turn:
        snapshot = self._snapshot
        if isinstance(snapshot, MontyComplete):
            return Returned(snapshot.output)
        if isinstance(snapshot, AsyncFunctionSnapshot):
            position = snapshot.position
            line = None
            if position.filename == "<python-input-0>":
                line = self._source[: position.start].count(b"\n") + 1
            return Stopped(
                function=str(snapshot.function_name),
                args=snapshot.args,
                kwargs=snapshot.kwargs,
                is_os=snapshot.is_os_function,
                line=line,
                caller=_caller(self._source, line),
            )
        return Failed("SCRIPT_ERROR", "async functions are not supported in scripts", None, [])


class _Printed:
    """What a script prints. It knows no session: Monty's snapshots hold what is called when something is printed, and
    a cycle through them is one that Python can't collect."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._chars = 0

    def add(self, stream: str, text: str) -> None:
        """Keep a piece, as far as there is room."""
        room = PRINT_CHARS_MAX - self._chars
        if room > 0:
            self._parts.append(text[:room])
        self._chars += len(text)

    def take(self) -> list[str]:
        """The lines so far, once."""
        lines = "".join(self._parts).splitlines()
        if self._chars > PRINT_CHARS_MAX:
            lines.append(f"[{self._chars - PRINT_CHARS_MAX} more characters were dropped]")
        self._parts, self._chars = [], 0
        return lines


def _caller(source: bytes, line: int | None) -> str | None:
    """Name of the innermost function around a line; a script that was checked parses."""
    if line is None:
        return None
    around = [
        node
        for node in ast.walk(_tree(source))
        if isinstance(node, ast.FunctionDef) and node.lineno <= line <= (node.end_lineno or node.lineno)
    ]
    return max(around, key=lambda node: node.lineno).name if around else None


@lru_cache(maxsize=64)
def _tree(source: bytes) -> ast.Module:
    return ast.parse(source)


def _is_import(snapshot: AsyncFunctionSnapshot) -> bool:
    return bool(snapshot.is_os_function) and str(snapshot.function_name).startswith("import")


def _failed(error: MontyRuntimeError, script: str, limits: Limits) -> Failed:
    inner = error.exception()
    said = limits.said(type(inner).__name__, str(inner))
    frames = [_frame(frame.dict(), script) for frame in error.traceback()]
    own = [frame for frame in frames if frame["file"] == script]
    message = said or error.display("type-msg")[:2000]
    return Failed("SCRIPT_LIMIT" if said else "SCRIPT_ERROR", message, own[-1]["line"] if own else None, frames[-50:])


def _frame(frame: dict[str, Any], script: str) -> dict[str, Any]:
    """One frame of a traceback: file, line and function; no variables."""
    return {
        "file": script if frame.get("filename") == "<python-input-0>" else "",
        "line": frame.get("line"),
        "function": frame.get("function_name"),
    }


def clock_answer(function: str, now: datetime) -> Any:
    """The answer to a script's question for the time."""
    if function == "time.time":
        return now.timestamp()
    return now.date() if function == "date.today" else now
