"""The loops of this process, so that one that stands still is noticed.

Called by: whatever runs for ever (shared.runtime.sweeper, shared.mongo.lease, services' own loops); read by
shared.runtime.watchdog. Survives a crash: nothing. A loop is known from `with Loop(..)` to its end; one that ends by an
error stays known, and therefore stands still.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

_known: dict[int, Loop] = {}


class Loop:
    """One loop. name: for health, logs and metrics; several may have the same.

    turn_s_max: how long one turn may take, seconds; none: as long as the watchdog's setting says.
    """

    def __init__(self, name: str, *, turn_s_max: float | None = None) -> None:
        self.name = name
        self.turn_s_max = turn_s_max
        self.turns = 0
        self.rests_s = 0.0

    def turn(self, rests_s: float = 0.0) -> None:
        """The loop turns. rests_s: how long it now means to wait before it does anything, seconds."""
        self.rests_s = rests_s
        self.turns += 1

    def __enter__(self) -> Loop:
        self.turn()
        _known[id(self)] = self
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None or issubclass(kind, asyncio.CancelledError | GeneratorExit):
            _known.pop(id(self), None)


def known() -> list[Loop]:
    """The loops of this process."""
    return list(_known.values())


def forget(loop: Loop) -> None:
    """A loop that ended by an error is not missed: who ran it knows."""
    _known.pop(id(loop), None)
