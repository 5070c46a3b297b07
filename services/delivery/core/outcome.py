"""What an attempt's answer means, and what becomes of its delivery.

Called by: sender.py, channels/. Pure. Rules: 2xx is delivered; 410 means that the endpoint wants no more; everything
else, a redirect or silence included, is tried again by the schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from services.delivery.core.schedule import next_attempt
from shared.domain.delivery_state import DeliveryState

GONE = 410
ERROR_LENGTH_MAX = 500
ANSWER_SIZE_BYTES_MAX = 2048
"""Of an answer's body, kept with the attempt."""


class Meaning(StrEnum):
    """What an answer means."""

    DELIVERED = "delivered"
    """2xx."""
    GONE = "gone"
    """410: the endpoint is to be disabled."""
    FAILED = "failed"
    """Anything else; tried again."""


@dataclass(frozen=True)
class Answer:
    """What came back from an endpoint."""

    status: int | None
    """None: no HTTP answer."""
    error: str = ""
    """Why there was none, for people."""
    retry_after_s: float | None = None


@dataclass(frozen=True)
class Next:
    """What becomes of the delivery."""

    state: DeliveryState
    next_at: datetime | None
    reason: str | None
    """For people; none when it was delivered."""
    disable_endpoint: bool = False


def meaning(answer: Answer) -> Meaning:
    """Classify an answer."""
    if answer.status is None:
        return Meaning.FAILED
    if 200 <= answer.status < 300:
        return Meaning.DELIVERED
    return Meaning.GONE if answer.status == GONE else Meaning.FAILED


def after_attempt(
    answer: Answer, *, schedule: Sequence[float], failed_before: int, now: datetime, jitter: float
) -> Next:
    """What becomes of a delivery of which `failed_before` attempts (since it was last replayed) had failed already."""
    what = meaning(answer)
    if what is Meaning.DELIVERED:
        return Next(DeliveryState.DELIVERED, None, None)
    if what is Meaning.GONE:
        text = "the endpoint answered 410 Gone and was disabled"
        return Next(DeliveryState.DEAD, None, text, disable_endpoint=True)
    reason = complaint(answer)
    at = next_attempt(schedule, failed=failed_before + 1, now=now, jitter=jitter, retry_after_s=answer.retry_after_s)
    if at is None:
        return Next(DeliveryState.DEAD, None, f"given up after {failed_before + 1} attempts; the last one: {reason}")
    return Next(DeliveryState.RETRYING, at, reason)


def complaint(answer: Answer) -> str:
    """What was wrong with an answer, for people."""
    if answer.status is None:
        return (answer.error or "no answer")[:ERROR_LENGTH_MAX]
    if 300 <= answer.status < 400:
        return f"the endpoint answered {answer.status}; redirects are not followed"
    return f"the endpoint answered {answer.status}"


def attempt_record(answer: Answer, *, at: datetime, duration_s: float, text: str = "") -> dict[str, Any]:
    """What is kept of an attempt. text: the beginning of the answer's body, for people."""
    wrong = None if meaning(answer) is Meaning.DELIVERED else complaint(answer)
    return {"at": at, "status": answer.status, "duration_s": round(duration_s, 3), "error": wrong, "answer": text}
