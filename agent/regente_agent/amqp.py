"""One connection to RabbitMQ on the thread that calls `run`: the only module that imports pika.

Called by: link. Survives a crash: nothing; unacknowledged messages come again. A queue that is missing, or a consumer
that the broker cancels, is tried again with backoff, since the server declares the queues. Everything but `run` may be
called from any thread. Change also: nothing; a move to another pika adapter is this file.
"""

from __future__ import annotations

import functools
import socket
from dataclasses import dataclass, field
from typing import Any, Callable, Dict, Optional, Tuple

import pika
import pika.exceptions

from regente_agent import trust
from regente_agent.enrolment import Access

HEARTBEAT_S = 15
BLOCKED_S = 60
CONNECT_S = 10
CONSUME_RETRY_MIN_S = 0.25
CONSUME_RETRY_MAX_S = 5.0
_REFUSALS = (
    pika.exceptions.ProbableAuthenticationError,
    pika.exceptions.ProbableAccessDeniedError,
    pika.exceptions.AuthenticationError,
)
ACCESS_REFUSED = 403


@dataclass(frozen=True)
class Delivery:
    """A message in hand; settle it once."""

    body: bytes = field(repr=False)
    tag: int
    channel: Any = field(repr=False)
    redelivered: bool = False


@dataclass(frozen=True)
class Consumer:
    """A queue to read from."""

    queue: str
    prefetch: int
    on_delivery: Callable[[Delivery], None]


@dataclass
class End:
    """How a connection ended."""

    opened: bool = False
    refused: bool = False
    text: str = ""


