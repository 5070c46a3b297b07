"""One real service process for a test, on a vhost and a database of its own. Also used by the tests of delivery."""

from __future__ import annotations

import base64
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

import httpx
from pymongo import MongoClient
from pymongo.database import Database

from shared.contracts.envelope import Message, encode
from shared.contracts.topology import HANDOFFS
from shared.obs.ids import uuid7
from shared.runtime.auth import new_key

ROOT = Path(__file__).parents[3]
MASTER_KEY = bytes(range(32))
DEADLINE_S = 20.0
T = TypeVar("T")


def until(what: Callable[[], T], why: str, deadline_s: float = DEADLINE_S) -> T:
    """Wait until `what` returns something true; fail with `why` at the deadline."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {deadline_s:g} s: {why}")


@dataclass
class Ground:
    """A vhost and a database for one module's tests."""

    amqp_url: str
    amqp_admin_url: str
    mongo_url: str
    db: Database[dict[str, Any]]
    vhost: str

    def key(self, account: str, *scopes: str, **fields: Any) -> dict[str, str]:
        """Headers of a partner of this account with a new key."""
        id, plain, hashed = new_key()
        self.db["keys"].insert_one(
            {
                "_id": id,
                "schema_version": 1,
                "hash": hashed,
                "account": account,
                "partner": "erp",
                "scopes": list(scopes),
                "name": "test",
                "created_at": datetime.now(UTC),
                "revoked_at": None,
                "expires_at": None,
                **fields,
            }
        )
        return {"Authorization": f"Bearer {plain}"}

    def publish(self, routing_key: str, message: Message) -> None:
        """Send a hint, as another service would."""
        data = encode(message, id=uuid7(), sent_at=datetime.now(UTC), sender="test")
        payload = {
            "properties": {"delivery_mode": 2},
            "routing_key": routing_key,
            "payload": data.decode(),
            "payload_encoding": "string",
        }
        self._admin("POST", f"exchanges/{quote(self.vhost, safe='')}/{HANDOFFS}/publish", payload)

    def take(self, queue: str) -> list[dict[str, Any]]:
        """Messages that stand in a queue; they are taken out."""
        wanted = {"count": 1000, "ackmode": "ack_requeue_false", "encoding": "auto"}
        found: list[dict[str, Any]] = self._admin("POST", f"queues/{quote(self.vhost, safe='')}/{queue}/get", wanted)
        return found

    def _admin(self, method: str, path: str, body: dict[str, Any]) -> Any:
        answer = httpx.request(method, f"{self.amqp_admin_url}/api/{path}", json=body, timeout=20)
        answer.raise_for_status()
        return answer.json()


@dataclass
class Instance:
    """A running process of a service."""

    url: str
    process: subprocess.Popen[bytes]
    log: Path
    env: dict[str, str] = field(repr=False)

    def kill(self) -> None:
        """kill -9."""
        self.process.kill()
        self.process.wait(10)


@contextmanager
def ground(amqp: str, amqp_admin: str, mongo: str) -> Iterator[Ground]:
    """A fresh vhost and database; both go at the end."""
    vhost, name = f"test-{uuid.uuid4().hex[:12]}", f"test_{uuid.uuid4().hex[:12]}"
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    with (
        httpx.Client(base_url=amqp_admin, timeout=20) as admin,
        MongoClient[dict[str, Any]](mongo, tz_aware=True) as own,
    ):
        admin.put(f"/api/vhosts/{vhost}").raise_for_status()
        admin.put(f"/api/permissions/{vhost}/{urlsplit(amqp).username}", json=rights).raise_for_status()
        try:
            yield Ground(urlunsplit(urlsplit(amqp)._replace(path=f"/{vhost}")), amqp_admin, mongo, own[name], vhost)
        finally:
            admin.delete(f"/api/vhosts/{vhost}")
            own.drop_database(name)


@contextmanager
def running(
    name: str, on: Ground, folder: Path, instance: str = "", *, port: int = 0, **env: str
) -> Iterator[Instance]:
    """A process of a service, ready for requests; stopped with SIGTERM at the end. port: none: a free one."""
    started = launch(name, on, folder, instance, port=port, **env)
    try:
        wait_ready(started)
        yield started
    finally:
        if started.process.poll() is None:
            started.process.send_signal(signal.SIGTERM)
            try:
                started.process.wait(25)
            except subprocess.TimeoutExpired:
                started.kill()
                raise


def launch(name: str, on: Ground, folder: Path, instance: str = "", *, port: int = 0, **env: str) -> Instance:
    """Start a process of a service, without waiting. port: none: a free one."""
    port = port or free_port()
    whole = {
        **{key: value for key, value in os.environ.items() if not key.startswith("REGENTE_")},
        "REGENTE_AMQP_URL": on.amqp_url,
        "REGENTE_AMQP_ADMIN_URL": on.amqp_admin_url,
        "REGENTE_MONGO_URL": on.mongo_url,
        "REGENTE_MONGO_DB": on.db.name,
        "REGENTE_MASTER_KEY": base64.b64encode(MASTER_KEY).decode(),
        "REGENTE_HTTP_HOST": "127.0.0.1",
        "REGENTE_HTTP_PORT": str(port),
        "REGENTE_INSTANCE": instance or f"{name}-1",
        "REGENTE_HOME": str(folder),
        **env,
    }
    log = folder / f"{instance or name}-{port}.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", f"services.{name}"], cwd=ROOT, env=whole, stdout=out, stderr=subprocess.STDOUT
        )
    return Instance(f"http://127.0.0.1:{port}", process, log, whole)


def wait_ready(instance: Instance, deadline_s: float = 90.0) -> None:
    """Until its /readyz says yes; fails with its log when it ends instead."""

    def ready() -> bool:
        if instance.process.poll() is not None:
            raise AssertionError(f"it ended at its start:\n{instance.log.read_text()[-3000:]}")
        try:
            return httpx.get(f"{instance.url}/readyz", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    until(ready, f"{instance.url} ready", deadline_s)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
