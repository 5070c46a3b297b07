"""What the operating system offers to keep processes together: the only module that knows which system this is.

Called by: __main__ (lock, adoption), driver_process (kill), driver and drivers.process (die with the parent).
Survives a crash: nothing is left to survive; a driver ends when its supervisor does. Change also: on Windows a job
object takes the place of all of this; until then a killed driver's own children are ended by `taskkill /T` there.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO, Dict, Iterable, List, Optional, Set

LINUX = sys.platform.startswith("linux")
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True) if LINUX else None
KILL_S = 1.5


def die_with_parent(parent: Optional[int] = None) -> None:
    """Have the kernel kill this process when the thread that started it ends (prctl(2)); `parent` closes the race."""
    if _LIBC is None:
        return
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of whatever a killed driver leaves behind, so that it can be found and ended."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_driver(process: "subprocess.Popen[bytes]", keep: Iterable[int]) -> None:
    """End a driver and everything below it, then collect it. `keep`: pids of drivers whose trees stay."""
    if LINUX:
        _kill_strangers({pid for pid in keep if pid != process.pid}, process)
    elif os.name == "nt":
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], capture_output=True, check=False)
    else:
        os.killpg(process.pid, signal.SIGKILL)
    if process.poll() is None:
        process.kill()
    process.wait()


def collect_orphans(keep: Iterable[int]) -> None:
    """Take the exit status of adopted processes that ended by themselves. `keep`: pids that others wait for."""
    if LINUX:
        _collect(_children().get(os.getpid(), []), set(keep))


def lock(path: Path) -> IO[str]:
    """Hold a file for as long as this process lives.

    Raises: OSError when another process holds it.
    """
    file = open(str(path), "a+")  # noqa: SIM115  # held by the caller
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
        else:
            import fcntl

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise
    return file


def _kill_strangers(keep: Set[int], process: "subprocess.Popen[bytes]") -> None:
    """Kill all descendants of this process but the trees of `keep`; repeat, since a dying one may have just forked."""
    end = time.monotonic() + KILL_S
    while time.monotonic() < end:
        strangers = _strangers(keep)
        if process.poll() is None:
            strangers.append(process.pid)
        if not strangers:
            return
        for pid in strangers:
            _signal(pid)
        _collect(_children().get(os.getpid(), []), keep | {process.pid})
        time.sleep(0.005)


def _strangers(keep: Set[int]) -> List[int]:
    children = _children()
    found: List[int] = []
    waiting = [pid for pid in children.get(os.getpid(), []) if pid not in keep]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting.extend(children.get(pid, []))
    return [pid for pid in found if not _is_zombie(pid)]


def _children() -> Dict[int, List[int]]:
    """All processes by their parent, out of /proc."""
    found: Dict[int, List[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            parent = _stat(int(entry))[1]
            found.setdefault(parent, []).append(int(entry))
    return found


def _stat(pid: int) -> "tuple[str, int]":
    """State letter and parent (proc(5)); the name in brackets may hold anything: it is skipped from its right end."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            words = file.read().rpartition(b")")[2].split()
        return words[0].decode(), int(words[1])
    except (OSError, IndexError, ValueError):
        return "X", -1


def _is_zombie(pid: int) -> bool:
    return _stat(pid)[0] in ("Z", "X")


def _signal(pid: int) -> None:
    with contextlib.suppress(OSError):  # it has ended in the meantime
        os.kill(pid, signal.SIGKILL)


def _collect(pids: Iterable[int], keep: Set[int]) -> None:
    for pid in pids:
        if pid not in keep:
            try:
                os.waitpid(pid, os.WNOHANG)
            except OSError:
                continue  # collected by its Popen
