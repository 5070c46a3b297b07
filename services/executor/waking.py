"""Wakes parked runs: those whose time is over, whose question was answered, and those that are to stop.

Called by: main.py (sweep). Answers and stops wake their run at once (handlers.py); this finds what was lost on the way,
and is what wakes runs that wait for a time. Survives a crash: everything it looks for is in the database."""

from __future__ import annotations

from services.executor.recovery import Crew
from services.executor.store_waits import WaitStore


class Waking:
    """The sweep over parked runs."""

    def __init__(self, waits: WaitStore, crew: Crew) -> None:
        self._waits = waits
        self._crew = crew

    async def sweep(self) -> None:
        """Wake what is due, and take it where there is room; others find the rest by its hand-over."""
        over = [(run["_id"], int(run["wait"]["seq"])) for run in await self._waits.due()]
        over += [(decision["run"], int(decision["seq"])) for decision in await self._waits.not_taken_in()]
        for run, seq in over:
            await self._go_on(run, seq)
        for run in await self._waits.stopped():
            await self._go_on(run, None)

    async def _go_on(self, run: str, seq: int | None) -> None:
        woken = await self._waits.wake(run, seq)
        if woken is not None:
            await self._crew.take(woken)
