"""Loops that really stand still, in a real process: health says which, the stacks are logged once, systemd is told."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.shared.test_service import DEADLINE_S, Process, _status


@pytest.fixture
def start(tmp_path: Path, amqp_url: str, mongo_url: str, mongo_db: str) -> Iterator[Callable[..., Process]]:
    made: list[Process] = []

    def begin(**settings: str) -> Process:
        common = {"REGENTE_AMQP_URL": amqp_url, "REGENTE_MONGO_URL": mongo_url, "REGENTE_MONGO_DB": mongo_db,
                  "SAMPLE_WAITS": str(tmp_path / "waits"), "SAMPLE_BLOCKS": str(tmp_path / "blocks"),
                  "REGENTE_WATCHDOG_S": "4"}  # fmt: skip
        made.append(Process(tmp_path, **{**common, **settings}))
        made[-1].until(lambda: _status(made[-1], "/readyz", 200), "ready")
        return made[-1]

    yield begin
    for process in made:
        process.child.kill()
        process.child.wait()


def told(process: Process) -> list[dict[str, Any]]:
    lines = process.text().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith("\n")]
    return [line for line in map(json.loads, whole) if line["event"] == "a loop stands still"]


def test_a_sweep_that_never_ends_is_named_and_shown(start: Callable[..., Process], tmp_path: Path) -> None:
    process = start()
    assert _status(process, "/healthz", 200)
    (tmp_path / "waits").touch()
    process.until(lambda: _status(process, "/healthz", 503), "unhealthy")
    answer = process.get("/healthz")
    assert answer is not None
    assert answer.json()["hung"] == ["sample.waits"]
    metrics = process.get("/metrics")
    assert metrics is not None
    assert 'regente_loops_hung{loop="sample.waits"} 1.0' in metrics.text
    process.until(lambda: told(process), "the stacks")
    (line,) = told(process)
    assert line["loop"] == "sample.waits"
    assert "wait_for_ever" in line["stacks"], "where it waits"
    assert "task sweeper-sample.waits" in line["stacks"]
    (tmp_path / "waits").unlink()
    process.until(lambda: _status(process, "/healthz", 200), "healthy again")
    assert len(told(process)) == 1
    assert "a loop turns again" in process.events()


def test_systemd_hears_of_a_process_until_its_event_loop_is_blocked(
    start: Callable[..., Process], tmp_path: Path
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(DEADLINE_S)
        process = start(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="1000000")
        heard: list[bytes] = []
        while heard.count(b"WATCHDOG=1") < 3 or b"READY=1" not in heard:
            heard.append(systemd.recv(100))
        (tmp_path / "blocks").touch()
        process.until(lambda: told(process), "the stacks")
        assert {line["loop"] for line in told(process)} <= {"event loop", "sample.blocks", "lease.sample"}
        assert any("block_everything" in line["stacks"] for line in told(process))
        systemd.setblocking(False)
        while _pending(systemd):
            pass
        silent_since = time.monotonic()
        systemd.settimeout(3.0)
        with pytest.raises(TimeoutError):
            systemd.recv(100)
        assert time.monotonic() - silent_since >= 2.9
        (tmp_path / "blocks").unlink()
        systemd.settimeout(DEADLINE_S)
        assert systemd.recv(100) == b"WATCHDOG=1", "it lives again"
        process.child.terminate()
        assert process.child.wait(20) == 0
        rest = [systemd.recv(100)]
        while rest[-1] != b"STOPPING=1":
            rest.append(systemd.recv(100))


def _pending(systemd: socket.socket) -> bool:
    try:
        return bool(systemd.recv(100))
    except BlockingIOError:
        return False