class Connection:
    """One connection, used once."""

    def __init__(
        self,
        access: Access,
        host: str,
        consumers: Tuple[Consumer, ...],
        on_open: Callable[["Connection"], None],
        on_trouble: Callable[[str], None],
    ) -> None:
        """`on_open` runs on the connection's thread when publishing works; `on_trouble` gets lines for the log."""
        self._access, self._host, self._consumers = access, host, consumers
        self._on_open, self._on_trouble = on_open, on_trouble
        self._end = End()
        self._connection: Optional[pika.SelectConnection] = None
        self._plain: Any = None
        self._reading: Dict[str, Any] = {}
        self._confirmed: Any = None
        self._waiting: Dict[int, Callable[[bool], None]] = {}
        self._published = 0
        self._returned = False
        self._blocked = False
        self._closing = False
        self._stopping = False
        self._troubles: Dict[str, str] = {}

    # the connection's own thread

    def run(self) -> End:
        """Connect and serve until the connection ends, by whatever reason."""
        host, _, port = self._host.rpartition(":")
        tls = self._access.tls
        parameters = pika.ConnectionParameters(
            host=host or self._host,
            port=int(port) if host else (5671 if tls else 5672),
            ssl_options=pika.SSLOptions(trust.context(), host or self._host) if tls else None,
            virtual_host=self._access.vhost,
            credentials=pika.PlainCredentials(self._access.user, self._access.password),
            heartbeat=HEARTBEAT_S,
            blocked_connection_timeout=BLOCKED_S,
            socket_timeout=CONNECT_S,
            stack_timeout=CONNECT_S,
            client_properties={"connection_name": f"{self._access.user}@{socket.gethostname()}"},
        )
        self._connection = pika.SelectConnection(
            parameters,
            on_open_callback=self._opened,
            on_open_error_callback=self._ended,
            on_close_callback=self._ended,
        )
        self._connection.ioloop.start()
        return self._end

    def call_later(self, delay_s: float, call: Callable[[], None]) -> None:
        """Run something on this connection's thread; forgotten when the connection ends. From that thread only."""
        if self._connection is not None:
            self._connection.ioloop.call_later(delay_s, call)

    def publish_confirmed(self, exchange: str, key: str, body: bytes, done: Callable[[bool], None]) -> bool:
        """Publish persistently; `done` says whether the broker took it *and* had a queue for it. From that thread only.

        Returns: False when it can't be tried now; `done` is not called then, nor when the connection ends first.
        """
        if self._confirmed is None or not self._confirmed.is_open or self._blocked:
            return False
        self._published += 1
        self._waiting[self._published] = done
        self._confirmed.basic_publish(exchange, key, body, self._properties(persistent=True), mandatory=True)
        return True

    def _opened(self, connection: Any) -> None:
        self._end.opened = True
        connection.add_on_connection_blocked_callback(lambda *_: self._set_blocked(True))
        connection.add_on_connection_unblocked_callback(lambda *_: self._set_blocked(False))
        self._open_plain()
        self._open_confirmed()
        for consumer in self._consumers:
            self._open_consumer(consumer, CONSUME_RETRY_MIN_S)

    def _ended(self, connection: Any, reason: Any) -> None:
        self._end.text = _words(reason)
        self._end.refused = _is_refusal(reason)
        connection.ioloop.stop()

    def _set_blocked(self, blocked: bool) -> None:
        self._blocked = blocked
        self._on_trouble("the broker takes no messages for now" if blocked else "the broker takes messages again")

    def _open_plain(self) -> None:
        self._channel(self._plain_open, lambda reason: self._later(1.0, self._open_plain))

    def _plain_open(self, channel: Any) -> None:
        first = self._plain is None
        self._plain = channel
        if first:
            self._on_open(self)

    def _open_confirmed(self) -> None:
        self._channel(self._confirmed_open, self._confirmed_closed)

    def _confirmed_open(self, channel: Any) -> None:
        self._published, self._waiting, self._returned = 0, {}, False
        channel.add_on_return_callback(self._on_return)
        channel.confirm_delivery(self._on_confirm)
        self._confirmed = channel

    def _confirmed_closed(self, reason: Any) -> None:
        waiting, self._waiting = self._waiting, {}
        self._confirmed = None
        for done in waiting.values():
            done(False)
        self._later(1.0, self._open_confirmed)

    def _on_return(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self._returned = True  # the confirm of a returned message follows it at once

    def _on_confirm(self, frame: Any) -> None:
        good = type(frame.method).__name__ == "Ack" and not self._returned
        self._returned = False
        upto = frame.method.delivery_tag
        tags = [tag for tag in self._waiting if tag == upto or (frame.method.multiple and tag < upto)]
        for tag in tags:
            self._waiting.pop(tag)(good)

    def _open_consumer(self, consumer: Consumer, retry_s: float) -> None:
        again = functools.partial(self._open_consumer, consumer, min(retry_s * 2, CONSUME_RETRY_MAX_S))

        if self._stopping:
            return

        def opened(channel: Any) -> None:
            self._reading[consumer.queue] = channel
            channel.basic_qos(prefetch_count=consumer.prefetch)
            channel.add_on_cancel_callback(lambda _: channel.close())
            channel.basic_consume(
                consumer.queue, functools.partial(self._deliver, consumer), callback=lambda _: consuming()
            )

        def consuming() -> None:
            nonlocal again
            again = functools.partial(self._open_consumer, consumer, CONSUME_RETRY_MIN_S)
            if self._troubles.pop(consumer.queue, None):
                self._on_trouble(f"{consumer.queue} is read again")

        def closed(reason: Any) -> None:
            text = _words(reason)
            if self._troubles.get(consumer.queue) != text and not self._closing:
                self._troubles[consumer.queue] = text
                self._on_trouble(f"{consumer.queue} can't be read for now: {text}")
            self._later(retry_s, again)

        self._channel(opened, closed)

    def _deliver(self, consumer: Consumer, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        consumer.on_delivery(Delivery(body, method.delivery_tag, channel, bool(method.redelivered)))

    def _channel(self, opened: Callable[[Any], None], closed: Callable[[Any], None]) -> None:
        """Open a channel; `closed` runs when it ends while the connection lives."""
        if self._connection is None or not self._connection.is_open or self._closing:
            return

        def on_open(channel: Any) -> None:
            channel.add_on_close_callback(lambda _, reason: closed(reason))
            opened(channel)

        self._connection.channel(on_open_callback=on_open)

    def _later(self, delay_s: float, call: Callable[[], None]) -> None:
        if self._connection is not None and self._connection.is_open and not self._closing:
            self._connection.ioloop.call_later(delay_s, call)

    def _properties(self, *, persistent: bool, expiration_ms: Optional[int] = None) -> pika.BasicProperties:
        return pika.BasicProperties(
            content_type="application/json",
            delivery_mode=2 if persistent else 1,
            expiration=str(expiration_ms) if expiration_ms else None,
            user_id=self._access.user,
        )

    # any thread

    def publish(self, exchange: str, key: str, body: bytes, expiration_ms: Optional[int] = None) -> None:
        """Publish without waiting; dropped when the connection is not open, for who needs it asks again."""
        self._in_loop(functools.partial(self._publish_now, exchange, key, body, expiration_ms))

    def settle(self, delivery: Delivery, taken: bool) -> None:
        """Acknowledge a message, or reject it for good. A message of an earlier channel comes again anyway."""
        self._in_loop(functools.partial(self._settle_now, delivery, taken))

    def stop_consuming(self) -> None:
        """Take no more messages; publishing goes on."""
        self._in_loop(self._stop_consuming_now)

    def close(self) -> None:
        """Close after what was published before has been written; `run` returns then."""
        self._in_loop(self._close_now)

    def _in_loop(self, call: Callable[[], None]) -> None:
        if self._connection is not None:
            self._connection.ioloop.add_callback_threadsafe(call)

    def _publish_now(self, exchange: str, key: str, body: bytes, expiration_ms: Optional[int]) -> None:
        if self._plain is not None and self._plain.is_open and not self._blocked:
            self._plain.basic_publish(
                exchange, key, body, self._properties(persistent=False, expiration_ms=expiration_ms)
            )

    def _settle_now(self, delivery: Delivery, taken: bool) -> None:
        if not delivery.channel.is_open:
            return
        if taken:
            delivery.channel.basic_ack(delivery.tag)
        else:
            delivery.channel.basic_reject(delivery.tag, requeue=False)

    def _stop_consuming_now(self) -> None:
        self._stopping = True
        for channel in self._reading.values():
            for tag in list(channel.consumer_tags) if channel.is_open else []:
                channel.basic_cancel(tag)

    def _close_now(self) -> None:
        self._closing = True
        if self._connection is None or self._connection.is_closed or self._connection.is_closing:
            return
        if self._connection.is_open:
            self._connection.close(200, "the agent ends")
        else:
            self._connection.ioloop.stop()


def _words(reason: Any) -> str:
    """One line about why something was closed."""
    code, text = getattr(reason, "reply_code", None), getattr(reason, "reply_text", None)
    if text:
        return f"{code} {text}"
    return (str(reason) or type(reason).__name__)[:300]


def _is_refusal(reason: Any) -> bool:
    """Whether the broker did not want this user, however deep pika wrapped that."""
    seen = 0
    while reason is not None and seen < 10:
        if isinstance(reason, _REFUSALS) or getattr(reason, "reply_code", None) == ACCESS_REFUSED:
            return True
        several = getattr(reason, "exceptions", ())
        reason = several[-1] if several else getattr(reason, "exception", None) or reason.__cause__
        seen += 1
    return False
