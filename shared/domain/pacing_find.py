"""How long to wait for an element (or a page), learned from how long such waits took.

Called by: pacing.py. Survives a crash: nothing, it is a pure function. Change also: docs/adr/0016.

A wait for what comes ends when it comes, so a long limit costs nothing there: shortening it could only add failures.
The limit costs something only where things often do *not* come (a banner, a message that is there at times). Hence:

- *Longer*: a miss of what the script needs doubles the next limit, up to `find_max_s` (RFC 6298 5.5). What then comes
  late is counted, and the limit stays at twice the 99.9th percentile of what came, never below the default. What does
  not come within the longest limit is not late but absent: the default again, until `retry_after_hours` have gone.
- *Shorter*: only at places where at least one wait in twenty is in vain, after twenty that were not, and for what the
  script needs only once longer limits are known to be in vain: three times the 99.9th percentile and half a second.
  Every eighth wait there still gets the whole time, so that what begins to come later is noticed.

The percentile comes from a histogram of growing buckets, rounded up to a bucket's end, instead of RFC 6298's mean and
deviation: times of pages are not normal, and counts of several executors add up in any order. The counts are halved
when there are many, so that they follow the page.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from shared.domain.pacing_pause import SAME_S, Bounds

BUCKET_FIRST_S, BUCKET_GROWTH, BUCKETS = 0.1, 1.5, 20
"""The buckets end at 0.1 s, 0.15 s, ... 222 s; the last one takes all that is longer."""
COUNT_MAX = 2000
PERCENTILE = 0.999
LONGER_MARGIN = 2.0
SHORTER_MARGIN, SHORTER_REST_S, SHORTER_MIN_S = 3.0, 0.5, 1.0
FOUND_MIN = 20
IN_VAIN_PART = 0.05
WHOLE_EVERY = 8


@dataclass(frozen=True)
class Wait:
    """One wait as the script asks for it."""

    default_s: float
    """What the robot waits when nothing is said."""
    needed: bool = True
    """Whether the instruction fails when it does not come."""
    shortens: bool = True
    """Whether a shorter wait may be learned at all."""
    turn: int = 0
    """Counts the waits of this process: every eighth gets the whole time."""


@dataclass(frozen=True)
class Found:
    """What is known about waits."""

    counts: tuple[int, ...] = (0,) * BUCKETS
    """How many waits ended in each bucket."""
    missed: int = 0
    stretch: int = 0
    """How often the limit is doubled for the next wait."""
    futile_until_h: float = 0.0
    """Until then a longer limit is known not to help."""

    @property
    def came(self) -> int:
        """How many of the counted waits were not in vain."""
        return sum(self.counts)


def bucket_end_s(index: int) -> float:
    """The longest time that falls into a bucket."""
    return BUCKET_FIRST_S * BUCKET_GROWTH**index


def percentile_s(found: Found, part: float = PERCENTILE) -> float:
    """The time within which this part of what came had come, rounded up; 0 when nothing did."""
    left = part * found.came
    if left <= 0:
        return 0.0
    for index, count in enumerate(found.counts):
        left -= count
        if count and left <= 1e-9:
            return bucket_end_s(index)
    return bucket_end_s(BUCKETS - 1)


def planned(found: Found, wait: Wait, bounds: Bounds, hours: float) -> float | None:
    """How long to wait, seconds; None: as the robot does by itself."""
    longest = max(bounds.find_max_s, wait.default_s)
    usual = min(max(wait.default_s, LONGER_MARGIN * percentile_s(found)), longest) if wait.needed else wait.default_s
    if wait.needed and found.stretch:
        usual = max(usual, min(wait.default_s * 2**found.stretch, longest))
    elif _may_shorten(found, wait, hours):
        usual = min(usual, max(SHORTER_MIN_S, SHORTER_MARGIN * percentile_s(found) + SHORTER_REST_S))
    return None if abs(usual - wait.default_s) < SAME_S else usual


def _may_shorten(found: Found, wait: Wait, hours: float) -> bool:
    came = found.came
    often_in_vain = found.missed >= IN_VAIN_PART * (came + found.missed)
    known = not wait.needed or hours < found.futile_until_h
    return wait.shortens and known and came >= FOUND_MIN and often_in_vain and wait.turn % WHOLE_EVERY != 0


def learn(found: Found, *, found_s: float | None, waited_s: float, wait: Wait, bounds: Bounds, hours: float) -> Found:
    """What is known after one more wait. found_s: how long it took; None: it was in vain, after `waited_s`."""
    if found_s is not None:
        index = next((i for i in range(BUCKETS - 1) if found_s <= bucket_end_s(i)), BUCKETS - 1)
        counts = tuple(count + (i == index) for i, count in enumerate(found.counts))
        return _halved(replace(found, counts=counts, stretch=0))
    now = _halved(replace(found, missed=found.missed + 1))
    if not wait.needed or hours < now.futile_until_h:
        return now
    if waited_s >= max(bounds.find_max_s, wait.default_s) - SAME_S:
        return replace(now, stretch=0, futile_until_h=hours + bounds.retry_after_hours)
    limit = wait.default_s * 2**now.stretch
    return replace(now, stretch=now.stretch + 1) if waited_s >= limit - SAME_S else now


def _halved(found: Found) -> Found:
    if found.came + found.missed < COUNT_MAX:
        return found
    return replace(found, counts=tuple(count // 2 for count in found.counts), missed=found.missed // 2)
