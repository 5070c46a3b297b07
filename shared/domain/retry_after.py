"""How long another system asks to be left alone.

Called by: delivery (webhooks), collector (sources). Pure: the time is an argument. Source: RFC 9110, 10.2.3.
"""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

RETRY_AFTER_S_MAX = 86400.0
HEADER_LENGTH_MAX = 100


def retry_after_s(header: str | None, now: datetime) -> float | None:
    """Seconds of a Retry-After header, a number or a date, at most RETRY_AFTER_S_MAX; none when it is missing or
    unreadable. now: aware."""
    if not header or len(header) > HEADER_LENGTH_MAX:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), RETRY_AFTER_S_MAX)
    try:
        at = parsedate_to_datetime(text)
        aware = at if at.tzinfo else at.replace(tzinfo=UTC)
        return min(max((aware - now).total_seconds(), 0.0), RETRY_AFTER_S_MAX)
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
