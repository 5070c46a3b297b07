"""The guardian: a small parent above the launcher that sees that nothing of it is left behind.

Called by: __main__.py. Two processes watch each other: the guardian, which the user started, adopts every orphan below
it and kills what is left when the launcher ends in whatever way; the launcher, in a session of its own, does the same
when the guardian is killed. If both are killed at once the kernel kills their children (processes.py), and the next
start kills whatever still carries our mark.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from deploy.local.processes import die_with_parent

PR_SET_CHILD_SUBREAPER = 36
PARENT_DIED = signal.SIGUSR2
KILL_S = 10.0

_libc = ctypes.CDLL(None, use_errno=True)


def guarded(work: Callable[[], int], *, after: Callable[[], None] | None = None) -> int:
    """Run `work` in a child and see that nothing of it survives it; gives its exit code.

    `after` runs here when it ended. SIGINT, SIGTERM and SIGHUP are passed on.
    """
    adopt_orphans()
    sys.stdout.flush()
    sys.stderr.flush()
    guardian = os.getpid()
    worker = os.fork()
    if worker == 0:
        _work(work, guardian)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: _pass_on(worker, received))
    code = _wait_for(worker)
    kill_descendants()
    if after is not None:
        after()
    return code


def adopt_orphans() -> None:
    """Become the parent of every process below this one whose own parent ended."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_descendants() -> None:
    """Kill everything below this process, again and again until nothing is left."""
    deadline = time.monotonic() + KILL_S
    while time.monotonic() < deadline:
        found = descendants(os.getpid())
        for pid in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if _reap() == 0 and not found:
            return
        time.sleep(0.02)


def descendants(root: int) -> list[int]:
    """Pids of all live processes below `root`."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = entry.read_text().rpartition(")")[2].split()
            if fields[0] != "Z":
                children.setdefault(int(fields[1]), []).append(int(entry.parent.name))
    found, queue = [], [root]
    while queue:
        below = children.get(queue.pop(), [])
        found += below
        queue += below
    return found


def reap_orphans(known: set[int]) -> None:
    """Take the exit codes of adopted processes; those in `known` have an owner who waits for them."""
    task = Path(f"/proc/self/task/{os.getpid()}/children")
    with contextlib.suppress(OSError):
        for pid in map(int, task.read_text().split()):
            if pid not in known:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)


def _work(work: Callable[[], int], guardian: int) -> None:
    """The child's side: never returns."""
    code = 1
    try:
        signal.signal(PARENT_DIED, _guardian_died)
        adopt_orphans()
        die_with_parent(guardian, PARENT_DIED)
        os.setsid()
        code = work()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _guardian_died(_number: int, _frame: FrameType | None) -> None:
    kill_descendants()
    os._exit(1)


def _reap() -> int:
    """Collect ended children; how many are still there, ended or not (0: none at all)."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return 0
    return 1


def _pass_on(worker: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker, number)


def _wait_for(worker: int) -> int:
    """Reap children until the worker is among them."""
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            return 1
        if pid == worker:
            return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)
