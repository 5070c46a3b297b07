"""One consumer: a channel of its own, restored for as long as it is wanted.

Called by: client.py. Survives a crash: messages that were not acknowledged are delivered again. Change also:
shared/testing/stub_broker.py.

Handlers go on when the connection is lost under them; their acknowledgements then belong to a channel that is no
more, and are dropped without a word, because the message comes again and receivers are idempotent.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Any

from shared.broker.delivery import Delivery, Handler
from shared.broker.errors import ChannelClosed
from shared.broker.link import Channel, Link
from shared.broker.settling import Action, Verdict, dead_key, handle
from shared.contracts.topology import Queue
from shared.errors import RegenteError, TemporaryError
from shared.obs.ids import uuid7
from shared.obs.logs import get_logger

GRACE_S = 10.0
DEAD_LETTER_PAUSE_S = 1.0
RESTORE_PAUSE_S, RESTORE_PAUSE_S_MAX = 0.1, 5.0

_log = get_logger(__name__)


class Restorer:
    """Counts tries in a row, for the pause between them and for one log line per reason."""

    def __init__(self) -> None:
        self._tries = 0
        self._told = ""

    async def pause(self) -> None:
        """Wait: exponentially longer, with jitter."""
        ceiling_s = min(RESTORE_PAUSE_S_MAX, RESTORE_PAUSE_S * 2.0**self._tries)
        self._tries += 1
        await asyncio.sleep(random.uniform(ceiling_s / 2, ceiling_s))

    def news(self, reason: str) -> bool:
        """Whether this reason was not told yet in this row of tries."""
        told, self._told = self._told, reason
        return told != reason

    def reset(self) -> None:
        """It worked."""
        self._tries, self._told = 0, ""


class Consumer:
    """Made by Broker.consume; ends with `cancel`."""

    def __init__(
        self,
        queue: Queue,
        handler: Handler,
        *,
        prefetch: int,
        decode: bool,
        link: Callable[[], Awaitable[Link]],
        declare: Callable[[Queue], Awaitable[None]] | None,
        bury: Callable[[Queue, Delivery, str], Awaitable[bool]],
    ) -> None:
        self.queue = queue
        self.consuming = asyncio.Event()
        """Set while the broker delivers to it."""
        self._handler = handler
        self._prefetch = prefetch
        self._decode = decode
        self._link = link
        self._declare = declare
        self._bury = bury
        self._channel: Channel | None = None
        self._tag = ""
        self._running: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._restorer = Restorer()
        self._task = asyncio.get_running_loop().create_task(self._work(), name=f"consumer-{queue.name}")

    async def cancel(self, grace_s: float = GRACE_S) -> None:
        """Take no more messages, let the handlers that run finish within the grace, then give back the rest."""
        if self._stopping:
            return
        self._stopping = True
        self.consuming.clear()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        channel = self._channel
        if channel is not None and channel.is_open:
            with contextlib.suppress(TemporaryError):  # the channel is gone, and the consumer with it
                await channel.call("basic_cancel", self._tag)
        if self._running:
            _, late = await asyncio.wait(set(self._running), timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if channel is not None:
            await channel.close()

    async def _work(self) -> None:
        while True:
            link = await self._link()
            try:
                gone = await self._attach(link)
            except RegenteError as error:
                await self._failed(link, str(error))
                continue
            self._restorer.reset()
            self.consuming.set()
            reason = await gone
            self.consuming.clear()
            if self._channel is not None and self._channel.is_open:
                await self._channel.close()
            if link.is_open:
                await self._failed(link, reason)

    async def _failed(self, link: Link, reason: str) -> None:
        """Say once why, when it isn't the connection (which client.py tells), and wait."""
        if link.is_open and self._restorer.news(reason):
            _log.warning("consumer is restored", queue=self.queue.name, reason=reason)
        await self._restorer.pause()

    async def _attach(self, link: Link) -> asyncio.Future[str]:
        """Consume on a new channel of this link; the future that tells why it ended."""
        if self._declare is not None:
            await self._declare(self.queue)
        channel = await link.channel()
        gone: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        def on_gone(reason: str) -> None:
            if not gone.done():
                gone.set_result(reason)

        def on_closed(closed: asyncio.Future[ChannelClosed]) -> None:
            on_gone(closed.result().reason)

        channel.closed.add_done_callback(on_closed)
        channel.raw.add_on_cancel_callback(lambda _: on_gone("cancelled by the broker: its queue went away or moved"))
        await channel.call("basic_qos", prefetch_count=self._prefetch)
        self._tag = f"regente-{uuid7()}"
        self._channel = channel

        def on_message(_: Any, method: Any, properties: Any, body: bytes) -> None:
            self._on_message(channel, method, properties, body)

        await channel.call("basic_consume", self.queue.name, on_message, consumer_tag=self._tag)
        return gone

    def _on_message(self, channel: Channel, method: Any, properties: Any, body: bytes) -> None:
        if self._stopping:
            return  # unacknowledged: it goes back when the channel closes
        delivery = delivery_of(self.queue.name, method, properties, body)
        task = asyncio.get_running_loop().create_task(self._handle(channel, method.delivery_tag, delivery))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _handle(self, channel: Channel, tag: int, delivery: Delivery) -> None:
        verdict = await handle(self.queue, delivery, self._handler, decoded=self._decode)
        await self._settle(channel, tag, delivery, verdict)

    async def _settle(self, channel: Channel, tag: int, delivery: Delivery, verdict: Verdict) -> None:
        if verdict.action is Action.ACK:
            channel.tell("basic_ack", tag)
        elif verdict.action is Action.DEAD:
            await self._settle_dead(channel, tag, delivery, verdict.reason)
        else:
            if verdict.delay_s > 0:
                await asyncio.wait({channel.closed}, timeout=verdict.delay_s)
            channel.tell("basic_nack", tag, requeue=True)

    async def _settle_dead(self, channel: Channel, tag: int, delivery: Delivery, reason: str) -> None:
        """By hand where the dead-letter queue is known, because then it says why; else as the broker is set up."""
        if not channel.is_open:
            return
        if dead_key(self.queue) is None:
            channel.tell("basic_reject", tag, requeue=False)
        elif await self._bury(self.queue, delivery, reason):
            channel.tell("basic_ack", tag)
        else:
            await asyncio.sleep(DEAD_LETTER_PAUSE_S)
            channel.tell("basic_nack", tag, requeue=True)


def delivery_of(queue: str, method: Any, properties: Any, body: bytes) -> Delivery:
    """What a handler sees of pika's frames."""
    headers = properties.headers or {}
    counted = headers.get("x-delivery-count")
    return Delivery(
        body=body,
        exchange=method.exchange or "",
        routing_key=method.routing_key or "",
        queue=queue,
        redelivered=bool(method.redelivered),
        user_id=properties.user_id,
        headers=headers,
        delivery_count=counted if isinstance(counted, int) else int(bool(method.redelivered)),
    )
