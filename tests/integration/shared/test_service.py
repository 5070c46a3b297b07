"""The skeleton of a service, as a real process: starting before its servers, readiness, signals, ports."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo import MongoClient

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).parent / "sample_service.py"
DEADLINE_S = 40.0
NOWHERE = {"REGENTE_AMQP_URL": "amqp://a:b@127.0.0.1:1/", "REGENTE_MONGO_URL": "mongodb://127.0.0.1:1/"}


class Process:
    """The service, and what it wrote."""

    def __init__(self, folder: Path, **settings: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(settings.get("REGENTE_HTTP_PORT", probe.getsockname()[1]))
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "REGENTE_MASTER_KEY": base64.b64encode(bytes(32)).decode(),
            "REGENTE_HTTP_PORT": str(self.port),
            **settings,
        }
        self._log = folder / "log"
        with self._log.open("wb") as out:
            self.child = subprocess.Popen([sys.executable, str(PROGRAM)], env=environment, stderr=out, cwd=folder)

    def get(self, path: str) -> httpx.Response | None:
        """None while it does not listen."""
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}{path}", timeout=10)
        except httpx.TransportError:
            return None

    def text(self) -> str:
        """What it wrote to stderr."""
        return self._log.read_text()

    def lines(self) -> list[dict[str, Any]]:
        """Its log lines."""
        return [json.loads(line) for line in self.text().splitlines()]

    def events(self) -> list[str]:
        """Its log lines' texts."""
        return [line["event"] for line in self.lines()]

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait for a state."""
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            assert time.monotonic() < deadline, f"{what}\n{self.text()}"
            time.sleep(0.05)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    made: list[Process] = []

    def begin(**settings: str) -> Process:
        made.append(Process(tmp_path, **settings))
        return made[-1]

    yield begin
    for process in made:
        if process.child.poll() is None:
            process.child.kill()
        process.child.wait()


def _status(process: Process, path: str, status: int) -> bool:
    answer = process.get(path)
    return answer is not None and answer.status_code == status


def test_works_says_so_and_leaves_when_asked(start, amqp_url: str, mongo_url: str, mongo_db: str) -> None:
    process = start(REGENTE_AMQP_URL=amqp_url, REGENTE_MONGO_URL=mongo_url, REGENTE_MONGO_DB=mongo_db)
    process.until(lambda: _status(process, "/readyz", 200), "ready")
    metrics = process.get("/metrics")
    assert metrics is not None
    assert "regente_ready 1.0" in metrics.text
    assert "regente_broker_connected 1.0" in metrics.text
    process.child.send_signal(signal.SIGTERM)
    assert process.child.wait(20) == 0
    events = process.events()
    for event in ("service starts", "broker connected", "sample works", "service ready", "service stops"):
        assert event in events
    stopped = events.index("service stopped")
    assert events[stopped - 1] == "sample finished its work"
    assert {line["level"] for line in process.lines()[: stopped + 1]} == {"info"}
    late = {line["part"] for line in process.lines()[stopped + 1 :]}
    assert late <= {"logs", "database"}, "only what a full machine makes slow may be cut off"
    with MongoClient(mongo_url) as client:
        stored = {line["event"] for line in client[mongo_db]["logs"].find({"service": "sample"})}
    assert {"sample works", *(() if late else ("service stopped",))} <= stored


def test_starts_without_its_servers_and_says_what_is_missing(start) -> None:
    process = start(**NOWHERE)
    process.until(lambda: _status(process, "/healthz", 200), "alive")
    answer = process.get("/readyz")
    assert answer is not None
    assert answer.status_code == 503
    assert answer.json()["missing"] == ["the broker is not connected", "the database does not answer"]
    process.until(lambda: "waiting for the database" in process.events(), "a line about it")
    process.child.send_signal(signal.SIGINT)
    assert process.child.wait(20) == 0
    assert "Traceback" not in process.text()


def test_port_that_is_taken_is_one_line(start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        process = start(**NOWHERE, REGENTE_HTTP_PORT=str(taken.getsockname()[1]))
        assert process.child.wait(30) == 2
    (line,) = process.text().splitlines()
    assert line.startswith("sample: REGENTE_HTTP_PORT: can't listen on 127.0.0.1:")
