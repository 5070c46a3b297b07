"""Simulated robots: their documents as a person's authorisation leaves them, and their heartbeats over the real broker.

Each robot's beats carry the robot's own broker user, and the scheduler believes them for that reason only. Two hundred
connections in one process would cost more than the rest of the test, so one connection speaks for all: its user has
the tag `impersonator`, which is RabbitMQ's own right to set another user's name
(https://www.rabbitmq.com/docs/validated-user-id). The robots' own users are made by the schedulers, as ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
import pika

from shared.broker.link import Channel, open_link
from shared.contracts.envelope import encode
from shared.contracts.messages.worker_heartbeat import JournalPosition, WorkerHeartbeat
from shared.contracts.topology import WORKERS, worker_user
from shared.mongo import Mongo
from shared.obs.clock import now
from shared.obs.ids import new_id
from tests.fleet.cutting import cut_off
from tests.fleet.ledger import Ledger
from tests.fleet.scene import Robot

BEAT_S = 4.0
"""Half as often as real ones: two cores carry all of them."""
SLICES = 20
"""In so many parts the robots beat within BEAT_S."""


class Robots:
    """All robots, and what each of them knows of itself."""

    def __init__(self, robots: Sequence[Robot], ledger: Ledger) -> None:
        self.robots = list(robots)
        self._ledger = ledger
        self._runs: dict[str, str] = {}
        self._epochs: dict[str, int] = {robot.id: 0 for robot in robots}
        self._beats = 0
        self._session = new_id("s_")

    async def insert(self, mongo: Mongo) -> None:
        """Their documents, authorised; their heartbeats will connect them."""
        await mongo["workers"].insert_many([_document(robot) for robot in self.robots])

    def claimed(self, run: Mapping[str, Any]) -> None:
        """A run on a robot was claimed: the robot refuses an epoch that is not higher than all it has seen."""
        worker, epoch = run["worker"], int(run["epoch"])
        if epoch <= self._epochs[worker]:
            self._ledger.complain(
                f"robot {worker} was at epoch {self._epochs[worker]} when {run['_id']} came with {epoch}"
            )
        if worker in self._runs:
            self._ledger.complain(f"robot {worker} had run {self._runs[worker]} when {run['_id']} came")
        self._epochs[worker] = epoch
        self._runs[worker] = run["_id"]
        self._ledger.epochs[worker].append(epoch)

    def ended(self, run: Mapping[str, Any]) -> None:
        """The run on a robot is over."""
        if self._runs.get(run["worker"]) == run["_id"]:
            del self._runs[run["worker"]]

    @contextlib.asynccontextmanager
    async def beating(self, amqp_url: str, admin_url: str) -> AsyncIterator[None]:
        """All of them send heartbeats."""
        async with _impersonator(amqp_url, admin_url) as url:
            link = await open_link(url, "fleet-robots")
            channel = await link.channel()
            beating = asyncio.create_task(self._beat(channel))
            try:
                yield
            finally:
                await cut_off(beating)
                await link.close()
            if channel.closed.done() and channel.closed.result().code not in (0, 200):
                self._ledger.complain(f"the robots' channel was closed: {channel.closed.result()}")

    async def _beat(self, channel: Channel) -> None:
        """A part of the robots at a time, so that their beats are spread as in life."""
        while True:
            self._beats += 1
            for part in range(SLICES):
                for robot in self.robots[part::SLICES]:
                    self._publish(channel, robot)
                await asyncio.sleep(BEAT_S / SLICES)

    def _publish(self, channel: Channel, robot: Robot) -> None:
        run = self._runs.get(robot.id)
        beat = WorkerHeartbeat(
            worker=robot.id, session=self._session, journal=JournalPosition(id=f"j_{robot.id}", counter=self._beats),
            beat=self._beats, driver="busy" if run else "ready", run=run, epoch=self._epochs[robot.id],
        )  # fmt: skip
        body = encode(beat, id=new_id(), sent_at=now(), sender=robot.id)
        properties = pika.BasicProperties(content_type="application/json", user_id=worker_user(robot.id))
        if not channel.tell("basic_publish", WORKERS, f"heartbeat.{robot.id}", body, properties):
            self._ledger.complain("the robots' channel is closed")


@contextlib.asynccontextmanager
async def _impersonator(amqp_url: str, admin_url: str) -> AsyncIterator[str]:
    """A broker user that may speak for others; the URL with which it logs in."""
    parts = urlsplit(amqp_url)
    user, password, vhost = f"fleet-{secrets.token_hex(4)}", secrets.token_hex(16), quote(parts.path[1:], safe="")
    rights = {"configure": "^$", "write": f"^{WORKERS}$", "read": "^$"}
    async with httpx.AsyncClient(base_url=admin_url, timeout=20) as admin:
        made = await admin.put(f"/api/users/{user}", json={"password": password, "tags": "impersonator"})
        made.raise_for_status()
        (await admin.put(f"/api/permissions/{vhost}/{user}", json=rights)).raise_for_status()
        try:
            yield parts._replace(netloc=f"{user}:{password}@{parts.hostname}:{parts.port}").geturl()
        finally:
            await admin.delete(f"/api/users/{user}")


async def forget_users(admin_url: str) -> None:
    """Remove the robots' users from the broker: users belong to no virtual host, so they outlive the test's."""
    async with httpx.AsyncClient(base_url=admin_url, timeout=20) as admin:
        users = [user["name"] for user in (await admin.get("/api/users")).json()]
        mine = [name for name in users if name.startswith("worker.02fee7")]
        (await admin.post("/api/users/bulk-delete", json={"users": mine})).raise_for_status()


def _document(robot: Robot) -> dict[str, Any]:
    return {
        "_id": robot.id, "schema_version": 1, "addresses": [robot.id], "name": f"robot {robot.id}", "os": "",
        "agent_version": "", "drivers": [], "account": robot.account, "key_hash": "", "authorisation": "authorised",
        "authorised_by": "fleet", "authorised_at": now(), "grant": 1, "doubt": None, "connected": False,
        "status": "waiting", "mode": "run", "epoch": 0, "run": None, "journal": None, "session": None,
        "sessions_gone": [], "seen": {}, "enrolled_at": now(), "op": "", "tags": list(robot.tags),
        "workflows": None if robot.workflows is None else list(robot.workflows), "exclusive": None, "schedule": None,
        "quarantine": None, "failures": 0, "drain": None,
    }  # fmt: skip
