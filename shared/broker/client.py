"""The broker client of a service: one connection that comes back, publishing, consuming, declaring.

Called by: shared.runtime.service makes one `Broker`; handlers and senders use it. Survives a crash: nothing here
needs to. After a restart of the broker, even with its data wiped, every exchange, queue and consumer is there again
at the next connect. Change also: shared/testing/stub_broker.py and tests/conformance, which hold the two together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_random_exponential

from shared.broker.consumer import Consumer
from shared.broker.declaring import declare_all, declare_queue, is_there, message_count
from shared.broker.delivery import Delivery, Handler
from shared.broker.errors import BrokerClosed, Unroutable
from shared.broker.link import Channel, Link, LoginRefused, open_link
from shared.broker.publisher import Publisher, outgoing
from shared.broker.settling import dead_headers, dead_key
from shared.contracts.envelope import Message, encode
from shared.contracts.topology import DEAD, EXCHANGES, Queue
from shared.errors import ErrorCode, PermanentError, RegenteError, TemporaryError
from shared.obs import trace
from shared.obs.clock import now
from shared.obs.ids import new_id
from shared.obs.logs import get_logger
from shared.obs.metrics import counter, gauge
from shared.outbound.trust import tls_context

CONNECT_TIMEOUT_S = 30.0
PUBLISH_TIMEOUT_S = 10.0
ON_CONNECT_TIMEOUT_S = 60.0
CONSUME_TIMEOUT_S = 10.0
RECONNECT_PAUSE_S_MAX = 3.0
EXCLUSIVE_PAUSE_S = 0.5

_log = get_logger(__name__)
_published = counter("broker_published_total", "Messages published, by exchange and outcome.", ["exchange", "outcome"])
_connected = gauge("broker_connected", "1 while the broker connection stands.")
_reconnects = counter("broker_connects_total", "Broker connections made.")


class Broker:
    """A connection to one of several broker nodes.

    urls: amqp://user:password@host:port/vhost, tried in turn. instance: names the connection and the sender of
    messages. topology: queues declared, with all EXCHANGES, at each connect. on_connect: awaited after each connect.
    user_id: the connection's own user, if messages are to carry its name; the broker refuses any other. ca_file: PEM
    file of authorities that amqps brokers may have besides the machine's.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        instance: str,
        topology: Sequence[Queue] = (),
        on_connect: Sequence[Callable[[], Awaitable[Any]]] = (),
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
        publish_timeout_s: float = PUBLISH_TIMEOUT_S,
        user_id: str | None = None,
        ca_file: str = "",
    ) -> None:
        if not urls:
            raise ValueError("a broker needs at least one URL")
        self.on_connect: list[Callable[[], Awaitable[Any]]] = list(on_connect)
        self.instance = instance
        self._urls = list(urls)
        self._tls = tls_context(ca_file) if any(url.startswith("amqps:") for url in urls) else None
        self._topology = tuple(topology)
        self._connect_timeout_s = connect_timeout_s
        self._publish_timeout_s = publish_timeout_s
        self._user_id = user_id
        self._exclusive: dict[str, Queue] = {}
        self._consumers: set[Consumer] = set()
        self._background: set[asyncio.Task[Any]] = set()
        self._opened: Link | None = None
        self._live: Link | None = None
        self._up = asyncio.Event()
        self._settled = asyncio.Event()
        self._trouble = "not started"
        self._task: asyncio.Task[None] | None = None
        self._stopped = False
        self._repairing = False
        known = frozenset(exchange.name for exchange in EXCHANGES)
        self._confirmed = Publisher(self._link_within, confirms=True, known=known, repair=self._repair)
        self._unconfirmed = Publisher(self._link_within, confirms=False, known=known, repair=self._repair)

    # life

    async def start(self) -> None:
        """Connect, declare, run on_connect; from then on reconnect by itself.

        Raises: TemporaryError when that did not succeed within connect_timeout_s; it goes on trying all the same.
        """
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._work(), name="broker")
        try:
            await asyncio.wait_for(self._settled.wait(), self._connect_timeout_s)
        except TimeoutError as error:
            raise TemporaryError(f"no broker: {self._trouble}") from error

    async def stop(self) -> None:
        """Cancel the consumers, let their handlers finish, close the connection."""
        self._stopped = True
        await asyncio.gather(*(consumer.cancel() for consumer in self._consumers))
        self._consumers.clear()
        tasks = [task for task in (self._task, *self._background) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._live = None
        self._up.clear()
        _connected.set(0)
        if self._opened is not None:
            await self._opened.close()

    @property
    def connected(self) -> bool:
        """Whether the connection stands at the moment."""
        return self._live is not None and self._live.is_open

    async def wait_connected(self, timeout_s: float) -> None:
        """Wait until the connection stands.

        Raises: TemporaryError after timeout_s seconds.
        """
        await self._link_within(timeout_s)

    # messages

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
        """Publish bytes. With `confirm` it returns when the broker has taken responsibility for them.

        Raises: Unroutable (mandatory, and no queue takes it), TemporaryError (no connection or no confirm in time).
        """
        message = outgoing(
            exchange,
            routing_key,
            body,
            persistent=persistent,
            mandatory=mandatory,
            expiration_ms=expiration_ms,
            headers=headers,
            user_id=self._user_id,
        )
        outcome = "failed"
        try:
            if confirm:
                await self._confirmed.publish(message, self._publish_timeout_s)
            else:
                await self._unconfirmed.publish_unconfirmed(message, self._link_now(), self._publish_timeout_s)
            outcome = "published"
        except Unroutable as error:
            if not self._repairing:
                raise
            raise TemporaryError(f"exchanges and queues are just being declared again: {error}") from error
        finally:
            _published.labels(exchange, outcome).inc()

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
        """Publish a message in its envelope, under the current trace.

        Raises: as publish, and PermanentError TOO_LARGE.
        """
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
    ) -> Consumer:
        """Hand every message of a queue to `handler(message, delivery)`, up to `prefetch` of them at once.

        Returns when the broker delivers, or after CONSUME_TIMEOUT_S with a log line; either way it goes on until
        `Consumer.cancel`. A queue given as Queue is declared first, now and whenever the consumer is restored.
        """
        if self._stopped:
            raise BrokerClosed("this process is stopping")
        described = queue if isinstance(queue, Queue) else self._described(queue)
        consumer = Consumer(
            described,
            handler,
            prefetch=prefetch,
            decode=decode,
            link=self._link_ever,
            declare=self.declare if described is not None and described.reader else None,
            bury=self._bury,
        )
        self._consumers = {one for one in self._consumers if not one._stopping} | {consumer}
        try:
            await asyncio.wait_for(consumer.consuming.wait(), CONSUME_TIMEOUT_S)
        except TimeoutError:
            _log.warning("consumer does not run yet", queue=described.name, reason=self._trouble)
        return consumer

    # queues

    async def declare(self, *queues: Queue) -> None:
        """Declare queues and their bindings. Exclusive ones are declared again at each reconnect.

        Raises: PermanentError CONFLICT when one exists with other arguments, TemporaryError.
        """
        link = await self._link_within(self._publish_timeout_s)
        for queue in queues:
            await declare_queue(link, queue)
            if queue.exclusive:
                self._exclusive[queue.name] = queue

    async def delete_queue(self, name: str) -> None:
        """Delete a queue with what is in it; none of that name is fine."""
        self._exclusive.pop(name, None)
        await self._on_channel(lambda channel: channel.call("queue_delete", name))

    async def purge(self, name: str) -> None:
        """Drop the messages that wait in a queue."""
        await self._on_channel(lambda channel: channel.call("queue_purge", name))

    async def exists(self, name: str) -> bool:
        """Whether there is a queue of that name, ours or exclusive to another connection."""
        return await is_there(await self._link_within(self._publish_timeout_s), name)

    async def depth(self, name: str) -> int:
        """Messages that wait in a queue for delivery. Raises: PermanentError NOT_FOUND, TemporaryError."""
        return await message_count(await self._link_within(self._publish_timeout_s), name)

    # connection

    async def _work(self) -> None:
        while True:
            self._opened = link = await self._connected_link()
            try:
                await self._set_up(link)
                await self._watch(link)
            except RegenteError as error:
                self._trouble = str(error)
                _log.warning("broker connection is given up", reason=str(error), broker=link.where)
                await link.close()
            finally:
                self._live = None
                self._up.clear()
                _connected.set(0)

    async def _connected_link(self) -> Link:
        told: set[str] = set()

        def tell(state: RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            self._trouble = str(error)
            if self._trouble not in told:
                told.add(self._trouble)
                level = _log.error if isinstance(error, LoginRefused) else _log.warning
                level("broker not connected, trying on", reason=self._trouble)

        retrying = AsyncRetrying(
            retry=retry_if_exception_type(TemporaryError),
            wait=wait_random_exponential(multiplier=0.1, max=RECONNECT_PAUSE_S_MAX),
            before_sleep=tell,
        )
        return await retrying(self._try_next)

    async def _try_next(self) -> Link:
        """Try the next node; the one that failed goes to the end of the list."""
        url = self._urls[0]
        try:
            return await open_link(url, self.instance, self._tls)
        except TemporaryError:
            self._urls.append(self._urls.pop(0))
            raise

    async def _set_up(self, link: Link) -> None:
        """Declare everything, then let others use the link, then tell them."""
        await declare_all(link, self._topology)
        for queue in self._exclusive.values():
            self._spawn(self._declare_exclusive(link, queue))
        self._live = link
        self._up.set()
        _connected.set(1)
        _reconnects.inc()
        _log.info("broker connected", broker=link.where)
        for callback in list(self.on_connect):
            await self._tell_connected(callback)
        self._settled.set()

    async def _tell_connected(self, callback: Callable[[], Awaitable[Any]]) -> None:
        try:
            async with asyncio.timeout(ON_CONNECT_TIMEOUT_S):
                await callback()
        except (TemporaryError, TimeoutError) as error:
            _log.warning("work after connecting failed", reason=str(error) or "timeout")
        except Exception:
            _log.exception("work after connecting failed")

    async def _watch(self, link: Link) -> None:
        """Until the connection is lost; says so when the broker blocks it."""
        blocked = False
        while not link.closed.done():
            await asyncio.wait({link.closed}, timeout=1.0)
            if (link.blocked is not None) != blocked:
                blocked = link.blocked is not None
                _log.warning(
                    "broker takes no messages" if blocked else "broker takes messages again", reason=link.blocked
                )
        self._trouble = link.closed.result()
        _log.warning("broker connection lost", reason=self._trouble, broker=link.where)

    async def _declare_exclusive(self, link: Link, queue: Queue) -> None:
        """After a reconnect the lost connection may hold the queue until the broker misses its heartbeat."""
        while link.is_open and queue.name in self._exclusive:
            try:
                await declare_queue(link, queue)
                return
            except RegenteError:
                await asyncio.sleep(EXCLUSIVE_PAUSE_S)

    def _link_now(self) -> Link:
        if self._stopped:
            raise BrokerClosed("this process is stopping")
        if self._live is None or not self._live.is_open:
            raise TemporaryError(f"no broker: {self._trouble}")
        return self._live

    async def _link_within(self, timeout_s: float) -> Link:
        if self._live is None or not self._live.is_open:
            if self._stopped:
                raise BrokerClosed("this process is stopping")
            try:
                await asyncio.wait_for(self._link_ever(), timeout_s)
            except TimeoutError as error:
                raise TemporaryError(f"no broker: {self._trouble}") from error
        return self._link_now()

    async def _link_ever(self) -> Link:
        while self._live is None or not self._live.is_open:
            self._up.clear() if self._live is not None else None
            await self._up.wait()
        return self._live

    def _repair(self) -> None:
        """An exchange of ours is gone: declare all again. Until that is done, nothing counts as unroutable."""
        link = self._live
        if link is not None and link.is_open and not self._repairing:
            self._repairing = True
            self._spawn(self._declare_again(link))

    async def _declare_again(self, link: Link) -> None:
        try:
            await declare_all(link, self._topology)
        finally:
            self._repairing = False

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._background.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.warning("declaring failed", reason=str(task.exception()))

    def _described(self, name: str) -> Queue:
        """The queue of that name in the topology; without a reader (and so never declared) when it isn't there."""
        for queue in (*self._topology, *self._exclusive.values()):
            if queue.name == name:
                return queue
        return Queue(name=name, reader="")

    async def _bury(self, queue: Queue, delivery: Delivery, reason: str) -> bool:
        """Put a message in its queue's dead-letter queue with the reason; True when it is safe there."""
        key = str(dead_key(queue))
        try:
            await self.publish(DEAD, key, delivery.body, mandatory=True, headers=dead_headers(delivery, reason))
        except RegenteError as error:
            _log.warning("dead letter not stored", queue=queue.name, reason=str(error))
            self._repair()
            return False
        return True

    async def _on_channel(self, act: Callable[[Channel], Awaitable[Any]]) -> None:
        channel = await (await self._link_within(self._publish_timeout_s)).channel()
        try:
            await act(channel)
        except TemporaryError as error:
            if getattr(error, "code", 0) != 404:
                raise
        finally:
            await channel.close()
