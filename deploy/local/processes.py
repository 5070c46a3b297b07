"""Child processes that can't outlive us: how they are started, and how all of them end.

Called by: servers.py, launcher.py. Three nets, one below the other: an orderly stop; the kernel's parent-death
signal, which kills a child when the process that started it dies in whatever way; and the guardian, a parent above
the launcher that adopts every orphan of its descendants and kills what is left when the launcher is gone. So nothing
is left behind even after `kill -9`."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deploy.local.console_lines import StackError

PR_SET_PDEATHSIG = 1
MARK = "REGENTE_STACK_MARK"
"""Setting that names the launch (`<folder>#<name>#<n>`) a process belongs to; nothing but this module reads it."""
LOG_SIZE_BYTES_MAX = 20 * 1024 * 1024
LOGS_KEPT = 3

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Process:
    """What is to be kept running."""

    name: str
    """Unique, such as executor-1; also the name of its log."""
    service: str
    """What it is, such as executor."""
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the stack's own environment."""
    port: int | None = None
    ready: str | None = None
    """Path that answers 200 on `port` once it is ready (https:// for TLS); none: it is ready when it runs."""


def start(
    process: Process, *, env: Mapping[str, str], log: Path, mark: str, cwd: Path | None = None
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, marked, with its output in a log.

    From the main thread it dies with us: the kernel counts the thread that forked as the parent, so a child that
    another thread starts would die with that thread, and is left without that net.
    """
    rotate(log)
    ours = os.getpid()
    mortal = threading.current_thread() is threading.main_thread()
    try:
        with log.open("ab") as output:
            return subprocess.Popen(
                list(process.argv),
                env={**env, **process.env, MARK: mark},
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=(lambda: die_with_parent(ours)) if mortal else None,
            )
    except OSError as error:
        raise StackError(f"{process.name} can't be started: {error}") from error


def die_with_parent(parent: int, number: int = signal.SIGKILL) -> None:
    """In a child, before it does anything else: get this signal when the parent dies, also if it died just now."""
    _libc.prctl(PR_SET_PDEATHSIG, number, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def rotate(log: Path) -> None:
    """Move a log aside when it has grown large; the newest few are kept."""
    if not log.exists() or log.stat().st_size < LOG_SIZE_BYTES_MAX:
        return
    for n in range(LOGS_KEPT - 1, 0, -1):
        older = log.with_suffix(f".log.{n}")
        if older.exists():
            older.rename(log.with_suffix(f".log.{n + 1}"))
    log.rename(log.with_suffix(".log.1"))


def stop_all(children: Sequence[subprocess.Popen[bytes]], grace_s: float) -> None:
    """Ask processes to end, all at once; those that have not after `grace_s` are killed, with their group."""
    for child in children:
        if child.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    for child in children:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=max(0.01, deadline - time.monotonic()))
        kill_group(child)


def kill_group(child: subprocess.Popen[bytes]) -> None:
    """Kill a process and whatever is left of its session's group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=5)


def kill_marked(prefix: str) -> list[int]:
    """Kill every process whose mark starts so, until a look finds none, since they may be forking; their pids."""
    killed: list[int] = []
    for _ in range(50):
        found = marked(prefix)
        if not found:
            break
        killed += [pid for pid in found if pid not in killed]
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    return killed


def marked(prefix: str) -> list[int]:
    """Pids of the live processes whose mark starts so."""
    wanted = f"{MARK}={prefix}".encode()
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if any(item.startswith(wanted) for item in (entry / "environ").read_bytes().split(b"\0")):
                found.append(int(entry.name))
    return [pid for pid in found if pid != os.getpid()]
