"""pika's callbacks turned into awaits: one open connection (`Link`) and its channels.

Called by: client.py, publisher.py, consumer.py. Survives a crash: nothing; a link that closed stays closed, and
client.py opens another one. Change also: nothing. Every await here has a timeout, and ends at once when the
connection or channel does.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.exceptions import (
    AMQPConnectionError,
    AMQPError,
    ConnectionClosedByBroker,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)

from shared.broker.errors import ACCESS_REFUSED, ChannelClosed
from shared.errors import TemporaryError
from shared.outbound.trust import tls_context

HEARTBEAT_S = 10
BLOCKED_TIMEOUT_S = 60
OPEN_TIMEOUT_S = 8.0
CALL_TIMEOUT_S = 15.0
CLOSE_TIMEOUT_S = 2.0
WRITE_BUFFER_BYTES_MAX = 64 * 1024 * 1024

logging.getLogger("pika").setLevel(logging.CRITICAL)  # what it tells, client.py tells in one line


class LoginRefused(TemporaryError):
    """The broker does not know this user, password or virtual host. Temporary: a wiped broker gets its users back."""


def place(url: str) -> str:
    """Host and port of an AMQP URL, without user and password, for log lines."""
    parts = urlsplit(url)
    return f"{parts.hostname}:{parts.port or (5671 if parts.scheme == 'amqps' else 5672)}"


class Link:
    """One connection. Make it by `open_link`."""

    def __init__(self, connection: Any, where: str) -> None:
        self.where = where
        self.blocked: str | None = None
        """Why the broker takes no messages at the moment; None when it does."""
        self.closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.unblocked = asyncio.Event()
        self.unblocked.set()
        self._connection = connection
        connection.add_on_connection_blocked_callback(self._on_blocked)
        connection.add_on_connection_unblocked_callback(self._on_unblocked)

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return not self.closed.done() and bool(self._connection.is_open)

    @property
    def write_buffer_bytes(self) -> int:
        """Bytes handed over for sending that the socket has not taken."""
        transport = getattr(self._connection, "_transport", None)
        return int(transport.get_write_buffer_size()) if transport is not None else 0

    async def channel(self) -> Channel:
        """Open a channel.

        Raises: TemporaryError.
        """
        opened: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            self._connection.channel(on_open_callback=partial(_answer, opened))
        except AMQPError as error:
            raise TemporaryError(f"no channel: {reason_of(error)}") from error
        await asyncio.wait({opened, self.closed}, timeout=CALL_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if not opened.done():
            opened.cancel()
            raise TemporaryError(
                f"no channel: {self.closed.result() if self.closed.done() else 'the broker does not answer'}"
            )
        return Channel(opened.result())

    async def close(self) -> None:
        """Close politely; give up waiting after CLOSE_TIMEOUT_S."""
        if self.is_open:
            try:
                self._connection.close()
            except AMQPError:
                return
        if not self.closed.done():
            await asyncio.wait({self.closed}, timeout=CLOSE_TIMEOUT_S)

    def on_closed(self, error: BaseException) -> None:
        """pika's word that the connection is gone."""
        if not self.closed.done():
            self.closed.set_result(reason_of(error))
        self.unblocked.set()

    def _on_blocked(self, _: Any, method: Any) -> None:
        self.blocked = str(method.method.reason or "low on resources")
        self.unblocked.clear()

    def _on_unblocked(self, _: Any, __: Any) -> None:
        self.blocked = None
        self.unblocked.set()


