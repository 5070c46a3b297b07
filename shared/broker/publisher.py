"""Publishing on one channel, with or without confirms.

Called by: client.py, which has one of each kind. Survives a crash: nothing; a publish that was not confirmed raised,
and its caller's sweeper sends the hint again. Change also: shared/testing/stub_broker.py.

Confirms are awaited by their callers, each for itself, so any number (up to OUTSTANDING_MAX) is on its way at once. A
channel that the broker closes takes its outstanding confirms with it; only the message that named a missing exchange
is told so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pika

from shared.broker.errors import NOT_FOUND, ChannelClosed, Unroutable
from shared.broker.link import WRITE_BUFFER_BYTES_MAX, Channel, Link
from shared.errors import ErrorCode, PermanentError, TemporaryError
from shared.obs.ids import uuid7

OUTSTANDING_MAX = 4_000
ROUTING_KEY_BYTES_MAX = 255


@dataclass(frozen=True)
class Outgoing:
    """A message ready to be published."""

    exchange: str
    routing_key: str
    body: bytes
    properties: Any
    mandatory: bool = False


def outgoing(
    exchange: str,
    routing_key: str,
    body: bytes,
    *,
    persistent: bool,
    mandatory: bool,
    expiration_ms: int | None,
    headers: dict[str, Any] | None,
    user_id: str | None = None,
) -> Outgoing:
    """Dress a body in AMQP properties.

    Raises: PermanentError when the routing key is longer than AMQP allows.
    """
    if len(routing_key.encode()) > ROUTING_KEY_BYTES_MAX:
        raise PermanentError(ErrorCode.TOO_LARGE, f"a routing key has at most {ROUTING_KEY_BYTES_MAX} bytes")
    properties = pika.BasicProperties(
        content_type="application/json",
        delivery_mode=2 if persistent else 1,
        expiration=None if expiration_ms is None else str(expiration_ms),
        headers=headers,
        user_id=user_id,
        message_id=uuid7() if mandatory else None,
    )
    return Outgoing(exchange, routing_key, body, properties, mandatory)


class Publisher:
    """One publishing channel over the links that come and go.

    link: waits for an open link (seconds) or raises TemporaryError. known: the exchanges that are declared at every
    connect. repair: asked to declare them again when one is missing.
    """

    def __init__(
        self,
        link: Callable[[float], Awaitable[Link]],
        *,
        confirms: bool,
        known: frozenset[str],
        repair: Callable[[], None],
    ) -> None:
        self._link = link
        self._confirms = confirms
        self._known = known
        self._repair = repair
        self._channel: Channel | None = None
        self._opening = asyncio.Lock()
        self._room = asyncio.Semaphore(OUTSTANDING_MAX)
        self._tag = 0
        self._outstanding: dict[int, tuple[Outgoing, asyncio.Future[None]]] = {}
        self._returned: dict[str, str] = {}

    async def publish(self, message: Outgoing, timeout_s: float) -> None:
        """Publish and wait for the confirm.

        Raises: Unroutable, TemporaryError.
        """
        try:
            async with asyncio.timeout(timeout_s), self._room:
                channel = await self._ready(timeout_s)
                await self._sent(channel, message)
        except TimeoutError as error:
            raise TemporaryError(f"not confirmed by the broker within {timeout_s:g} s") from error

    async def publish_unconfirmed(self, message: Outgoing, link: Link, timeout_s: float) -> None:
        """Hand a message to the socket. What becomes of it nobody tells.

        Raises: TemporaryError when there is no connection that takes it.
        """
        if link.blocked is not None or link.write_buffer_bytes > WRITE_BUFFER_BYTES_MAX:
            raise TemporaryError(f"the broker takes no messages at the moment: {link.blocked or 'it reads too slowly'}")
        channel = self._channel
        if channel is None or not channel.is_open:
            try:
                async with asyncio.timeout(timeout_s):
                    channel = await self._ready(timeout_s)
            except TimeoutError as error:
                raise TemporaryError("no channel to the broker in time") from error
        if not channel.tell("basic_publish", message.exchange, message.routing_key, message.body, message.properties):
            raise TemporaryError("the channel closed")

    async def _ready(self, timeout_s: float) -> Channel:
        """The open channel, opened now if need be, on a link that takes messages."""
        link = await self._link(timeout_s)
        await link.unblocked.wait()
        if self._channel is not None and self._channel.is_open:
            return self._channel
        async with self._opening:
            if self._channel is None or not self._channel.is_open:
                self._channel = await self._open(await self._link(timeout_s))
            return self._channel

    async def _open(self, link: Link) -> Channel:
        channel = await link.channel()
        channel.closed.add_done_callback(lambda closed: self._on_closed(channel, closed.result()))
        if self._confirms:
            self._tag = 0
            channel.raw.add_on_return_callback(self._on_return)
            await channel.call("confirm_delivery", self._on_confirm)
        return channel

    def _sent(self, channel: Channel, message: Outgoing) -> asyncio.Future[None]:
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sent = channel.tell(
            "basic_publish",
            message.exchange,
            message.routing_key,
            message.body,
            message.properties,
            mandatory=message.mandatory,
        )
        if not sent:
            confirmed.set_exception(TemporaryError("the channel closed"))
            return confirmed
        self._tag += 1  # only now: what could not be encoded was not sent, and the broker does not count it
        self._outstanding[self._tag] = (message, confirmed)
        return confirmed

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        acked = type(method).__name__ == "Ack"
        if method.multiple:
            tags = []
            for tag in self._outstanding:  # insertion order is tag order
                if tag > method.delivery_tag:
                    break
                tags.append(tag)
        else:
            tags = [method.delivery_tag]
        for tag in tags:
            found = self._outstanding.pop(tag, None)
            if found is not None:
                self._settle(*found, acked)

    def _settle(self, message: Outgoing, confirmed: asyncio.Future[None], acked: bool) -> None:
        returned = self._returned.pop(message.properties.message_id or "", None)
        if confirmed.done():
            return
        if returned is not None:
            confirmed.set_exception(Unroutable(message.exchange, message.routing_key, returned))
        elif acked:
            confirmed.set_result(None)
        else:
            confirmed.set_exception(TemporaryError("the broker refused the message: a queue is full or not available"))

    def _on_return(self, _: Any, method: Any, properties: Any, __: bytes) -> None:
        if properties.message_id:
            self._returned[properties.message_id] = str(method.reply_text)

    def _on_closed(self, channel: Channel, closed: ChannelClosed) -> None:
        """The outstanding confirms of this channel will never come."""
        if self._channel is channel:
            self._channel = None
        if not self._confirms:
            if closed.code == NOT_FOUND:
                self._repair()
            return
        outstanding, self._outstanding = self._outstanding, {}
        self._returned.clear()
        for message, confirmed in outstanding.values():
            if not confirmed.done():
                confirmed.set_exception(self._lost(message, closed))

    def _lost(self, message: Outgoing, closed: ChannelClosed) -> Exception:
        missing = closed.code == NOT_FOUND and f"'{message.exchange}'" in closed.reason
        if missing and message.exchange not in self._known:
            return Unroutable(message.exchange, message.routing_key, closed.reason)
        if missing:
            self._repair()
        return TemporaryError(f"confirm lost: {closed.reason}")
