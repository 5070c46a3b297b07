"""A broker in memory with the interface of shared.broker.Broker and, as far as tests can tell, its behaviour.

Called by: unit tests and the simulator; tests/conformance runs the same suite on this and on the real one. Survives a
crash: nothing. Change also: shared/broker.

Several StubBrokers may share one `StubServer`, as processes share a real broker. `lose_connection` and `wipe` are the
faults.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from shared.broker.delivery import Delivery, Handler
from shared.broker.errors import BrokerClosed, Unroutable
from shared.broker.settling import REASON_HEADER, Action, dead_headers, dead_key, handle
from shared.contracts.envelope import Message, encode
from shared.contracts.topology import DEAD, EXCHANGES, Queue
from shared.errors import ErrorCode, PermanentError, RegenteError, TemporaryError
from shared.obs import trace
from shared.obs.clock import monotonic_s, now
from shared.obs.ids import new_id
from shared.testing.stub_queue import StubMessage, StubQueue


class StubServer:
    """What several stub brokers share: queues and bindings."""

    def __init__(self, clock: Callable[[], float] = monotonic_s) -> None:
        self.clock = clock
        self.queues: dict[str, StubQueue] = {}
        self.owners: dict[str, StubBroker] = {}
        self.exchanges = {exchange.name: exchange.type for exchange in EXCHANGES}

    def declare(self, queue: Queue, owner: StubBroker) -> None:
        """Make a queue unless it is there as described."""
        found = self.queues.get(queue.name)
        if found is None:
            self.queues[queue.name] = StubQueue(queue, self.clock, self._bury)
        elif self.owners.get(queue.name, owner) is not owner:
            raise TemporaryError(f"queue {queue.name} is exclusive to another connection")
        elif (found.described.arguments, found.described.exclusive) != (queue.arguments, queue.exclusive):
            raise PermanentError(ErrorCode.CONFLICT, f"queue {queue.name} exists with other arguments")
        elif found.described != queue:
            bindings = tuple(dict.fromkeys((*found.described.bindings, *queue.bindings)))
            found.described = Queue(queue.name, queue.reader, bindings, queue.arguments, queue.exclusive, queue.dead)
        if queue.exclusive:
            self.owners[queue.name] = owner

    def route(self, exchange: str, routing_key: str) -> list[StubQueue]:
        """Queues that a message goes to."""
        if exchange == "":
            return [self.queues[routing_key]] if routing_key in self.queues else []
        kind = self.exchanges.get(exchange)
        if kind is None:
            raise Unroutable(exchange, routing_key, "there is no such exchange")
        return [
            queue
            for queue in self.queues.values()
            if any(
                binding.exchange == exchange and _matches(kind, binding.routing_key, routing_key)
                for binding in queue.described.bindings
            )
        ]

    def publish(self, message: StubMessage, *, mandatory: bool) -> None:
        """Put a message in every queue it goes to, and wake their consumers."""
        queues = self.route(message.exchange, message.routing_key)
        if mandatory and not queues:
            raise Unroutable(message.exchange, message.routing_key, "NO_ROUTE")
        if not all(queue.accepts() for queue in queues):
            raise TemporaryError("the broker refused the message: a queue is full")
        for queue in queues:
            queue.put(message)
            self.pump(queue)

    def drop(self, name: str) -> None:
        """Delete a queue; its consumers are told."""
        queue = self.queues.pop(name, None)
        self.owners.pop(name, None)
        for consumer in list(queue.consumers) if queue else []:
            consumer.gone()

    def pump(self, queue: StubQueue) -> None:
        """Hand out messages as long as somebody takes them."""
        while queue.ready:
            consumer = next((one for one in queue.turn() if one.has_room), None)
            taken = queue.take() if consumer is not None else None
            if consumer is None or taken is None:
                return
            consumer.deliver(*taken)

    def wipe(self) -> None:
        """Lose everything, as a broker does whose data were deleted."""
        for name in list(self.queues):
            self.drop(name)

    def _bury(self, exchange: str, routing_key: str, message: StubMessage, reason: str, queue_name: str) -> None:
        headers = {**message.headers, "x-first-death-reason": reason, "x-first-death-queue": queue_name}
        dead = StubMessage(exchange, routing_key, message.body, headers)
        with contextlib.suppress(Unroutable):
            for queue in self.route(exchange, routing_key):
                queue.put(dead)
                self.pump(queue)


class StubConsumer:
    """As shared.broker.Consumer: restored after a loss, ends with `cancel`."""

    def __init__(self, broker: StubBroker, queue: Queue, handler: Handler, *, prefetch: int, decode: bool) -> None:
        self.queue = queue
        self.consuming = asyncio.Event()
        self._broker = broker
        self._handler = handler
        self._prefetch = prefetch
        self._decode = decode
        self._running: dict[asyncio.Task[None], int] = {}
        self._stopping = False
        self._generation = 0

    @property
    def has_room(self) -> bool:
        """Whether the prefetch lets another message come."""
        return len(self._running) < self._prefetch

    def attach(self) -> None:
        """Begin to consume."""
        if self._stopping:
            return
        if self.queue.reader:
            self._broker.server.declare(self.queue, self._broker)
        found = self._broker.server.queues.get(self.queue.name)
        if found is not None and self not in found.consumers:
            found.consumers.append(self)
            self.consuming.set()
            self._broker.server.pump(found)

    def gone(self) -> None:
        """The queue went away or the connection was lost; what is out is no longer this consumer's."""
        self.consuming.clear()
        self._generation += 1
        if not self._stopping and self._broker.connected:
            asyncio.get_running_loop().call_soon(self._again)

    def deliver(self, tag: int, message: StubMessage) -> None:
        """A message for the handler."""
        task = asyncio.get_running_loop().create_task(self._handle(tag, message, self._generation))
        self._running[task] = tag
        task.add_done_callback(lambda done: self._done(done))

    async def cancel(self, grace_s: float = 10.0) -> None:
        """As Consumer.cancel."""
        self._stopping = True
        self.consuming.clear()
        queue = self._broker.server.queues.get(self.queue.name)
        if queue is not None and self in queue.consumers:
            queue.consumers.remove(self)
        if self._running:
            _, late = await asyncio.wait(set(self._running), timeout=grace_s)
            for task in late:
                tag = self._running.get(task)
                task.cancel()
                if queue is not None and tag is not None:
                    queue.requeue(tag)
            await asyncio.gather(*late, return_exceptions=True)
        if queue is not None:
            self._broker.server.pump(queue)

    def lose(self) -> None:
        """The connection is gone: what is out goes back to the queue, handlers go on."""
        queue = self._broker.server.queues.get(self.queue.name)
        if queue is not None:
            if self in queue.consumers:
                queue.consumers.remove(self)
            for tag in list(self._running.values()):
                queue.requeue(tag)
        self._running.clear()
        self.gone()

    def _again(self) -> None:
        with contextlib.suppress(RegenteError):
            self.attach()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        queue = self._broker.server.queues.get(self.queue.name)
        if queue is not None and not self._stopping:
            self._broker.server.pump(queue)

    async def _handle(self, tag: int, message: StubMessage, generation: int) -> None:
        delivery = Delivery(
            body=message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            queue=self.queue.name,
            redelivered=message.delivered > 0,
            user_id=None,
            headers=message.headers,
            delivery_count=message.delivered,
        )
        verdict = await handle(self.queue, delivery, self._handler, decoded=self._decode)
        if verdict.delay_s:
            await asyncio.sleep(verdict.delay_s)
        queue = self._broker.server.queues.get(self.queue.name)
        if queue is None or generation != self._generation:
            return
        if verdict.action is Action.REQUEUE:
            queue.requeue(tag)
            return
        if verdict.action is Action.DEAD and dead_key(self.queue) is None:
            queue.reject(tag)
            return
        if verdict.action is Action.DEAD:
            self._bury(delivery, verdict.reason)
        queue.ack(tag)

    def _bury(self, delivery: Delivery, reason: str) -> None:
        headers = dead_headers(delivery, reason)
        letter = StubMessage(DEAD, str(dead_key(self.queue)), delivery.body, headers)
        self._broker.server.publish(letter, mandatory=False)


