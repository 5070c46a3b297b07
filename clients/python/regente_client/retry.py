"""When a call is made again, and when it is given up: one state machine for the sync and the async client.

Repeating is safe: a task's reference is unique for ever, and each logical call carries one Idempotency-Key that is the
same on every attempt. Pure: clock and chance are arguments.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime

from regente_client.errors import ConnectionFailed, api_error

RETRIED = frozenset({429, 502, 503, 504})
CONFLICT = 409
EXPONENT_MAX = 30


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how long a call is repeated."""

    attempts: int = 10
    """Attempts in all; 1: never repeated."""
    base_s: float = 0.2
    """The first wait; each following one is twice as long."""
    wait_s_max: float = 10.0
    """The longest wait of our own choice."""
    retry_after_s_max: float = 60.0
    """The longest wait that a service may ask for; when it asks for more, the call ends with its error."""
    total_s: float = 120.0
    """No attempt begins later than this after the first one."""

    def wait_s(self, attempt: int, chance: float, retry_after_s: float | None = None) -> float:
        """How long to wait after attempt number `attempt` (from 1).

        chance: from 0 to 1; it spreads the wait over the upper half, so that clients that failed together do not come
        back together. retry_after_s: what the service asked for; it only ever lengthens the wait.
        """
        whole = min(self.wait_s_max, self.base_s * float(2 ** min(attempt - 1, EXPONENT_MAX)))
        return max(whole * (0.5 + 0.5 * chance), retry_after_s or 0.0)


class Attempts:
    """The attempts of one logical call."""

    def __init__(self, policy: RetryPolicy, started_s: float) -> None:
        self.policy = policy
        self.made = 0
        self._started_s = started_s

    def answered(
        self, status: int, headers: Mapping[str, str], body: bytes, *, now_s: float, chance: float, at: datetime
    ) -> float | None:
        """An answer came: none when it is the result, else how long to wait before the next attempt.

        now_s: the monotonic clock that `started_s` was read from. at: the wall clock, for a Retry-After with a date.
        Raises: ApiError when it will not get better.
        """
        self.made += 1
        if 200 <= status < 300 or status == 304:
            return None
        asked_s = retry_after_s(headers.get("retry-after"), at)
        error = api_error(status, body, retry_after_s=asked_s, attempts=self.made)
        # A conflict with Retry-After: the first attempt of this very call is still in work.
        if status not in RETRIED and not (status == CONFLICT and asked_s is not None):
            raise error
        wait_s = self._next(now_s, chance, asked_s)
        if wait_s is None:
            raise error
        return wait_s

    def failed(self, reason: Exception, *, now_s: float, chance: float) -> float:
        """No answer came: how long to wait before the next attempt.

        Raises: ConnectionFailed when that was the last one.
        """
        self.made += 1
        wait_s = self._next(now_s, chance, None)
        if wait_s is None:
            text = f"no answer after {self.made} attempts; the last one: {type(reason).__name__}: {reason}"
            raise ConnectionFailed(text) from reason
        return wait_s

    def _next(self, now_s: float, chance: float, asked_s: float | None) -> float | None:
        if self.made >= self.policy.attempts or (asked_s or 0.0) > self.policy.retry_after_s_max:
            return None
        wait_s = self.policy.wait_s(self.made, chance, asked_s)
        return wait_s if now_s + wait_s - self._started_s <= self.policy.total_s else None


def retry_after_s(header: str | None, at: datetime) -> float | None:
    """Seconds of a Retry-After header (RFC 9110, 10.2.3: a number or a date); none when missing or unreadable."""
    text = (header or "").strip()
    if not text or len(text) > 100:
        return None
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        due = parsedate_to_datetime(text)
        aware = due if due.tzinfo else due.replace(tzinfo=timezone.utc)
        return max((aware - at).total_seconds(), 0.0)
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
