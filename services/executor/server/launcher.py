"""Runs one command under limits and ends all that it started: a process of its own between the executor and it.

Called by: job.py, as `python -I -S launcher.py CONTROL REPORT LIMITS -- COMMAND ..`; standard library only, Linux only.
Survives a crash: nothing, and that is the point. CONTROL is a pipe whose other end only the executor holds: when that
closes, because the executor wants an end or is dead however suddenly, everything here ends within two seconds. If this
process is killed, the kernel kills the command (PR_SET_PDEATHSIG).

The command has a session of its own, and this process adopts its orphans (PR_SET_CHILD_SUBREAPER), so also what put
itself into the background is found among its descendants. Limits that the kernel keeps per process (memory, CPU) are
also watched over all of them together, 20 times a second, since a number of processes is only limited per user.

REPORT gets two lines of JSON: {"pid"} or {"error"}, then {"exit_code", "ended_for"}."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import select
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any, NoReturn

WATCH_S = 0.05
TERM_S = 0.8
KILL_S = 1.0
FILES_MAX = 256
TICKS = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
LISTED = os.path.exists(f"/proc/self/task/{os.getpid()}/children")
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER = 1, 38, 36
_libc = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> int:
    """Run the command to its end, or to ours."""
    control, report, limits = int(arguments[0]), int(arguments[1]), json.loads(arguments[2])
    command = arguments[4:]
    wake, told = os.pipe()
    os.set_blocking(told, False)
    signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    pid, error = _start(command, limits)
    _say(report, {"error": error} if error else {"pid": pid})
    if not error:
        watcher = Watcher(pid, limits)
        ended_for = watcher.watch(control, wake)
        watcher.end_all(gently=ended_for is not None)
        _say(report, {"exit_code": watcher.exit_code, "ended_for": ended_for})
    shutil.rmtree(limits["scratch"], ignore_errors=True)
    return 0


def _start(command: list[str], limits: dict[str, Any]) -> tuple[int, str]:
    """The command's process; or why it could not be started."""
    failed, told = os.pipe()
    mine = os.getpid()
    pid = os.fork()
    if pid == 0:
        try:
            _become(command, limits, told, mine)
        except BaseException as fault:
            number = fault.errno if isinstance(fault, OSError) else None
            os.write(told, (os.strerror(number) if number else repr(fault)).encode())
        os._exit(127)
    os.close(told)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):  # the command's own from here on: whoever waits for their end waits for nobody else
        os.dup2(nothing, stream)
    with open(failed, "rb") as reading:
        error = reading.read().decode(errors="replace")
    if error:
        os.waitpid(pid, 0)
    return pid, error


def _become(command: list[str], limits: dict[str, Any], told: int, launcher: int) -> NoReturn:
    """In the new process: give up what is not needed, then become the command."""
    os.setsid()
    for number in range(1, signal.NSIG):
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.set_wakeup_fd(-1)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (FILES_MAX, FILES_MAX))
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits["file_bytes"], limits["file_bytes"]))
    resource.setrlimit(resource.RLIMIT_DATA, (limits["memory_bytes"], limits["memory_bytes"]))
    resource.setrlimit(resource.RLIMIT_CPU, (limits["cpu_s"], limits["cpu_s"] + 1))
    os.umask(0o077)
    if limits.get("user") is not None:
        uid, gid = limits["user"]
        resource.setrlimit(resource.RLIMIT_NPROC, (limits["processes"], limits["processes"]))
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != launcher:
        os._exit(127)
    os.set_inheritable(told, False)
    os.closerange(3, told)
    os.closerange(told + 1, FILES_MAX * 16)
    os.chdir(limits["folder"])
    os.execve(command[0], command, dict(os.environ))


class Watcher:
    """Looks after the command and all that it starts."""

    def __init__(self, pid: int, limits: dict[str, Any]) -> None:
        self.exit_code: int | None = None
        self._pid = pid
        self._limits = limits
        self._reaped_s = 0.0

    def watch(self, control: int, wake: int) -> str | None:
        """Wait for the command's own end (none), or say why it is to end: stopped, memory, cpu, processes."""
        while True:
            ready, _, _ = select.select([control, wake], [], [], WATCH_S)
            if wake in ready:
                os.read(wake, 4096)
            self._reap()
            if self.exit_code is not None:
                return "cpu" if self.exit_code == -signal.SIGXCPU else None
            if control in ready:
                return "stopped"
            over = self._over()
            if over:
                return over

    def end_all(self, *, gently: bool) -> None:
        """Nothing that the command started goes on after this."""
        if gently:
            self._signal(signal.SIGTERM)
            end_s = time.monotonic() + TERM_S
            while time.monotonic() < end_s and self._left():
                select.select([], [], [], 0.01)
        end_s = time.monotonic() + KILL_S
        while self._left() and time.monotonic() < end_s:
            self._signal(signal.SIGKILL)
            self._reap()

    def _signal(self, number: int) -> None:
        """The command's group at once (also one that multiplies), then every descendant that left it."""
        for pid in [-self._pid, *descendants()]:
            with contextlib.suppress(OSError):
                os.kill(pid, number) if pid > 0 else os.killpg(-pid, number)

    def _left(self) -> bool:
        self._reap()
        return next(descendants(), None) is not None

    def _reap(self) -> None:
        """Take note of everything that ended."""
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._reaped_s += used.ru_utime + used.ru_stime
            if pid == self._pid:
                self.exit_code = os.waitstatus_to_exitcode(status)

    def _over(self) -> str | None:
        """Which limit all of them together are over."""
        memory, cpu_s = 0, self._reaped_s
        for count, pid in enumerate(descendants(), 1):
            with contextlib.suppress(OSError, ValueError, IndexError):
                with open(f"/proc/{pid}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
                cpu_s += sum(int(ticks) for ticks in fields[11:15]) / TICKS
                memory += int(fields[21]) * PAGE_BYTES
            if count > self._limits["processes"]:
                return "processes"
        if memory > self._limits["memory_bytes"]:
            return "memory"
        return "cpu" if cpu_s > self._limits["cpu_s"] else None


def descendants() -> Iterator[int]:
    """Ids of all processes below this one, as far as they can be seen while they change."""
    waiting, seen = [os.getpid()], set()
    while waiting:
        parent = waiting.pop()
        for child in _children(parent):
            if child not in seen:
                seen.add(child)
                waiting.append(child)
                yield child


def _children(pid: int) -> list[int]:
    if not LISTED:
        return [child for child, parent in _parents() if parent == pid]
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children", "rb") as file:
                found += [int(child) for child in file.read().split()]
    return found


def _parents() -> Iterator[tuple[int, int]]:
    """Every process of the machine with its parent: for kernels that list no children."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                yield int(name), int(file.read().rpartition(b")")[2].split()[1])


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")


def _say(report: int, what: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        os.write(report, json.dumps(what).encode() + b"\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
