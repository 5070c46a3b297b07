"""The script's model behind the interface of services/executor/interpreter.py: no subprocess, no time.

Called by: services/executor in place of its Interpreter. Survives a crash: dumps, as with the real one; now and then
one can't be read, so that phases are replayed from the journal.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import date, datetime
from typing import Any

from services.executor.interpreter import Failed, Returned, SnapshotUnreadable, Stopped, Turn
from tests.sim.script import Asks, Ends, Machine, Program, parsed
from tests.sim.travel import Faults

OS_CALLS = frozenset({"datetime.now", "date.today", "time.time", "time.sleep"})


class ModelInterpreter:
    """As Interpreter."""

    def __init__(self, faults: Faults, draw: random.Random) -> None:
        self._faults = faults
        self._draw = draw

    async def __aenter__(self) -> ModelInterpreter:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def session(self, *, script: str, source: str, objects: Iterable[str], seed: int, **_: Any) -> ModelSession:
        """As Interpreter.session."""
        return ModelSession(parsed(source), self._faults, self._draw)


class ModelSession:
    """As Session."""

    def __init__(self, program: Program, faults: Faults, draw: random.Random) -> None:
        self._program, self._faults, self._draw = program, faults, draw
        self._before: dict[str, Any] = {}
        self._machine: Machine | None = None

    async def __aenter__(self) -> ModelSession:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def load_source(self) -> Failed | None:
        """As Session.load_source."""
        return None

    async def load_state(self, dump: bytes) -> None:
        """As Session.load_state."""
        self._before = json.loads(dump)["before"]

    async def load_stop(self, dump: bytes) -> Turn:
        """As Session.load_stop."""
        if self._draw.random() < self._faults.unreadable:
            raise SnapshotUnreadable("as drawn")
        state = json.loads(dump)["stop"]
        self._before = state["before"]
        self._machine = Machine(self._program, state)
        return self._turn(self._machine.run())

    async def call(self, function: str, name: str, value: dict[str, Any]) -> Turn:
        """As Session.call."""
        self._machine = Machine.begin(self._program, function, value, self._before)
        return self._turn(self._machine.run())

    async def resume(self, value: Any) -> Turn:
        """As Session.resume."""
        assert self._machine is not None
        return self._turn(self._machine.answer(_plain(value)))

    async def throw(self, exception: Exception) -> Turn:
        """As Session.throw."""
        assert self._machine is not None
        return self._turn(self._machine.throw(f"{type(exception).__name__}: {exception}"))

    def dump_stop(self) -> bytes:
        """As Session.dump_stop."""
        assert self._machine is not None
        return json.dumps({"stop": self._machine.state}).encode()

    async def dump_state(self) -> bytes:
        """As Session.dump_state."""
        return json.dumps({"before": self._before}).encode()

    def printed(self) -> list[str]:
        """As Session.printed."""
        return []

    def calls(self) -> int:
        """As Session.calls: the model's calls are counted as instructions only."""
        return 0

    def _turn(self, reached: Asks | Ends) -> Turn:
        assert self._machine is not None
        line = self._machine.line
        if isinstance(reached, Asks):
            function = self._machine.state["function"]
            return Stopped(
                reached.function,
                tuple(reached.args),
                dict(reached.kwargs),
                reached.function in OS_CALLS,
                line,
                function,
            )
        if reached.error is not None:
            return Failed("SCRIPT_ERROR", reached.error, line, [])
        if self._machine.state["function"] == "setup":
            self._before = {"got": self._machine.state["got"]}
        return Returned(reached.value)


def _plain(value: Any) -> Any:
    """Times have no place in a dump of JSON, and differ between a run and its replay only if something is wrong."""
    return value.isoformat() if isinstance(value, datetime | date) else value
