"""Keeps processes running: starts them, sees when they are ready, starts again what dies, stops them, says how they
stand.

Called by: launcher.py, a few times a second (`tend`). Survives a crash: nothing; who watches the watcher is
guardian.py's. A process that dies is started again after 0.2 s at first, then twice as long each time up to 10 s; after
30 s of running the count begins anew.
"""

from __future__ import annotations

import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

from deploy.local.console_lines import StackError
from deploy.local.processes import kill_group, kill_marked, stop_all

FIRST_PAUSE_S, LAST_PAUSE_S, SETTLED_S = 0.2, 10.0, 30.0
READY_S = 60.0
LOOK_S = 2.0
"""Between two looks at a process that may hang."""
RESTARTS_BEFORE_READY_MAX = 4
"""A process that died so often before it was ready once will not become so by itself."""
_UNCHECKED = ssl.create_default_context()
_UNCHECKED.check_hostname = False
_UNCHECKED.verify_mode = ssl.CERT_NONE


class State(StrEnum):
    """How a kept process stands."""

    STARTING = "starting"
    """It runs, and does not answer yet."""
    READY = "ready"
    """It runs, and has answered."""
    RESTARTING = "restarting"
    """It died, and waits to be started again."""


@dataclass
class Kept:
    """A process that is kept running."""

    name: str
    service: str
    port: int | None
    version: str
    mark: str
    """Starts the mark of each launch (processes.MARK); the number of the launch follows."""
    launch: Callable[[str], subprocess.Popen[bytes]]
    """Starts it, given the mark to carry."""
    answers: Callable[[], bool]
    """Whether it is ready."""
    stop_s: float
    """How long it may take to end."""
    hung_s: float | None = None
    """It is killed, and started again, when it has not answered for so long; none: only its death counts."""
    child: subprocess.Popen[bytes] | None = None
    launches: int = 0
    started_s: float = 0.0
    started_at: str = ""
    pause_s: float = FIRST_PAUSE_S
    due_s: float | None = None
    looked_s: float = 0.0
    answered_s: float = 0.0
    state: State = State.STARTING

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return max(0, self.launches - 1)


class Supervisor:
    """All kept processes, in the order in which they were added."""

    def __init__(self, say: Callable[[str], None], log_end: Callable[[str], str]) -> None:
        """`say`: one line for the person in front of it; `log_end`: the last lines of a process's log, by its name."""
        self.kept: list[Kept] = []
        self._say = say
        self._log_end = log_end

    def keep(self, kept: Kept) -> None:
        """Start a process and keep it running from now on."""
        self.kept.append(kept)
        _launch(kept)

    def adopt(self, kept: Kept, child: subprocess.Popen[bytes]) -> None:
        """Keep a process running that was started, and found ready, elsewhere."""
        self.kept.append(kept)
        kept.child, kept.launches, kept.state = child, 1, State.READY
        _note_start(kept)

    def tend(self) -> None:
        """Start again whoever died, and see who became ready."""
        for kept in self.kept:
            if kept.child is not None and kept.child.poll() is not None:
                self._died(kept, kept.child)
            if kept.due_s is not None and time.monotonic() >= kept.due_s:
                _launch(kept)
            if kept.state is State.STARTING and kept.answers():
                kept.state = State.READY
                kept.looked_s = kept.answered_s = time.monotonic()
            if kept.state is State.READY and kept.hung_s is not None:
                self._look_after(kept, kept.hung_s)

    def wait_ready(self, cancelled: Callable[[], bool], limit_s: float = READY_S) -> None:
        """Tend until every process is ready.

        Raises: StackError that names who is not, with the end of its log.
        """
        deadline = time.monotonic() + limit_s
        while True:
            self.tend()
            late = [kept for kept in self.kept if kept.state is not State.READY]
            if not late:
                return
            if cancelled():
                raise StackError("stopped")
            given_up = [kept for kept in late if kept.restarts >= RESTARTS_BEFORE_READY_MAX]
            if given_up or time.monotonic() > deadline:
                name = (given_up or late)[0].name
                raise StackError(f"{name} does not get ready; the end of its log:\n{self._log_end(name)}")
            time.sleep(0.05)

    def stop(self, chosen: Iterable[Kept]) -> None:
        """Stop these, all at once, with everything they started, and keep them no longer."""
        going = list(chosen)
        self.kept = [kept for kept in self.kept if kept not in going]
        stop_all([kept.child for kept in going if kept.child], max((kept.stop_s for kept in going), default=0.0))
        for prefix in {kept.mark for kept in going}:
            kill_marked(prefix)

    def pids(self) -> set[int]:
        """The processes that are waited for here."""
        return {kept.child.pid for kept in self.kept if kept.child is not None}

    def rows(self) -> list[dict[str, object]]:
        """How each stands, as `regente status --json` shows it."""
        return [
            {
                "service": kept.service,
                "instance": kept.name,
                "pid": kept.child.pid if kept.child else None,
                "port": kept.port,
                "version": kept.version,
                "state": str(kept.state),
                "restarts": kept.restarts,
                "started_at": kept.started_at,
            }
            for kept in self.kept
        ]

    def _look_after(self, kept: Kept, hung_s: float) -> None:
        now_s = time.monotonic()
        if now_s - kept.looked_s < LOOK_S or kept.child is None:
            return
        if kept.answers():
            kept.answered_s = time.monotonic()
        elif now_s - kept.answered_s > hung_s:
            self._say(f"{kept.name} has not answered for {now_s - kept.answered_s:.0f} s; killing it")
            kill_group(kept.child)
        kept.looked_s = time.monotonic()

    def _died(self, kept: Kept, child: subprocess.Popen[bytes]) -> None:
        kill_group(child)
        kill_marked(f"{kept.mark}{kept.launches}#")
        if time.monotonic() - kept.started_s > SETTLED_S:
            kept.pause_s = FIRST_PAUSE_S
        self._say(f"{kept.name} ended ({reason(child.returncode)}); starting it again in {kept.pause_s:.1f} s")
        kept.child, kept.state = None, State.RESTARTING
        kept.due_s = time.monotonic() + kept.pause_s
        kept.pause_s = min(LAST_PAUSE_S, kept.pause_s * 2)


def answers(port: int | None, ready: str | None) -> bool:
    """Whether a process is ready: a path is asked on `port`, a whole address as it is; without either it is ready as it
    runs.
    """
    if ready is None or port is None:
        return True
    url = ready if ready.startswith("http") else f"http://127.0.0.1:{port}{ready}"
    try:
        with urllib.request.urlopen(
            url, timeout=1.0, context=_UNCHECKED if url.startswith("https") else None
        ) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError, ValueError):
        return False


def reason(code: int | None) -> str:
    """An exit code, for people."""
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def _launch(kept: Kept) -> None:
    kept.launches += 1
    kept.due_s = None
    kept.child = kept.launch(f"{kept.mark}{kept.launches}#")
    kept.state = State.STARTING
    _note_start(kept)


def _note_start(kept: Kept) -> None:
    kept.started_s = time.monotonic()
    kept.started_at = datetime.now(UTC).isoformat(timespec="seconds")
