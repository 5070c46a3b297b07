"""What follows from one look at a source: counters, when to look next, whether it is down, what the log keeps.

Called by: sources/keeper.py, session.py. Pure: times are arguments. Change also: services/collector/README.md,
docs/sources.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from shared.domain.retry import backoff_s
from shared.domain.retry_after import RETRY_AFTER_S_MAX
from shared.intake.source_settings import Schedule

DOWN_AFTER = 3
"""Failed looks in a row after which a source is down and somebody is told."""
BACKOFF_FIRST_S = 10.0
BACKOFF_S_MAX = 3600.0
REFUSALS_MAX = 50
FILES_MAX = 50
KEEP_DAYS = 90
KEEP_EMPTY_DAYS = 3
REASON_MAX = 500


class Failure(Exception):
    """A look that failed; the text says why and what to do, and holds no secret."""

    def __init__(self, message: str, *, retry_after_s: float | None = None, restart: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
        """What the partner asked for."""
        self.restart = restart
        """The page to go on with is no good: begin at the kept cursor."""


@dataclass
class Tally:
    """Items of a look, or of all looks."""

    came: int = 0
    taken: int = 0
    duplicates: int = 0
    refused: int = 0

    def add(self, other: Tally) -> None:
        """Count another one in."""
        self.came += other.came
        self.taken += other.taken
        self.duplicates += other.duplicates
        self.refused += other.refused

    def increments(self) -> dict[str, int]:
        """As the database counts."""
        found = {"came": self.came, "taken": self.taken, "duplicates": self.duplicates, "refused": self.refused}
        return {f"counters.{name}": count for name, count in found.items() if count}


@dataclass
class Notes:
    """What the log will say of a look; bounded."""

    tally: Tally = field(default_factory=Tally)
    pages: int = 0
    acknowledged: int = 0
    refusals: list[dict[str, Any]] = field(default_factory=list)
    files: list[dict[str, Any]] = field(default_factory=list)
    batches: list[str] = field(default_factory=list)
    missed: dict[str, Any] | None = None
    words: list[str] = field(default_factory=list)

    def refuse(self, refused: list[dict[str, Any]]) -> None:
        """Note refused items: {index or row, reference, errors}."""
        self.refusals += refused[: REFUSALS_MAX - len(self.refusals)]

    def say(self, text: str) -> None:
        """Something people should know of this look."""
        if len(self.words) < 20:
            self.words.append(text[:REASON_MAX])

    @property
    def empty(self) -> bool:
        """Nothing came, nothing happened."""
        return not (self.tally.came or self.files or self.missed or self.words or self.acknowledged)


def tally_of(answer: Mapping[str, Any]) -> Tally:
    """What became of items that were handed to the intake."""
    accepted, refused = answer["accepted"], len(answer["rejected"])
    duplicates = sum(1 for one in accepted if one["duplicate"])
    return Tally(len(accepted) + refused, len(accepted) - duplicates, duplicates, refused)


def next_look(schedule: Schedule, began: datetime, now: datetime) -> datetime | None:
    """When to look again after a look that went well; none: never (a cron expression that is over)."""
    clock = schedule.clock()
    if clock is not None:
        return clock.after(now)
    return max(now, began + timedelta(seconds=schedule.every_s or 60))


def after_success(*, next_at: datetime | None, now: datetime) -> dict[str, Any]:
    """What to write after a look that went well."""
    return {"next_at": next_at, "failures": 0, "down": None, "last_success_at": now, "last_look_at": now}


def after_failure(source: Mapping[str, Any], failure: Failure, *, now: datetime, jitter: float) -> dict[str, Any]:
    """What to write after a look that failed: the next one comes later with each failure, and never before the partner
    said."""
    failures = int(source.get("failures", 0)) + 1
    wait_s = backoff_s(failures, first_s=BACKOFF_FIRST_S, factor=2, max_s=BACKOFF_S_MAX, jitter=jitter)
    if failure.retry_after_s is not None:
        wait_s = max(wait_s, min(failure.retry_after_s, RETRY_AFTER_S_MAX))
    changes: dict[str, Any] = {
        "failures": failures,
        "last_failure": {"at": now, "reason": failure.message[:REASON_MAX]},
        "last_look_at": now,
        "next_at": now + timedelta(seconds=wait_s),
    }
    if failures >= DOWN_AFTER and not source.get("down"):
        changes["down"] = {"since": now, "reason": failure.message[:REASON_MAX]}
    return changes


def log_entry(
    source: Mapping[str, Any], notes: Notes, *, began: datetime, ended: datetime, by: str, reason: str | None
) -> dict[str, Any]:
    """The log's entry of a look: one for each claim of the source."""
    asked = source.get("asked") or {}
    keep = KEEP_EMPTY_DAYS if notes.empty and reason is None and not asked else KEEP_DAYS
    tally = notes.tally
    return {
        "_id": f"{source['_id']}/{source['token']:010d}",
        "schema_version": 1,
        "source": source["_id"],
        "account": source["account"],
        "kind": source["kind"],
        "at": began,
        "duration_s": round((ended - began).total_seconds(), 3),
        "outcome": "ok" if reason is None else "failed",
        "reason": reason[:REASON_MAX] if reason else None,
        "came": tally.came,
        "taken": tally.taken,
        "duplicates": tally.duplicates,
        "refused": tally.refused,
        "refusals": notes.refusals,
        "pages": notes.pages,
        "acknowledged": notes.acknowledged,
        "files": notes.files[:FILES_MAX],
        "batches": notes.batches[:FILES_MAX],
        "missed": notes.missed,
        "words": notes.words,
        "by": by,
        "asked_by": asked.get("by"),
        "command": asked.get("command"),
        "expires_at": ended + timedelta(days=keep),
    }
