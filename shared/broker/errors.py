"""What can go wrong with the broker, beside its being away (a plain TemporaryError).

Called by: the modules beside it; re-exported by the package. Survives a crash: nothing lives here.
"""

from __future__ import annotations

from shared.errors import ErrorCode, PermanentError, TemporaryError


class Unroutable(PermanentError):
    """A mandatory message came back because no queue takes it, or its exchange does not exist."""

    def __init__(self, exchange: str, routing_key: str, reason: str) -> None:
        where = exchange or "default exchange"
        super().__init__(ErrorCode.UNROUTABLE, f"no queue takes {routing_key!r} on {where}: {reason}")


class BrokerClosed(TemporaryError):
    """This process is stopping, and its broker client with it."""


class ChannelClosed(TemporaryError):
    """The broker (or the loss of the connection) closed a channel.

    code: AMQP reply code (https://www.rabbitmq.com/amqp-0-9-1-reference#constants), 0 when there was none.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"channel closed: {reason}")
        self.code = code
        self.reason = reason


ACCESS_REFUSED = 403
NOT_FOUND = 404
RESOURCE_LOCKED = 405
PRECONDITION_FAILED = 406
