"""Periodic work: what finds the things whose hint was lost.

Called by: every service. Survives a crash: nothing here; what it looks for is in the database. Change also: nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

from shared.errors import TemporaryError
from shared.mongo import first_line
from shared.mongo.guarded import is_transient
from shared.obs.clock import monotonic_s
from shared.obs.loops import Loop
from shared.obs.metrics import counter, gauge, histogram

JITTER = 0.1
LONG_TURN_S = 3600.0
"""For sweeps that may have a great deal to do at once."""
STOP_GRACE_S = 5.0

_last = gauge("sweeper_last_success_timestamp_seconds", "When a sweeper last ended well.", ["sweeper"])
_seconds = histogram("sweeper_seconds", "How long sweeps take.", ["sweeper"])
_failures = counter("sweeper_failures_total", "Sweeps that failed.", ["sweeper"])


class Sweeper:
    """Calls `fn` every interval_s seconds (give or take a tenth), never twice at once, whatever it raises.

    name: for logs and metrics. log: the service's logger. turn_s_max: how long a sweep may take, seconds, before the
    watchdog takes it for hung; none: as its setting says.
    """

    def __init__(
        self,
        name: str,
        interval_s: float,
        fn: Callable[[], Awaitable[Any]],
        log: Any,
        *,
        turn_s_max: float | None = None,
    ) -> None:
        self.name = name
        self._interval_s = interval_s
        self._fn = fn
        self._log = log
        self._loop = Loop(name, turn_s_max=turn_s_max)
        self._kicked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._trouble = ""
        self._ending = False
        _failures.labels(name)  # shown as 0 before the first

    async def start(self) -> None:
        """Begin: the first sweep is at once."""
        if self._task is None:
            self._ending = False
            self._kicked.set()
            self._task = asyncio.get_running_loop().create_task(self._work(), name=f"sweeper-{self.name}")

    def kick(self) -> None:
        """Sweep at once; during a sweep: once more after it."""
        self._kicked.set()

    async def stop(self) -> None:
        """Let a sweep that runs finish, for a few seconds, then end."""
        if self._task is None:
            return
        if not self._idle.is_set():
            try:
                await asyncio.wait_for(self._idle.wait(), STOP_GRACE_S)
            except TimeoutError:
                self._log.warning("sweep is cut off", sweeper=self.name)
        self._ending = True  # a cancellation that meets a kick is swallowed by wait_for (until Python 3.12)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._task = None

    async def _work(self) -> None:
        with self._loop:
            while not self._ending:
                pause = self._interval_s * random.uniform(1 - JITTER, 1 + JITTER)
                self._loop.turn(pause)
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._kicked.wait(), pause)
                self._kicked.clear()
                if not self._ending:
                    self._loop.turn()
                    await self._sweep()

    async def _sweep(self) -> None:
        started = monotonic_s()
        self._idle.clear()
        try:
            await self._fn()
            _last.labels(self.name).set_to_current_time()
            self._trouble = ""
        except Exception as error:
            _failures.labels(self.name).inc()
            self._tell(error)
        finally:
            self._idle.set()
            _seconds.labels(self.name).observe(monotonic_s() - started)

    def _tell(self, error: Exception) -> None:
        """A part that is away is one line without stack, until something else happens."""
        if isinstance(error, TemporaryError) or is_transient(error):
            reason = first_line(error)
            if reason != self._trouble:
                self._log.warning("sweep failed", sweeper=self.name, reason=reason)
            self._trouble = reason
        else:
            self._log.error("sweep failed", sweeper=self.name, exc_info=error)
