"""A robot for tests, as the scheduler sees it: it enrols over HTTP, logs in to the real broker, beats, and logs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from shared.contracts.envelope import Message, encode
from shared.contracts.messages import JournalPosition, WorkerHeartbeat, WorkerLog, WorkerLogLine
from shared.contracts.topology import WORKERS, worker_user
from shared.obs.clock import now
from shared.obs.ids import uuid7

WORKER = "00155d01020a"


@dataclass
class Robot:
    """One robot and its connection. Every call to the broker runs in a thread: pika's simplest client blocks."""

    worker: str = WORKER
    key: str = "ab" * 32
    journal: str = "journal-1"
    counter: int = 1
    session: str = field(default_factory=lambda: uuid.uuid4().hex)
    beats: int = 0
    connection: pika.BlockingConnection | None = None
    channel: BlockingChannel | None = None

    def body(self, **fields: Any) -> dict[str, Any]:
        """What it sends to enrol."""
        return {
            "worker": self.worker, "addresses": [self.worker], "key": self.key, "name": "desk 10", "os": "Debian 12",
            "agent_version": "0.1.0", "drivers": ["browser"], "session": self.session,
            "journal": {"id": self.journal, "counter": self.counter}, **fields,
        }  # fmt: skip

    async def enrol(self, http: httpx.AsyncClient, **fields: Any) -> httpx.Response:
        """Ask for admission."""
        return await http.post("/v1/workers/enrol", json=self.body(**fields))

    async def connect(self, amqp: dict[str, Any]) -> None:
        """Log in with what the enrolment answered."""

        def work() -> None:
            host, port = amqp["hosts"][0].split(":")
            login = pika.PlainCredentials(amqp["user"], amqp["password"])
            self.connection = pika.BlockingConnection(pika.ConnectionParameters(host, int(port), amqp["vhost"], login))
            self.channel = self.connection.channel()

        await self.close()
        try:
            await asyncio.to_thread(work)
        except AMQPError:
            self.connection = self.channel = None
            _collect_sockets()
            raise

    async def close(self) -> None:
        """Log out, if it is still logged in; a robot that is doubted may be cut off while it does."""
        if self.connection is not None and self.connection.is_open:
            with contextlib.suppress(AMQPError):
                await asyncio.to_thread(self.connection.close)
        self.connection = self.channel = None
        _collect_sockets()

    async def beat(self, *, run: str | None = None, worker: str | None = None, epoch: int = 0, **fields: Any) -> None:
        """Send a sign of life (about `worker`, which should be itself)."""
        self.beats += 1
        await self.send(
            f"heartbeat.{self.worker}",
            WorkerHeartbeat(
                worker=worker or self.worker, session=self.session, beat=self.beats, driver="ready", run=run,
                epoch=epoch,
                journal=JournalPosition(id=self.journal, counter=self.counter), **fields,
            ),
        )  # fmt: skip

    async def log(self, *numbers: int) -> None:
        """Send lines of its log."""
        lines = [WorkerLogLine(n=n, at=now(), level="info", event=f"line {n}", fields={"a.b": n}) for n in numbers]
        await self.send(f"log.{self.worker}", WorkerLog(worker=self.worker, journal=self.journal, lines=lines))

    async def send(self, key: str, message: Message) -> None:
        """Publish in its own name."""
        body = encode(message, id=uuid7(), sent_at=now(), sender=self.worker)
        await self.on_channel(
            lambda channel: channel.basic_publish(
                WORKERS, key, body, pika.BasicProperties(user_id=worker_user(self.worker))
            )
        )

    async def on_channel(self, act: Callable[[BlockingChannel], Any]) -> Any:
        """Do something on its channel and see what the broker thinks of it.

        Raises: what pika raises when the broker closes the channel or the connection.
        """
        assert self.connection is not None
        assert self.channel is not None
        connection, channel = self.connection, self.channel

        def work() -> Any:
            done = act(channel)
            connection.process_data_events(0.05)
            return done

        return await asyncio.to_thread(work)

    async def new_channel(self) -> None:
        """After the broker closed the last one."""
        assert self.connection is not None
        self.channel = await asyncio.to_thread(self.connection.channel)
        await asyncio.to_thread(self.channel.confirm_delivery)


def _collect_sockets() -> None:
    """pika leaves the socket of a refused log-in, or of a connection that was cut, to the garbage collector."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
