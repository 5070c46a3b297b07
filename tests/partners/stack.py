"""A collector and a delivery on one broker and database, and an account whose tasks a stand-in for the executor ends.

The stand-in makes the very writes that scheduler and executor make at the end of a task (the hand-over to delivery
included), so what delivery sees is real."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from gridfs import GridFSBucket

from regente_client import AsyncClient, Client, RetryPolicy
from services.executor.core.ending import TaskOutcome
from services.executor.store import ExecutorStore
from shared.contracts.messages import TaskFinished
from shared.domain.task_state import TaskState
from shared.mongo import Mongo
from shared.seal import Sealer
from tests.integration.collector.running import MASTER_KEY, Ground, Instance, running

SCOPES = ("tasks", "results", "endpoints")
WORKFLOW = "tax-certificate"
SCHEMA = {
    "type": "object",
    "required": ["registration"],
    "properties": {"registration": {"type": "string", "pattern": "^[0-9]+$"}},
}
HERE = "127.0.0.0/8,::1/128"
"""Partners of these tests stand on this machine."""
ENV = {
    "REGENTE_DELIVERY_SCHEDULE_S": "0.05,0.1,0.2,0.4,0.8",
    "REGENTE_DELIVERY_TIMEOUT_S": "3",
    "REGENTE_DELIVERY_POLL_S": "0.05",
    "REGENTE_SWEEP_S": "0.3",
    "REGENTE_DELIVERY_PRIVATE_ALLOWED": HERE,
    "REGENTE_SOURCES_PRIVATE_ALLOWED": HERE,
    "REGENTE_CANCEL_WAIT_S": "0.2",
}
QUICK = RetryPolicy(base_s=0.05, wait_s_max=0.5)


@dataclass
class Account:
    """An account with the workflow `tax-certificate`, whose outcomes go to the endpoint `orders`, and a key."""

    name: str
    key: str
    ground: Ground
    collector: str
    delivery: str

    @property
    def db(self) -> Any:
        """The database as it is."""
        return self.ground.db

    def client(self, **more: Any) -> Client:
        """The partner's client."""
        return Client(self.collector, key=self.key, delivery=self.delivery, retry=QUICK, **more)

    def async_client(self) -> AsyncClient:
        """The partner's other client."""
        return AsyncClient(self.collector, key=self.key, delivery=self.delivery, retry=QUICK)

    def finish(self, id: str, *, evidence: bytes | None = None, state: str = "succeeded") -> list[dict[str, Any]]:
        """End a queued task, with a hint; its evidence."""
        kept = [self.add_evidence(id, evidence)] if evidence is not None else []

        async def end() -> None:
            async with Finisher(self.ground) as finisher:
                assert await finisher.end(id, TaskOutcome(state, output={"protocol": f"P-{id[-6:]}"}), kept)

        asyncio.run(end())
        self.ground.publish("task.finished", TaskFinished(task=id, event=state))
        return kept

    def add_evidence(self, task: str, data: bytes) -> dict[str, Any]:
        """Keep a picture as the executor does, for a task; its entry on the task."""
        sha256 = hashlib.sha256(data).hexdigest()
        file = GridFSBucket(self.db, bucket_name="blobs").upload_from_stream(sha256, data)
        self.db["evidence"].update_one({"_id": sha256}, {"$setOnInsert": {"file": file}}, upsert=True)
        entry = {"name": "issued", "sha256": sha256, "media_type": "image/png", "size_bytes": len(data)}
        id = f"ev_{hashlib.sha256(task.encode()).hexdigest()[:16]}"
        link = {"_id": id, "account": self.name, "task": task, "at": datetime.now(UTC), "dropped": False, **entry}
        self.db["evidence_links"].insert_one(link)
        return {"id": id, **entry}


class Finisher:
    """Stands in for scheduler and executor at the end of tasks; ends them by the executor's own writes."""

    def __init__(self, on: Ground) -> None:
        self._mongo = Mongo(on.mongo_url, on.db.name)
        self._store = ExecutorStore(self._mongo, Sealer(MASTER_KEY))

    async def __aenter__(self) -> Finisher:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._mongo.close()

    async def end(self, id: str, outcome: TaskOutcome, evidence: list[dict[str, Any]]) -> bool:
        """A queued task runs and ends; false when it was not queued."""
        held_by = {"run": f"run_{id}", "attempt": 1, "epoch": 1}
        opened: Mapping[str, Any] = {
            "$set": {"state": TaskState.RUNNING, "held_by": held_by, "attempts": 1}, "$unset": {"queue": ""},
        }  # fmt: skip
        done = await self._mongo["tasks"].update_one({"_id": id, "state": TaskState.QUEUED}, opened)
        return bool(done.modified_count) and await self._store.end_task(id, held_by, 1, outcome, evidence)


class _Server(ThreadingHTTPServer):
    """Says nothing when a caller is killed in the middle of a call."""

    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Side:
    """A partner's own server: keeps what is posted to it; what it answers can be replaced."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        self._came = threading.Condition()
        side = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                side.answer(self)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Take it."""
        body = request.rfile.read(int(request.headers["content-length"]))
        with self._came:
            self.got.append(({name.lower(): value for name, value in request.headers.items()}, body))
            self._came.notify_all()
        request.send_response(204)
        request.end_headers()

    def wait_for(self, count: int, deadline_s: float = 20) -> list[tuple[dict[str, str], bytes]]:
        """Until that many have come."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.got) >= count, deadline_s), f"{len(self.got)} of {count} came"
            return list(self.got)

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


_numbers = itertools.count(1)


def add_account(on: Ground, collector: str, delivery: str, *, name: str = "") -> Account:
    """A new account."""
    name = name or f"partner{next(_numbers)}"
    settings = {"priority": 1, "delivery": {"endpoint": "orders", "events": ["succeeded", "failed", "held"]}}
    workflow = {"_id": f"{name}/{WORKFLOW}", "account": name, "name": WORKFLOW, "current": 1, "settings": settings}
    version = {"_id": f"{name}/{WORKFLOW}/1", "account": name, "workflow": WORKFLOW, "number": 1, "input": SCHEMA}
    on.db["workflows"].insert_one(workflow)
    on.db["versions"].insert_one({**version, "published_at": datetime.now(UTC)})
    on.db["accounts"].insert_one({"_id": name, "name": name, "title": name, "settings": {}})
    key = on.key(name, *SCOPES)["Authorization"].removeprefix("Bearer ")
    return Account(name, key, on, collector, delivery)


@contextmanager
def services(on: Ground, folder: Path) -> Iterator[tuple[Instance, Instance]]:
    """A collector and a delivery."""
    with (
        running("collector", on, folder, **ENV) as collector,
        running("delivery", on, folder, **ENV, REGENTE_COLLECTOR_URL=collector.url) as delivery,
    ):
        yield collector, delivery
