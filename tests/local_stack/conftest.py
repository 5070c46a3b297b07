"""What the local stack's tests share: a folder and ports of their own, and a look at what is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local.processes import kill_marked, marked
from deploy.local.settings import PORTS, free_ports, read_settings

GONE_S = 15.0


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """An installation's folder that shares the fetched parts with the project's own."""
    parts = read_settings().home / "parts"
    parts.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = tmp_path / "home"
    folder.mkdir(mode=0o700)
    (folder / "parts").symlink_to(parts)
    yield folder
    kill_marked(f"{folder}#")


@pytest.fixture
def env(home: Path) -> dict[str, str]:
    """The environment of a stack in that folder, on free ports, with servers of its own."""
    given = {name: value for name, value in os.environ.items() if name not in ("REGENTE_AMQP_URL", "REGENTE_MONGO_URL")}
    ports = free_ports(tuple(PORTS))
    return {**given, "REGENTE_HOME": str(home), **{PORTS[name][0]: str(port) for name, port in ports.items()}}


def wait_for(what: Callable[[], bool], limit_s: float = GONE_S) -> bool:
    """Whether it became true in time."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.02)
    return what()


def wait_line(child: subprocess.Popen[str], text: str) -> str:
    """Read a program's output up to the line that holds a text; all of what was read. Ends with the program."""
    assert child.stdout is not None
    read = ""
    for line in child.stdout:
        read += line
        if text in line:
            return read
    return read


def launcher_below(guardian: int) -> int:
    """The pid of the launcher below a guardian."""
    return int(Path(f"/proc/{guardian}/task/{guardian}/children").read_text().split()[0])


def nothing_left(home: Path) -> bool:
    """Whether no process of a stack is alive any more."""
    return wait_for(lambda: not marked(f"{home}#"))


def kill(*pids: int) -> None:
    """kill -9."""
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