class Channel:
    """One channel; its calls are awaited, and all end when it closes."""

    def __init__(self, raw: Any) -> None:
        self.raw = raw
        self.closed: asyncio.Future[ChannelClosed] = asyncio.get_running_loop().create_future()
        raw.add_on_close_callback(self._on_closed)

    @property
    def is_open(self) -> bool:
        """Whether it can be used."""
        return not self.closed.done() and bool(self.raw.is_open)

    async def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call one of pika's channel methods that take a callback, and wait for the broker's answer (its frame).

        Raises: ChannelClosed (with the broker's code), TemporaryError when no answer comes.
        """
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            getattr(self.raw, method)(*args, callback=partial(_answer, answer), **kwargs)
        except AMQPError as error:
            raise self.closed.result() if self.closed.done() else ChannelClosed(0, reason_of(error)) from error
        await asyncio.wait({answer, self.closed}, timeout=CALL_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        answer.cancel()
        if self.closed.done():
            raise self.closed.result()
        raise TemporaryError(f"the broker does not answer {method}")

    def tell(self, method: str, *args: Any, **kwargs: Any) -> bool:
        """Call a method without an answer (ack, nack, publish); False when the channel is closed."""
        if not self.is_open:
            return False
        try:
            getattr(self.raw, method)(*args, **kwargs)
        except AMQPError:
            return False
        return True

    async def close(self) -> None:
        """Close it, if it is open; unacknowledged messages go back to their queue."""
        if self.tell("close"):
            await asyncio.wait({self.closed}, timeout=CLOSE_TIMEOUT_S)

    def _on_closed(self, _: Any, error: BaseException) -> None:
        if not self.closed.done():
            code = getattr(error, "reply_code", 0)
            self.closed.set_result(ChannelClosed(code if isinstance(code, int) else 0, reason_of(error)))


async def open_link(url: str, name: str, tls: ssl.SSLContext | None = None) -> Link:
    """Connect to one broker node.

    tls: whom to believe, for amqps; none: the machine's authorities.
    name: shown in the broker's list of connections. Raises: LoginRefused, TemporaryError.
    """
    loop = asyncio.get_running_loop()
    opened: asyncio.Future[BaseException | None] = loop.create_future()
    links: list[Link] = []

    def on_close(_: Any, error: BaseException) -> None:
        for link in links:
            link.on_closed(error)

    connection = AsyncioConnection(
        _parameters(url, name, tls),
        on_open_callback=lambda _: _answer(opened, None),
        on_open_error_callback=lambda _, error: _answer(opened, error),
        on_close_callback=on_close,
        custom_ioloop=loop,
    )
    link = Link(connection, place(url))
    links.append(link)
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            error = await opened
    except BaseException as cut:
        _give_up(connection)
        if isinstance(cut, TimeoutError):
            raise TemporaryError(f"no answer from {link.where} within {OPEN_TIMEOUT_S:g} s") from cut
        raise
    if error is not None:
        raise _open_error(error, url) from error
    return link


def _answer(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _parameters(url: str, name: str, tls: ssl.SSLContext | None) -> Any:
    parameters = pika.URLParameters(url)
    if url.startswith("amqps:"):
        parameters.ssl_options = pika.SSLOptions(tls or tls_context(), urlsplit(url).hostname)
    parameters.heartbeat = HEARTBEAT_S
    parameters.blocked_connection_timeout = BLOCKED_TIMEOUT_S
    parameters.connection_attempts = 1
    parameters.socket_timeout = OPEN_TIMEOUT_S / 2
    parameters.stack_timeout = OPEN_TIMEOUT_S
    parameters.client_properties = {"connection_name": name}
    return parameters


def _give_up(connection: Any) -> None:
    """Stop a connection that is still opening."""
    with contextlib.suppress(AMQPError):
        connection.close()


def _open_error(error: BaseException, url: str) -> TemporaryError:
    where, user = place(url), urlsplit(url).username or "guest"
    cause = _root(error)
    refused = isinstance(cause, ProbableAuthenticationError | ProbableAccessDeniedError) or (
        isinstance(cause, ConnectionClosedByBroker) and cause.reply_code in (ACCESS_REFUSED, 530)
    )
    if refused:
        return LoginRefused(
            f"{where} refuses the log-in of {user!r}: check user, password and virtual host in REGENTE_AMQP_URL"
        )
    return TemporaryError(f"{where} can't be reached: {reason_of(cause)}")


def _root(error: BaseException) -> BaseException:
    """The error inside pika's wrappings of wrappings."""
    seen = 0
    while seen < 10:
        seen += 1
        inner = getattr(error, "exceptions", None) or getattr(error, "exception", None)
        if isinstance(inner, list | tuple) and inner:
            inner = inner[-1]
        if not isinstance(inner, BaseException):
            first = error.args[0] if isinstance(error, AMQPConnectionError) and error.args else None
            inner = first if isinstance(first, BaseException) else None
        if inner is None:
            return error
        error = inner
    return error


def reason_of(error: BaseException) -> str:
    """An error of pika's in few words."""
    cause = _root(error)
    text = getattr(cause, "reply_text", None)
    if text:
        return f"{getattr(cause, 'reply_code', '')} {text}".strip()[:300]
    return (str(cause) or type(cause).__name__).split("\n")[0][:300]
