"""A queue in memory that obeys RabbitMQ's arguments: length, TTL, delivery limit, dead letters, single active consumer.

Called by: stub_broker.py. Survives a crash: nothing. Change also: tests/conformance, which hold this to the real
broker's ways.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from shared.contracts.topology import Queue


@dataclass(frozen=True)
class StubMessage:
    """A message in a queue."""

    exchange: str
    routing_key: str
    body: bytes
    headers: dict[str, Any] = field(default_factory=dict)
    expires_at_s: float | None = None
    delivered: int = 0
    """How often it was handed to a consumer before."""


class StubQueue:
    """One queue: what waits, what is out, and who consumes.

    clock: monotonic seconds. bury: takes a dead letter: exchange, routing key, message, reason, queue.
    """

    def __init__(
        self,
        described: Queue,
        clock: Callable[[], float],
        bury: Callable[[str, str, StubMessage, str, str], None],
    ) -> None:
        self.described = described
        self.ready: deque[StubMessage] = deque()
        self.out: dict[int, StubMessage] = {}
        self.consumers: list[Any] = []
        self._clock = clock
        self._bury = bury
        self._tag = 0
        self._arguments = described.arguments

    @property
    def quorum(self) -> bool:
        """Whether deliveries are counted."""
        return self._arguments.get("x-queue-type") == "quorum"

    def accepts(self) -> bool:
        """Whether another message has room; without overflow=reject-publish the oldest makes room."""
        limit = self._arguments.get("x-max-length")
        return not (
            limit is not None and self._arguments.get("x-overflow") == "reject-publish" and len(self.ready) >= limit
        )

    def put(self, message: StubMessage) -> None:
        """Add a message at the end."""
        self.ready.append(replace(message, expires_at_s=self._expiry(message)))
        limit = self._arguments.get("x-max-length")
        while limit is not None and len(self.ready) > limit:
            self._die(self.ready.popleft(), "maxlen")

    def take(self) -> tuple[int, StubMessage] | None:
        """Hand out the oldest message that has not expired, with a tag for `settle`."""
        self.expire()
        if not self.ready:
            return None
        message = self.ready.popleft()
        self._tag += 1
        self.out[self._tag] = message
        return self._tag, message

    def ack(self, tag: int) -> None:
        """Done with it."""
        self.out.pop(tag, None)

    def requeue(self, tag: int) -> None:
        """Back to the front, or to the dead letters once a quorum queue's delivery limit is used up."""
        message = self.out.pop(tag, None)
        if message is None:
            return
        again = replace(message, delivered=message.delivered + 1)
        limit = self._arguments.get("x-delivery-limit")
        if self.quorum and limit is not None and again.delivered > limit:
            self._die(again, "delivery_limit")
        else:
            self.ready.appendleft(again)

    def reject(self, tag: int) -> None:
        """To the dead letters at once."""
        message = self.out.pop(tag, None)
        if message is not None:
            self._die(message, "rejected")

    def expire(self) -> None:
        """Let go what has outlived its TTL; RabbitMQ, too, looks at the front of the queue only."""
        while self.ready:
            expires_at_s = self.ready[0].expires_at_s
            if expires_at_s is None or expires_at_s > self._clock():
                return
            self._die(self.ready.popleft(), "expired")

    def turn(self) -> list[Any]:
        """Consumers that may get messages, the next one first."""
        if self._arguments.get("x-single-active-consumer"):
            return self.consumers[:1]
        if self.consumers:
            self.consumers.append(self.consumers.pop(0))
        return list(self.consumers)

    def _expiry(self, message: StubMessage) -> float | None:
        ttl_ms = self._arguments.get("x-message-ttl")
        ends = [message.expires_at_s, None if ttl_ms is None else self._clock() + ttl_ms / 1000]
        return min((end for end in ends if end is not None), default=None)

    def _die(self, message: StubMessage, reason: str) -> None:
        exchange = self._arguments.get("x-dead-letter-exchange")
        if exchange is not None:
            key = self._arguments.get("x-dead-letter-routing-key", message.routing_key)
            self._bury(exchange, key, replace(message, expires_at_s=None, delivered=0), reason, self.described.name)
