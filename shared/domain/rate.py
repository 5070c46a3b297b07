"""A limit per minute as a token bucket: what is left, whether a cost fits, and when it will.

Called by: shared/runtime/rates.py, whose database update says the same in the server's words (a test holds the two
together). Pure. The bucket holds one minute's worth, so that much may come at once. A cost above that is let in when
the bucket is full and leaves a debt, which later ones wait for: over time the rate holds, and no push is impossible.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

RATE_MAX = 10_000_000


@dataclass(frozen=True)
class Drawn:
    """What became of a draw."""

    allowed: bool
    level: float
    """Left after it; below zero: a debt."""
    wait_s: float
    """When refused: after this long the same draw is allowed, if nobody else draws."""


def draw(level: float, elapsed_s: float, *, per_min: int, cost: int, force: bool = False) -> Drawn:
    """Draw `cost` from a bucket that had `level` left `elapsed_s` ago. force: even into debt, for what is under way."""
    now = refilled(level, elapsed_s, per_min)
    need = needed(cost, per_min)
    if force or now >= need:
        return Drawn(True, now - cost, 0.0)
    return Drawn(False, now, wait_s(now, cost, per_min))


def refilled(level: float, elapsed_s: float, per_min: int) -> float:
    """The level after a while."""
    return min(float(per_min), level + max(0.0, elapsed_s) * per_min / 60)


def needed(cost: int, per_min: int) -> int:
    """The level at which a cost is let in."""
    return max(1, min(cost, per_min))


def wait_s(level: float, cost: int, per_min: int) -> float:
    """Seconds until a cost is let in at this level; 0: now."""
    return max(0.0, (needed(cost, per_min) - level) * 60 / per_min)


def retry_after(seconds: float) -> str:
    """For the header Retry-After: whole seconds, 1 at least."""
    return str(max(1, math.ceil(seconds)))
