"""An event loop whose time is a number: when nothing is ready it jumps to the next timer. No threads, no real I/O.

Called by: world.py. Everything in a simulation runs as tasks of one such loop, so the order of all steps follows from
the program and the seed alone. What would wait for the outside world raises: nothing here may depend on it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

T = TypeVar("T")
ROUNDS_MAX = 20_000
"""Rounds without time passing after which the simulation counts as caught in a circle."""


class Deadlock(Exception):
    """Nothing is ready and no timer is set, but what was to be run has not ended."""


class Circle(Exception):
    """The simulation does step after step without time passing."""


class VirtualLoop(asyncio.BaseEventLoop):
    """An asyncio loop in virtual time, seconds from 0."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0
        self.steps = 0
        self.failures: list[dict[str, Any]] = []
        """What asyncio would have logged as an error: tasks that ended with an exception nobody took."""
        self._still = 0
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = itertools.count()
        self.set_exception_handler(lambda _, context: self.failures.append(context))

    def time(self) -> float:
        """Virtual seconds."""
        return self.now_s

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run to the end of `main`.

        Raises: Deadlock, Circle, and what `main` raises.
        """
        return self.run_until_complete(main)

    def finish(self, rounds: int = 20) -> list[asyncio.Task[Any]]:
        """Cancel all that is left, and close; the tasks that would not end are given back."""
        left: set[asyncio.Task[Any]] = set()
        for _ in range(rounds):
            left = asyncio.all_tasks(self)
            if not left:
                break
            for task in left:
                task.cancel()
            self.run_until_complete(_a_few_steps())
        self._timers.clear()
        self._ready.clear()  # type: ignore[attr-defined]
        self.close()
        return sorted(left, key=lambda task: task.get_name())

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Context | None = None) -> asyncio.Handle:
        """As BaseEventLoop.call_soon, without its checks."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)  # type: ignore[attr-defined]
        return handle

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As BaseEventLoop.call_at; timers of the same moment run in the order in which they were set."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        heapq.heappush(self._timers, (when, next(self._numbers), handle))
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """As BaseEventLoop.call_later."""
        return self.call_at(self.now_s + delay, callback, *args, context=context)

    def _run_once(self) -> None:
        """One round: timers that are due, then everything that was ready when the round began."""
        timers, ready = self._timers, self._ready  # type: ignore[attr-defined]
        if not ready:
            while timers and timers[0][2]._cancelled:
                heapq.heappop(timers)
            if not timers:
                raise Deadlock("nothing is ready and no timer is set")
            self.now_s = max(self.now_s, timers[0][0])
            self._still = 0
        while timers and timers[0][0] <= self.now_s:
            handle = heapq.heappop(timers)[2]
            if not handle._cancelled:
                ready.append(handle)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                self.steps += 1
                handle._run()
        self._still += 1
        if self._still > ROUNDS_MAX:
            raise Circle(f"{self._still} rounds at {self.now_s:.3f} s")

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer stays in the heap until its time comes: simulations are short."""

    def _process_events(self, event_list: Any) -> None:
        raise AssertionError("there is no outside world")

    def _write_to_self(self) -> None:
        """Nobody waits in a selector."""

    def run_in_executor(self, *_: Any) -> Any:  # type: ignore[override]
        """No threads."""
        raise AssertionError("a simulation has no threads")


async def _a_few_steps() -> None:
    for _ in range(5):
        await asyncio.sleep(0)
