"""The watchdog: notices from a thread of its own that a loop of this process stands still, the event loop among them.

Called by: service.py (one per process), http.py (`/healthz`). Survives a crash: nothing. Change also:
docs/operating.md, shared/obs/loops.py.

A loop that stands still for longer than its turn may take makes /healthz fail with its name, is counted, and has the
stacks of all threads and asyncio tasks logged, once until it turns again. Under systemd (NOTIFY_SOCKET, sd_notify(3))
the service says READY, STOPPING and WATCHDOG=1 as often as WATCHDOG_USEC asks; while a loop stands still it says
nothing, and systemd starts it again. Time in which this thread did not run either (the machine slept, the process was
stopped) counts against nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import threading
import traceback
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any

from shared.mongo.lease import StillTimes
from shared.obs import loops
from shared.obs.clock import monotonic_s
from shared.obs.logs import get_logger
from shared.obs.metrics import gauge

CHECK_S = 1.0
TICK_S = 0.5
EVENT_LOOP = "event loop"
TASKS_MAX = 60
FRAMES_MAX = 12
STACKS_LENGTH_MAX = 16_000

_hung = gauge("loops_hung", "1 for a loop of this process that stands still.", ["loop"])
_log = get_logger(__name__)


class Watchdog:
    """Watches the loops of this process. limit_s: how long a turn may take where the loop does not say; 0: any time."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._check_s = min(CHECK_S, limit_s / 4) if limit_s else CHECK_S
        self._still = StillTimes(gap_counted_s_max=3 * self._check_s)
        self._told: set[str] = set()
        self._names: dict[str, float] = {}
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ticks = loops.Loop(EVENT_LOOP)
        self._tick: asyncio.TimerHandle | None = None
        self._notifier = Notifier(os.environ)

    @property
    def hung(self) -> Mapping[str, float]:
        """The loops that stand still, by name, and for how many seconds."""
        return dict(self._names)

    def start(self) -> None:
        """Watch, from the running event loop on."""
        self._loop = asyncio.get_running_loop()
        self._ticks.__enter__()
        self._turn()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def ready(self) -> None:
        """The service works."""
        self._notifier.say("READY=1")

    def leaving(self) -> None:
        """The service stops."""
        self._notifier.say("STOPPING=1")

    def stop(self) -> None:
        """Watch no more."""
        self._ending.set()
        if self._tick is not None:
            self._tick.cancel()
        loops.forget(self._ticks)
        self._notifier.close()

    def look(self, at_s: float) -> list[tuple[loops.Loop, float]]:
        """Look once, at `at_s` (monotonic): the loops that stand still, and since how many seconds."""
        known = loops.known() if self._limit_s else []
        marks = {f"{loop.name}/{id(loop)}": loop for loop in known}
        self._still.keep_only(set(marks))
        still = [(loop, self._still.look(mark, 0, loop.turns, at_s)) for mark, loop in marks.items()]
        found = [(loop, for_s) for loop, for_s in still if for_s > self._allowed_s(loop)]
        names = {loop.name: for_s for loop, for_s in found}
        for name in self._names.keys() - names.keys():
            _hung.labels(name).set(0)
            self._told.discard(name)
            _log.warning("a loop turns again", loop=name)
        for name in names:
            _hung.labels(name).set(1)
        self._names = names
        return found

    def _allowed_s(self, loop: loops.Loop) -> float:
        return loop.rests_s + (self._limit_s if loop.turn_s_max is None else loop.turn_s_max)

    def _turn(self) -> None:
        self._ticks.turn(TICK_S)
        if self._loop is not None and not self._ending.is_set():
            self._tick = self._loop.call_later(TICK_S, self._turn)

    def _watch(self) -> None:
        pause_s = min(self._check_s, self._notifier.every_s or self._check_s)
        while not self._ending.wait(pause_s):
            try:
                found = self.look(monotonic_s())
                for loop, for_s in found:
                    self._tell(loop.name, for_s)
            except Exception:  # a watchdog that dies would be taken for one that barks
                _log.exception("the watchdog failed")
                found = []
            if not found:
                self._notifier.say("WATCHDOG=1", watchdog=True)

    def _tell(self, name: str, for_s: float) -> None:
        if name in self._told:
            return
        self._told.add(name)
        _log.error("a loop stands still", loop=name, for_s=round(for_s, 1), stacks=stacks(self._loop))


class Notifier:
    """Tells systemd how the service is, where it runs under one. Never raises."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        mine = environment.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        usec = environment.get("WATCHDOG_USEC", "")
        self.every_s = int(usec) / 2_000_000 if mine and usec.isdigit() and int(usec) else None
        """How often it wants to hear that all is well; none: not at all."""
        self._socket: socket.socket | None = None

    def say(self, text: str, *, watchdog: bool = False) -> None:
        """Tell it. watchdog: only where it wants to hear that."""
        if not self._address or (watchdog and self.every_s is None):
            return
        with contextlib.suppress(OSError):
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
                self._socket.setblocking(False)
            address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
            self._socket.sendto(text.encode(), address)

    def close(self) -> None:
        """Say nothing more."""
        self._address = ""
        if self._socket is not None:
            self._socket.close()


def stacks(loop: asyncio.AbstractEventLoop | None) -> str:
    """Where every thread and every asyncio task of this process is, as text of limited length."""
    lines = [*_threads(), *(_tasks(loop) if loop is not None else ())]
    text = "\n".join(lines)
    return text if len(text) <= STACKS_LENGTH_MAX else text[:STACKS_LENGTH_MAX] + "\n..."


def _threads() -> Iterator[str]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        if ident != threading.get_ident():
            yield f"thread {names.get(ident, ident)}:"
            yield from (_place(one.filename, one.lineno, one.name)
                        for one in traceback.extract_stack(frame)[-FRAMES_MAX:])  # fmt: skip


def _tasks(loop: asyncio.AbstractEventLoop) -> Iterator[str]:
    tasks: set[asyncio.Task[Any]] = set()
    for _ in range(3):  # the set may change while it is read from this thread
        with contextlib.suppress(RuntimeError):
            tasks = asyncio.all_tasks(loop)
            break
    for task in sorted(tasks, key=lambda one: one.get_name())[:TASKS_MAX]:
        yield f"task {task.get_name()}:"
        yield from _awaited(task.get_coro())


def _awaited(coroutine: Coroutine[Any, Any, Any] | Any) -> Iterator[str]:
    """From the task's own function to where it waits."""
    for _ in range(FRAMES_MAX):
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is None:
            return
        yield _place(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)


def _place(file: str, line: int | None, function: str) -> str:
    return f"  {'/'.join(file.split('/')[-3:])}:{line} {function}"
