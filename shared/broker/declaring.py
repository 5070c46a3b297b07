"""Declaring exchanges and queues, and asking after queues; each on a throw-away channel, because a refusal closes it.

Called by: client.py, at each connect and on request. Survives a crash: declarations are idempotent and repeated.
Change also: shared/testing/stub_broker.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from shared.broker.errors import NOT_FOUND, PRECONDITION_FAILED, RESOURCE_LOCKED, ChannelClosed
from shared.broker.link import Channel, Link
from shared.contracts.topology import EXCHANGES, Exchange, Queue
from shared.errors import ErrorCode, PermanentError
from shared.obs.logs import get_logger

_log = get_logger(__name__)


async def declare_all(link: Link, queues: Sequence[Queue]) -> None:
    """Declare every exchange, and these queues. One that exists with other arguments is told, and left as it is.

    Raises: TemporaryError when the connection goes away.
    """
    channel = await link.channel()
    items: tuple[Exchange | Queue, ...] = (*EXCHANGES, *queues)
    for item in items:
        try:
            await (_exchange(channel, item) if isinstance(item, Exchange) else _queue(channel, item))
        except ChannelClosed as error:
            if not link.is_open:
                raise
            _log.error("not declared", name=item.name, reason=error.reason)
            channel = await link.channel()
    await channel.close()


async def declare_queue(link: Link, queue: Queue) -> None:
    """Declare one queue and its bindings.

    Raises: PermanentError CONFLICT when it exists with other arguments, TemporaryError (also when it is exclusive
    to another connection).
    """
    channel = await link.channel()
    try:
        await _queue(channel, queue)
    except ChannelClosed as error:
        if error.code == PRECONDITION_FAILED:
            raise PermanentError(ErrorCode.CONFLICT, f"queue {queue.name}: {error.reason}") from error
        raise
    finally:
        await channel.close()


async def is_there(link: Link, name: str) -> bool:
    """Whether a queue exists. One that is exclusive to another connection does."""
    try:
        await message_count(link, name)
    except ChannelClosed as error:
        if error.code == RESOURCE_LOCKED:
            return True
        raise
    except PermanentError:
        return False
    return True


async def message_count(link: Link, name: str) -> int:
    """Messages ready in a queue.

    Raises: PermanentError NOT_FOUND, ChannelClosed, TemporaryError.
    """
    channel = await link.channel()
    try:
        frame = await channel.call("queue_declare", name, passive=True)
        return int(frame.method.message_count)
    except ChannelClosed as error:
        if error.code == NOT_FOUND:
            raise PermanentError(ErrorCode.NOT_FOUND, f"there is no queue {name}") from error
        raise
    finally:
        await channel.close()


async def _exchange(channel: Channel, exchange: Exchange) -> None:
    await channel.call("exchange_declare", exchange.name, exchange_type=exchange.type, durable=True)


async def _queue(channel: Channel, queue: Queue) -> None:
    """Durable, unless it is exclusive: such a queue goes with its connection anyway."""
    await channel.call(
        "queue_declare",
        queue.name,
        durable=not queue.exclusive,
        exclusive=queue.exclusive,
        arguments=dict(queue.arguments),
    )
    for binding in queue.bindings:
        await channel.call("queue_bind", queue.name, binding.exchange, routing_key=binding.routing_key)
