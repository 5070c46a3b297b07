"""The broker double: messages are lost, doubled, late and out of order; queues are purged; connections break.

Called by: the production code under simulation, in place of shared.broker.Broker, and by the model robots. Messages are
handed over as objects: their form on the wire has tests of its own. What a consumer had not acknowledged when its
process died or lost its connection comes again.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from pymongo.errors import PyMongoError

from shared.broker.delivery import Delivery, Handler
from shared.broker.settling import Action, verdict_of
from shared.contracts.envelope import Message
from shared.contracts.topology import EXCHANGES, Queue, service_queues
from shared.errors import ErrorCode, PermanentError, RegenteError, TemporaryError
from tests.sim.travel import LATE_S, Faults, Life

CONFIRM_S = 0.002
FULL = 10_000
"""Messages in all queues together at which the simulation counts as out of hand."""


@dataclass(frozen=True)
class Letter:
    """A message on its way or in a queue."""

    exchange: str
    key: str
    message: Message
    user: str | None
    expires_s: float | None = None
    delivered: int = 0


class Box:
    """A queue."""

    def __init__(self, queue: Queue) -> None:
        self.queue = queue
        self.ready: deque[Letter] = deque()
        self.consumers: list[Consumer] = []

    def put(self, letter: Letter, now_s: float) -> None:
        """Take a message; at the limit the oldest goes."""
        ttl_ms, limit = self.queue.arguments.get("x-message-ttl"), self.queue.arguments.get("x-max-length", FULL)
        self.ready.append(letter if ttl_ms is None else replace(letter, expires_s=now_s + ttl_ms / 1000))
        while len(self.ready) > limit:
            self.ready.popleft()

    def take(self, now_s: float) -> Letter | None:
        """The oldest message that has not expired."""
        while self.ready:
            letter = self.ready.popleft()
            if letter.expires_s is None or letter.expires_s > now_s:
                return letter
        return None


class Post:
    """What all connections share: queues, and what is on its way."""

    def __init__(self, loop: asyncio.AbstractEventLoop, faults: Faults, draw: random.Random) -> None:
        self.loop = loop
        self.faults = faults
        self.draw = draw
        self.boxes: dict[str, Box] = {}
        self.owners: dict[str, Broker] = {}
        self.told: Callable[[str], None] | None = None
        self.surprises: list[str] = []
        """Errors of handlers that nobody planned."""
        self._kinds = {exchange.name: exchange.type for exchange in EXCHANGES}
        self._routes: dict[tuple[str, str], list[str]] = {}
        for queue in service_queues():
            self.declare(queue)

    def declare(self, queue: Queue) -> Box:
        """Make a queue unless it is there."""
        box = self.boxes.get(queue.name)
        if box is None:
            box = self.boxes[queue.name] = Box(queue)
            self._routes.clear()
        return box

    def drop(self, name: str) -> None:
        """Delete a queue."""
        self.boxes.pop(name, None)
        self.owners.pop(name, None)
        self._routes.clear()

    def route(self, exchange: str, key: str) -> list[str]:
        """Names of the queues that a message goes to."""
        if exchange == "":
            return [key]
        known = self._routes.get((exchange, key))
        if known is None:
            words = key.split(".")
            known = self._routes[exchange, key] = [
                name
                for name, box in self.boxes.items()
                if any(
                    one.exchange == exchange and _matches(one.routing_key.split("."), words)
                    for one in box.queue.bindings
                )
            ]
        return known

    def carry(self, letter: Letter) -> None:
        """Bring a message to its queues: at once, late, twice, or never."""
        draw, faults = self.draw, self.faults
        drawn = draw.random()
        if drawn < faults.lost:
            if self.told is not None:
                self.told(f"lost: {letter.message.KIND} {letter.key}")
            return
        delay_s = 0.0005 + 0.002 * drawn
        if drawn < faults.lost + faults.delayed:
            delay_s = LATE_S * draw.random() * (5.0 if draw.random() < 0.1 else 1.0)
        self.loop.call_later(delay_s, self._arrive, letter)
        if draw.random() < faults.doubled:
            self.loop.call_later(delay_s + LATE_S * draw.random() ** 3, self._arrive, letter)

    def _arrive(self, letter: Letter) -> None:
        for name in self.route(letter.exchange, letter.key):
            box = self.boxes.get(name)
            if box is not None:
                box.put(letter, self.loop.time())
                self.pump(box)

    def pump(self, box: Box) -> None:
        """Hand out what waits, in turn, to consumers that have room."""
        while box.ready:
            consumer = next((one for one in box.consumers if one.has_room), None)
            letter = box.take(self.loop.time()) if consumer is not None else None
            if consumer is None or letter is None:
                return
            box.consumers.remove(consumer)
            box.consumers.append(consumer)
            consumer.take(letter)

    def again(self, name: str, letter: Letter) -> None:
        """A message that was not acknowledged."""
        box = self.boxes.get(name)
        if box is not None:
            box.ready.appendleft(replace(letter, delivered=letter.delivered + 1))
            self.pump(box)

    def purge(self, name: str) -> None:
        """Forget what waits in a queue."""
        self.boxes[name].ready.clear()
        if self.told is not None:
            self.told(f"purged: {name}")


class Consumer:
    """As shared.broker.Consumer."""

    def __init__(self, broker: Broker, queue: Queue, handler: Handler, prefetch: int) -> None:
        self.queue = queue
        self._broker = broker
        self._handler = handler
        self._prefetch = prefetch
        self._out: dict[int, Letter] = {}
        self._n = 0
        self.stopped = False

    @property
    def has_room(self) -> bool:
        """Whether the prefetch lets another message come."""
        return len(self._out) < self._prefetch

    def attach(self) -> None:
        """Begin to consume."""
        if not self.stopped:
            box = self._broker.post.declare(self.queue)
            if self not in box.consumers:
                box.consumers.append(self)
                self._broker.post.pump(box)

    def detach(self) -> None:
        """The connection is gone: what is out goes back; handlers go on."""
        box = self._broker.post.boxes.get(self.queue.name)
        if box is not None and self in box.consumers:
            box.consumers.remove(self)
        out, self._out = self._out, {}
        for letter in out.values():
            self._broker.post.again(self.queue.name, letter)

    async def cancel(self, grace_s: float = 10.0) -> None:
        """Take no more."""
        self.stopped = True
        self.detach()

    def take(self, letter: Letter) -> None:
        """A message for the handler."""
        self._n += 1
        self._out[self._n] = letter
        self._broker.post.loop.create_task(self._handle(self._n, letter))

    async def _handle(self, n: int, letter: Letter) -> None:
        broker, post = self._broker, self._broker.post
        if broker.life.dead:
            return
        delivery = Delivery(
            b"", letter.exchange, letter.key, self.queue.name, letter.delivered > 0, letter.user,
            delivery_count=letter.delivered,
        )  # fmt: skip
        action, pause_s = Action.ACK, 0.0
        try:
            await self._handler(letter.message, delivery)
        except Exception as error:
            if not isinstance(error, RegenteError | PyMongoError):
                post.surprises.append(f"{broker.life.name}: handler of {letter.message.KIND}: {error!r}")
            verdict = verdict_of(error, self.queue, delivery)
            action, pause_s = verdict.action, verdict.delay_s
        if pause_s:
            await asyncio.sleep(pause_s)
        if broker.life.dead or self._out.pop(n, None) is None:
            return
        limit = self.queue.arguments.get("x-delivery-limit")
        if action is Action.REQUEUE and not (limit is not None and letter.delivered >= limit):
            post.again(self.queue.name, letter)
        else:
            box = post.boxes.get(self.queue.name)
            if box is not None:
                post.pump(box)


class Broker:
    """As shared.broker.Broker, for one process. user: its broker user, where receivers look at it."""

    def __init__(self, post: Post, life: Life, user: str | None = None) -> None:
        self.post = post
        self.life = life
        self.user = user
        self.on_connect: list[Callable[[], Awaitable[Any]]] = []
        self.connected = True
        self._consumers: list[Consumer] = []
        self._exclusive: list[Queue] = []
        self._stopped = False

    async def start(self) -> None:
        """It is connected from the beginning."""

    async def stop(self) -> None:
        """Close."""
        self._stopped = True
        self.cut()

    def cut(self) -> None:
        """The connection is gone."""
        self.connected = False
        for consumer in self._consumers:
            consumer.detach()
        for name in [name for name, owner in self.post.owners.items() if owner is self]:
            self.post.drop(name)

    async def come_back(self) -> None:
        """The connection stands again."""
        if self.life.dead or self._stopped or self.connected:
            return
        self.connected = True
        for queue in self._exclusive:
            self._own(queue)
        for consumer in self._consumers:
            consumer.attach()
        for callback in list(self.on_connect):
            await callback()

    async def wait_connected(self, timeout_s: float) -> None:
        """Wait until the connection stands. Raises: TemporaryError."""
        self._check()

    async def send(
        self, exchange: str, routing_key: str, message: Message, *, persistent: bool = True, confirm: bool = True,
        mandatory: bool = False, expiration_ms: int | None = None, headers: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """As Broker.send."""
        if self.life.dead or self.life.frozen_until_s:
            await self.life.standing()
        self._check()
        if self.post.told is not None:
            self.post.told(f"{self.life.name} sends {message.KIND} {routing_key}")
        self.post.carry(Letter(exchange, routing_key, message, self.user))
        if confirm:
            await asyncio.sleep(CONFIRM_S)
            await self.life.standing()
            if self.post.draw.random() < self.post.faults.unconfirmed:
                raise TemporaryError("no confirm came")

    async def consume(
        self, queue: str | Queue, handler: Handler, *, prefetch: int = 32, decode: bool = True
    ) -> Consumer:
        """As Broker.consume."""
        described = queue if isinstance(queue, Queue) else self.post.boxes[queue].queue
        consumer = Consumer(self, described, handler, prefetch)
        self._consumers.append(consumer)
        if self.connected:
            consumer.attach()
        return consumer

    async def declare(self, *queues: Queue) -> None:
        """As Broker.declare."""
        await self.life.standing()
        self._check()
        for queue in queues:
            if queue.exclusive:
                self._exclusive.append(queue)
                self._own(queue)
            else:
                self.post.declare(queue)

    async def delete_queue(self, name: str) -> None:
        """As Broker.delete_queue."""
        await self.life.standing()
        self._check()
        self.post.drop(name)

    async def purge(self, name: str) -> None:
        """As Broker.purge."""
        self._check()
        self.post.purge(name)

    async def exists(self, name: str) -> bool:
        """As Broker.exists."""
        await self.life.standing()
        self._check()
        await asyncio.sleep(CONFIRM_S)
        return name in self.post.boxes

    async def depth(self, name: str) -> int:
        """As Broker.depth."""
        self._check()
        if name not in self.post.boxes:
            raise PermanentError(ErrorCode.NOT_FOUND, f"there is no queue {name}")
        return len(self.post.boxes[name].ready)

    def _own(self, queue: Queue) -> None:
        self.post.declare(queue)
        self.post.owners[queue.name] = self

    def _check(self) -> None:
        if not self.connected:
            raise TemporaryError("no broker")


def _matches(pattern: list[str], words: list[str]) -> bool:
    if pattern == ["#"]:
        return True
    return len(pattern) == len(words) and all(one in ("*", word) for one, word in zip(pattern, words, strict=True))
