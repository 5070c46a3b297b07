"""One delivery process for the tests of this folder, and a partner's side that answers as it is told."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from shared.contracts.messages import CommandIssued, TaskFinished
from shared.obs.ids import new_id
from tests.integration.collector.running import Ground, Instance, ground, running, until

SCHEDULE = "0.05,0.1"


@dataclass(frozen=True)
class Answer:
    """What the partner's side says to one request."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"ok"
    wait: threading.Event | None = None
    """Answers only when this is set."""
    cut: bool = False
    """Closes the connection in the middle of the answer."""


@dataclass(frozen=True)
class Got:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    def verify(self, secret: str) -> dict[str, Any]:
        """The content, verified as a partner does it."""
        found: dict[str, Any] = Webhook(secret).verify(self.body, self.headers)
        return found


class PartnerSide:
    """An HTTP server that keeps what it gets; per path it answers by its list, and 200 after that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._got: list[Got] = []
        self._answers: dict[str, list[Answer]] = {}
        side = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                side.answer(self)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """One request."""
        body = request.rfile.read(int(request.headers["content-length"]))
        with self._lock:
            self._got.append(Got(request.path, {k.lower(): v for k, v in request.headers.items()}, body))
            left = self._answers.get(request.path)
            chosen = left.pop(0) if left else Answer()
        if chosen.wait is not None:
            chosen.wait.wait(30)
        if chosen.cut:
            request.close_connection = True
            request.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")
            return
        try:
            request.send_response(chosen.status)
            for name, value in chosen.headers.items():
                request.send_header(name, value)
            request.send_header("content-length", str(len(chosen.body)))
            request.end_headers()
            request.wfile.write(chosen.body)
        except (BrokenPipeError, ConnectionResetError):
            request.close_connection = True

    def will(self, path: str, *answers: Answer) -> None:
        """What the next requests to a path are answered."""
        self._answers[path] = list(answers)

    def got(self, path: str) -> list[Got]:
        """What came to a path."""
        with self._lock:
            return [request for request in self._got if request.path == path]

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


@dataclass
class Account:
    """An account with a workflow `tax` that names the endpoint `hook`."""

    name: str
    http: httpx.Client
    ground: Ground
    side: PartnerSide
    secret: str = ""

    @property
    def db(self) -> Any:
        """The database as it is."""
        return self.ground.db

    @property
    def path(self) -> str:
        """Where its endpoint posts to."""
        return f"/{self.name}"

    def endpoint(self, **fields: Any) -> None:
        """Make its endpoint."""
        answer = self.http.put("/v1/endpoints/hook", json={"url": self.side.url + self.path, **fields})
        assert answer.status_code in (200, 201), answer.text
        self.secret = answer.json()["secret"] or self.secret

    def finish(self, event: str = "succeeded", *, hint: bool = True, **fields: Any) -> str:
        """A task that the executor has just ended; its id."""
        id, at = new_id("task_"), datetime.now(UTC)
        pending = {"to": "delivery", "what": event, "since": at, "due_at": at, "claims": 0}
        self.db["tasks"].insert_one(
            {
                "_id": id, "schema_version": 1, "account": self.name, "workflow": "tax", "batch": "batch_1",
                "reference": id, "state": event, "attempts": 1, "created_at": at, "finished_at": at,
                "result": {"output": {"protocol": "P-1"}} if event == "succeeded" else None, "error": None,
                "evidence": [], "hold": None, "pending": pending, "events": {event: 1}, "traceparent": None, **fields,
            }
        )  # fmt: skip
        if hint:
            self.ground.publish("task.finished", TaskFinished(task=id, event=event))
        return id

    def delivery(self, task: str, event: str = "succeeded") -> dict[str, Any] | None:
        """The delivery of a task's event."""
        found: dict[str, Any] | None = self.db["deliveries"].find_one({"_id": f"{task}:hook:{event}"})
        return found

    def until_delivery(self, task: str, state: str, event: str = "succeeded", deadline_s: float = 20) -> dict[str, Any]:
        """Wait until a delivery is in a state."""

        def reached() -> dict[str, Any] | None:
            found = self.delivery(task, event)
            return found if found and found["state"] == state else None

        return until(reached, f"{task} {event} {state}: {self.delivery(task, event)}", deadline_s)

    def command(self, kind: str, args: dict[str, Any]) -> dict[str, Any]:
        """Issue a command as the console does, and wait for its end."""
        id, at = new_id("cmd_"), datetime.now(UTC)
        self.db["commands"].insert_one(
            {"_id": id, "schema_version": 1, "kind": kind, "to": "delivery", "target": "", "args": args, "by": "ann",
             "state": "pending", "reason": None, "claims": 0, "due_at": at, "created_at": at, "ended_at": None}
        )  # fmt: skip
        self.ground.publish("command.delivery", CommandIssued(command=id, to="delivery"))
        return until(lambda: self.db["commands"].find_one({"_id": id, "state": {"$ne": "pending"}}), f"{kind} ended")


@pytest.fixture(scope="session")
def delivery_ground(servers: Any) -> Iterator[Ground]:
    """Vhost and database of delivery's tests."""
    with ground(servers.amqp, servers.amqp_admin, servers.mongo) as made:
        yield made


ENV = {
    "REGENTE_COLLECTOR_URL": "http://collector.test",
    "REGENTE_DELIVERY_SCHEDULE_S": SCHEDULE,
    "REGENTE_DELIVERY_TIMEOUT_S": "3",
    "REGENTE_DELIVERY_POLL_S": "0.05",
    "REGENTE_DELIVERY_BREAKER_PAUSE_S": "0.2",
    "REGENTE_DELIVERY_BREAKER_PAUSE_MAX_S": "0.5",
    "REGENTE_DELIVERY_PRIVATE_ALLOWED": "127.0.0.0/8,::1/128",
    "REGENTE_SWEEP_S": "0.3",
    "REGENTE_RETENTION_SWEEP_S": "0.3",
    "REGENTE_EVIDENCE_GRACE_S": "0.5",
}


@pytest.fixture(scope="session")
def delivery(delivery_ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """The process."""
    with running("delivery", delivery_ground, tmp_path_factory.mktemp("delivery"), **ENV) as instance:
        yield instance


@pytest.fixture(scope="session")
def side() -> Iterator[PartnerSide]:
    """The partner's side."""
    made = PartnerSide()
    yield made
    made.close()


_numbers = itertools.count(1)


@pytest.fixture
def account(delivery: Instance, delivery_ground: Ground, side: PartnerSide) -> Iterator[Account]:
    """A new account; its endpoint is made by the test."""
    with opened(delivery, delivery_ground, side) as made:
        yield made


class opened:  # noqa: N801 - reads as a verb where it is used
    """A new account against an instance."""

    def __init__(self, instance: Instance, on: Ground, side: PartnerSide) -> None:
        name = f"acme{next(_numbers)}"
        settings = {"delivery": {"endpoint": "hook", "events": ["succeeded", "failed", "held"]}}
        workflow = {"_id": f"{name}/tax", "account": name, "name": "tax", "current": 1, "settings": settings}
        on.db["workflows"].insert_one(workflow)
        http = httpx.Client(base_url=instance.url, headers=on.key(name, "results", "endpoints"), timeout=20)
        self._account = Account(name, http, on, side)

    def __enter__(self) -> Account:
        return self._account

    def __exit__(self, *_: object) -> None:
        self._account.http.close()
