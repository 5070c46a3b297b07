"""Figures of a storm: when work flowed again after each fault, and the table of it. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.chaos.flow import Pushed

BEFORE_S = 15.0
AFTER_S = 2.0


@dataclass(frozen=True)
class Measured:
    """What was measured of one fault; seconds."""

    title: str
    in_hand: int
    """Tasks that were in hand, or came just after."""
    recovered_s: float | None
    """From the fault until all of these had been delivered; none: some never were."""
    leader_s: float | None
    """From the fault until another process led what the victim had led; none: it led nothing."""
    whole_s: float
    """From the fault (a freeze: its end) until every process was ready."""
    bound_s: float

    @property
    def holds(self) -> bool:
        """Whether it took no longer than it may."""
        return self.recovered_s is not None and self.recovered_s <= self.bound_s


def in_hand(pushed: Iterable[Pushed], at_s: float) -> list[Pushed]:
    """The tasks that a fault at `at_s` may have hit: not delivered then, or pushed just after."""
    return [
        one
        for one in pushed
        if at_s - BEFORE_S <= one.at_s <= at_s + AFTER_S and (one.delivered_s is None or one.delivered_s > at_s)
    ]


def recovered_s(hit: Sequence[Pushed], at_s: float) -> float | None:
    """Seconds from a fault until all that it hit were delivered; none: some are not."""
    if any(one.delivered_s is None for one in hit):
        return None
    return max((one.delivered_s - at_s for one in hit if one.delivered_s is not None), default=0.0)


def table(rows: Sequence[Measured]) -> str:
    """The rows as a table in Markdown."""
    lines = [
        "| fault | tasks in hand | all delivered after, s | allowed, s | led on after, s | itself ready after, s |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        recovered = "never" if row.recovered_s is None else f"{row.recovered_s:.1f}"
        mark = "" if row.holds else " **too long**"
        leader = "" if row.leader_s is None else f"{row.leader_s:.1f}"
        lines.append(
            f"| {row.title} | {row.in_hand} | {recovered}{mark} | {row.bound_s:.0f} | {leader} | {row.whole_s:.1f} |"
        )
    return "\n".join(lines)


def placed(page: str, text: str, begin: str, end: str) -> str:
    """A page with what stands between two marks replaced.

    Raises: ValueError without the marks.
    """
    head, found, rest = page.partition(begin)
    _, found_end, tail = rest.partition(end)
    if not found or not found_end:
        raise ValueError(f"the page has no lines {begin!r} and {end!r}")
    return f"{head}{begin}\n{text}\n{end}{tail}"
