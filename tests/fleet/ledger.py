"""What the simulated executors and robots saw with their own eyes, on one clock: who worked on what, and when.

Owns: the notes of one run of the test, in memory. Called by: executors.py, robots.py (write), checks.py (reads).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise


@dataclass(frozen=True)
class Span:
    """A time in which something was in somebody's hands; seconds on the test's monotonic clock."""

    start_s: float
    end_s: float
    run: str
    what: str = ""
    """Attempt of a task, or epoch of a robot."""


@dataclass
class Ledger:
    """All notes."""

    work: dict[str, list[Span]] = field(default_factory=lambda: defaultdict(list))
    """By task: from its start by a run to its end by that run."""
    robots: dict[str, list[Span]] = field(default_factory=lambda: defaultdict(list))
    """By robot: from the claim of a run on it to that run's end."""
    epochs: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """By robot: the epochs of its runs in the order of their claims."""
    told: Counter[str] = field(default_factory=Counter)
    """By task: how often its outcome was taken over by delivery."""
    ended: int = 0
    """Tasks that got a final state from an executor."""
    still_s: float = 0.0
    """The longest time in which no task ended."""
    runs: Counter[str] = field(default_factory=Counter)
    """Runs by how they ended."""
    outcomes: Counter[str] = field(default_factory=Counter)
    hints: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """What must never happen."""

    def complain(self, text: str) -> None:
        """Something happened that must never happen."""
        if len(self.wrong) < 50:
            self.wrong.append(text)


def overlapping(spans: list[Span]) -> list[tuple[Span, Span]]:
    """Neighbours in time of which the second began before the first had ended."""
    ordered = sorted(spans, key=lambda span: (span.start_s, span.end_s))
    return [(one, two) for one, two in pairwise(ordered) if two.start_s < one.end_s]
