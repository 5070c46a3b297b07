"""The clock, in the one precision that the database keeps.

Called by: services and shared code that stand around the decisions; cores get times as arguments.
Survives a crash: nothing lives here. Two machines' clocks are never compared: see shared/mongo/lease.py.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """The time in UTC, cut to milliseconds: what MongoDB gives back is then equal to what was stored."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def now_us() -> int:
    """Microseconds since 1970, for ids and ranks."""
    return time.time_ns() // 1000


def monotonic_s() -> float:
    """Seconds on a clock that never goes back; only differences within one process mean anything."""
    return time.monotonic()
