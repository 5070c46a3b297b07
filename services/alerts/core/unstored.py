"""What is wrong with broker and database while it can't be stored: held in memory, so that people are told even so.

Called by: health.py (each instance for itself). Pure: the moment is an argument. Does not survive a crash: the next
process looks again and finds the same. Without a database nobody can agree who tells: with two instances people may be
told twice, which is better than not at all.

How others take part: `Telling` is what notify hands to health. It is called with an `Unstored` when one begins, again
every `repeat_s` while it lasts, and once when it is over; true means that somebody was told, else it is called again at
the next look. It must not need the database: who is told comes from what was read last.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from services.alerts.core.evaluate import alert_id
from services.alerts.core.findings import Finding


@dataclass(frozen=True)
class Unstored:
    """An alert that can't be stored now."""

    id: str
    """As a stored alert's would be: webhook receivers can tell repeats by it."""
    finding: Finding
    fired_at: datetime
    resolved_at: datetime | None = None
    times: int = 0
    """How often people were told of it."""
    told_at: datetime | None = None


Telling = Callable[[Unstored], Awaitable[bool]]


@dataclass
class UnstoredAlerts:
    """Those of one process."""

    held: dict[str, Unstored] = field(default_factory=dict)

    def look(self, findings: Iterable[Finding], now: datetime) -> list[Unstored]:
        """Note what was found while nothing can be stored; those that people have to be told of now."""
        for finding in findings:
            if finding.key not in self.held and (now - finding.since).total_seconds() >= finding.rule.for_s:
                id = alert_id(finding.rule.id, finding.target, finding.since)
                self.held[finding.key] = Unstored(id, finding, now)
        return [one for one in self.held.values() if _is_due(one, now)]

    def gone(self, keys: Container[str]) -> None:
        """What nobody was told of and is not there any more (`keys`: of what is) need not be told."""
        self.held = {key: one for key, one in self.held.items() if one.times or key in keys}

    def told(self, key: str, now: datetime) -> None:
        """Somebody was told of it."""
        one = self.held[key]
        self.held[key] = replace(one, times=one.times + 1, told_at=now)

    def stored_again(self, now: datetime) -> list[Unstored]:
        """The database takes writes again: those held, to be stored as over, each with when that was."""
        return [replace(one, resolved_at=now) for one in self.held.values()]

    def forget(self, key: str) -> None:
        """It is stored."""
        self.held.pop(key, None)


def _is_due(one: Unstored, now: datetime) -> bool:
    return one.told_at is None or now - one.told_at >= timedelta(seconds=one.finding.rule.repeat_s)
