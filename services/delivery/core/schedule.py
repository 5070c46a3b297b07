"""When an attempt is repeated, and when it is the last.

Called by: sender.py, config.py. Source of the waits: the Standard Webhooks specification, "Deliverability and
reliability" (https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md). Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from shared.domain.retry_after import RETRY_AFTER_S_MAX

STANDARD_SCHEDULE_S = (5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
JITTER_PART = 0.2
"""A wait is lengthened by up to this part of it, so that deliveries that failed together don't come back together."""
WAIT_S_MAX = 7 * 86400.0
ATTEMPTS_MAX = 50


def parse_schedule(text: str) -> tuple[float, ...]:
    """Read '5,300,1800'.

    Raises: ValueError.
    """
    try:
        waits = tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(f"{text!r} is no list of seconds such as 5,300,1800") from error
    if len(waits) >= ATTEMPTS_MAX or not all(0 <= wait <= WAIT_S_MAX for wait in waits):
        raise ValueError(f"a schedule has fewer than {ATTEMPTS_MAX} waits of 0 to {WAIT_S_MAX:.0f} seconds")
    return waits


def next_attempt(
    schedule: Sequence[float], *, failed: int, now: datetime, jitter: float, retry_after_s: float | None = None
) -> datetime | None:
    """When a delivery is tried again after its attempt number `failed` (from 1) failed; none: that was the last.

    jitter: a random number from 0 to 1. retry_after_s: what the endpoint asked for; it only ever lengthens a wait.
    """
    if failed < 1:
        raise ValueError("attempts are counted from 1")
    if failed > len(schedule):
        return None
    wait_s = schedule[failed - 1] * (1 + JITTER_PART * jitter)
    if retry_after_s is not None:
        wait_s = max(wait_s, min(retry_after_s, RETRY_AFTER_S_MAX))
    return now + timedelta(seconds=wait_s)
