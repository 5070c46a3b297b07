"""What becomes of a message after its handler: acknowledged, tried again, or a dead letter. The same for the stub.

Called by: consumer.py and shared/testing/stub_broker.py. Survives a crash: an unsettled message is delivered again.
Change also: ARCHITECTURE.md where it speaks of dead letters.

Poison is counted on documents, by the sweepers; a dead-letter queue is for what can't be parsed, and for faults of
this program.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from shared.broker.delivery import Delivery, Handler
from shared.contracts.envelope import MalformedMessage, decode
from shared.contracts.topology import Queue
from shared.errors import ErrorCode, PermanentError, TemporaryError
from shared.obs import trace
from shared.obs.logs import get_logger
from shared.obs.metrics import counter

REQUEUE_DELAY_S = 1.0
REQUEUE_DELAY_S_MAX = 30.0
REASON_LENGTH_MAX = 500
REASON_HEADER = "regente-reason"
QUEUE_HEADER = "regente-queue"

_log = get_logger(__name__)
_settled = counter("broker_messages_settled_total", "Messages received, by what became of them.", ["queue", "outcome"])


class Action(StrEnum):
    """What to tell the broker."""

    ACK = "ack"
    """Done with it."""
    REQUEUE = "requeue"
    """Again, after the delay."""
    DEAD = "dead"
    """To the dead-letter queue."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of one message."""

    action: Action
    delay_s: float = 0.0
    reason: str = ""


async def handle(queue: Queue, delivery: Delivery, handler: Handler, *, decoded: bool) -> Verdict:
    """Decode a message, run its handler under the sender's trace, and say what becomes of it. Never raises errors."""
    traceparent = delivery.headers.get("traceparent")
    with trace.use(traceparent if isinstance(traceparent, str) else None):
        try:
            message: Any = delivery.body
            if decoded:
                envelope, message = decode(delivery.body)
                delivery = replace(delivery, envelope=envelope)
            await handler(message, delivery)
            verdict = Verdict(Action.ACK)
        except Exception as error:
            verdict = verdict_of(error, queue, delivery)
            _tell(error, queue, delivery, verdict)
    _settled.labels(queue.name, verdict.action.value).inc()
    return verdict


def verdict_of(error: Exception, queue: Queue, delivery: Delivery) -> Verdict:
    """What follows from a handler's error. Pure."""
    if isinstance(error, MalformedMessage):
        return Verdict(Action.DEAD, reason=_short(f"{ErrorCode.MALFORMED}: {error}"))
    if isinstance(error, PermanentError):
        return Verdict(Action.DEAD, reason=_short(f"{error.code}: {error.message}"))
    if isinstance(error, TemporaryError):
        wished = (
            error.delay_s if error.delay_s is not None else REQUEUE_DELAY_S * 2.0 ** min(delivery.delivery_count, 8)
        )
        return Verdict(Action.REQUEUE, min(max(0.0, wished), REQUEUE_DELAY_S_MAX), _short(str(error)))
    reason = _short(f"{ErrorCode.INTERNAL}: {type(error).__name__}: {error}")
    if not is_quorum(queue) and delivery.redelivered:
        return Verdict(
            Action.DEAD, reason=reason
        )  # classic queues don't count deliveries: one more try, no endless loop
    return Verdict(Action.REQUEUE, 0.0, reason)


def is_quorum(queue: Queue) -> bool:
    """Whether the broker counts this queue's deliveries."""
    return queue.arguments.get("x-queue-type") == "quorum"


def dead_key(queue: Queue) -> str | None:
    """Routing key on the exchange DEAD for this queue's dead letters; None when it has no dead-letter queue."""
    return queue.dead.removesuffix(".dead") if queue.dead else None


def dead_headers(delivery: Delivery, reason: str) -> dict[str, Any]:
    """Headers of a dead letter: the original ones, where it died and why."""
    return {**delivery.headers, REASON_HEADER: reason, QUEUE_HEADER: delivery.queue}


def _tell(error: Exception, queue: Queue, delivery: Delivery, verdict: Verdict) -> None:
    facts = {"queue": queue.name, "routing_key": delivery.routing_key, "outcome": verdict.action.value}
    if isinstance(error, TemporaryError):
        _log.info("message is tried again", **facts, reason=verdict.reason, delay_s=round(verdict.delay_s, 2))
    elif isinstance(error, MalformedMessage | PermanentError):
        _log.warning("message refused", **facts, reason=verdict.reason, sender=delivery.user_id)
    else:
        _log.error("handler failed", **facts, redelivered=delivery.redelivered, exc_info=error)


def _short(text: str) -> str:
    return text if len(text) <= REASON_LENGTH_MAX else text[:REASON_LENGTH_MAX] + "..."