class StubBroker:
    """As shared.broker.Broker, over a StubServer (its own unless one is given)."""

    def __init__(
        self,
        urls: Sequence[str] = (),
        *,
        instance: str = "stub-1",
        topology: Sequence[Queue] = (),
        on_connect: Sequence[Callable[[], Awaitable[Any]]] = (),
        server: StubServer | None = None,
        **_: Any,
    ) -> None:
        self.server = server or StubServer()
        self.on_connect = list(on_connect)
        self.instance = instance
        self._topology = tuple(topology)
        self._exclusive: dict[str, Queue] = {}
        self._consumers: list[StubConsumer] = []
        self._connected = asyncio.Event()
        self._stopped = False

    async def start(self) -> None:
        """Connect."""
        await self.restore_connection()

    async def stop(self) -> None:
        """Cancel the consumers and close."""
        self._stopped = True
        for consumer in self._consumers:
            await consumer.cancel()
        self._connected.clear()
        self._drop_exclusive()

    @property
    def connected(self) -> bool:
        """Whether the connection stands."""
        return self._connected.is_set()

    async def wait_connected(self, timeout_s: float) -> None:
        """Wait until the connection stands. Raises: TemporaryError."""
        try:
            await asyncio.wait_for(self._connected.wait(), timeout_s)
        except TimeoutError as error:
            raise TemporaryError("no broker") from error

    async def lose_connection(self) -> None:
        """Fault: the connection is gone until `restore_connection`."""
        self._connected.clear()
        for consumer in self._consumers:
            consumer.lose()
        self._drop_exclusive()

    async def restore_connection(self) -> None:
        """Connect (again): declare everything, restore consumers, run on_connect."""
        for queue in (*self._topology, *self._exclusive.values()):
            self.server.declare(queue, self)
        self._connected.set()
        for consumer in self._consumers:
            consumer.attach()
        for callback in list(self.on_connect):
            await callback()

    async def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        persistent: bool = True,
        confirm: bool = True,
        mandatory: bool = False,
        expiration_ms: int | None = None,
        headers: dict[str, Any] | None = None,
    ) -> None:
        """As Broker.publish."""
        self._check()
        expires_at_s = None if expiration_ms is None else self.server.clock() + expiration_ms / 1000
        message = StubMessage(exchange, routing_key, body, dict(headers or {}), expires_at_s)
        try:
            self.server.publish(message, mandatory=mandatory and confirm)
        except (Unroutable, TemporaryError):
            if confirm:
                raise
        await asyncio.sleep(0)

    async def send(
        self,
        exchange: str,
        routing_key: str,
        message: Message,
        *,
        persistent: bool = True,
        confirm: bool = True,
        mandatory: bool = False,
        expiration_ms: int | None = None,
        headers: dict[str, Any] | None = None,
    ) -> None:
        """As Broker.send."""
        try:
            body = encode(message, id=new_id(), sent_at=now(), sender=self.instance)
        except ValueError as error:
            raise PermanentError(ErrorCode.TOO_LARGE, str(error)) from error
        await self.publish(
            exchange,
            routing_key,
            body,
            persistent=persistent,
            confirm=confirm,
            mandatory=mandatory,
            expiration_ms=expiration_ms,
            headers={"traceparent": trace.current() or trace.new_traceparent(), **(headers or {})},
        )

    async def consume(
        self, queue: str | Queue, handler: Handler, *, prefetch: int = 32, decode: bool = True
    ) -> StubConsumer:
        """As Broker.consume."""
        if self._stopped:
            raise BrokerClosed("this process is stopping")
        described = queue if isinstance(queue, Queue) else self._described(queue)
        consumer = StubConsumer(self, described, handler, prefetch=prefetch, decode=decode)
        self._consumers.append(consumer)
        if self.connected:
            consumer.attach()
        return consumer

    async def declare(self, *queues: Queue) -> None:
        """As Broker.declare."""
        self._check()
        for queue in queues:
            self.server.declare(queue, self)
            if queue.exclusive:
                self._exclusive[queue.name] = queue

    async def delete_queue(self, name: str) -> None:
        """As Broker.delete_queue."""
        self._check()
        self._exclusive.pop(name, None)
        self.server.drop(name)

    async def purge(self, name: str) -> None:
        """As Broker.purge."""
        self._check()
        if name in self.server.queues:
            self.server.queues[name].ready.clear()

    async def exists(self, name: str) -> bool:
        """As Broker.exists."""
        self._check()
        return name in self.server.queues

    async def depth(self, name: str) -> int:
        """As Broker.depth."""
        self._check()
        queue = self.server.queues.get(name)
        if queue is None:
            raise PermanentError(ErrorCode.NOT_FOUND, f"there is no queue {name}")
        queue.expire()
        return len(queue.ready)

    def _check(self) -> None:
        if self._stopped:
            raise BrokerClosed("this process is stopping")
        if not self.connected:
            raise TemporaryError("no broker")

    def _described(self, name: str) -> Queue:
        for queue in (*self._topology, *self._exclusive.values()):
            if queue.name == name:
                return queue
        return Queue(name=name, reader="")

    def _drop_exclusive(self) -> None:
        for name, owner in list(self.server.owners.items()):
            if owner is self:
                self.server.drop(name)


def _matches(kind: str, pattern: str, routing_key: str) -> bool:
    if kind != "topic":
        return pattern == routing_key
    return _words_match(pattern.split("."), routing_key.split("."))


def _words_match(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    if pattern[0] == "#":
        return any(_words_match(pattern[1:], words[n:]) for n in range(len(words) + 1))
    return bool(words) and pattern[0] in ("*", words[0]) and _words_match(pattern[1:], words[1:])


__all__ = ["REASON_HEADER", "StubBroker", "StubConsumer", "StubServer"]
