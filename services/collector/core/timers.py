"""Which of a timer's times make a task now, and which were missed.

Called by: sources/timer.py. Pure. A time makes at most one task for ever, because its reference is made of the timer's
name and that time. Of several times that have passed, only the newest can make a task: a timer that stood still for a
week has not seven reports to write, but one, or none, as it is set.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.intake.source_settings import TimerSettings
from shared.intake.templates import fill

LISTED_MAX = 20


@dataclass(frozen=True)
class Firing:
    """What is to be done now."""

    task_at: datetime | None
    """The time that makes a task."""
    handled_until: datetime
    """Times up to here need nobody's attention again."""
    missed: dict[str, Any] | None
    """{count, times (the oldest LISTED_MAX), caught_up (the time that makes a task late, or none)}."""


def firing(settings: TimerSettings, since: datetime, now: datetime) -> Firing:
    """What a timer does at `now`, when all times up to `since` are done with."""
    clock = settings.schedule.clock()
    assert clock is not None
    latest = clock.latest(since, now)
    if latest is None:
        return Firing(None, since, None)
    late = now - latest > timedelta(seconds=settings.late_s)
    task_at = None if late and settings.missed == "skip" else latest
    count = clock.count(since, latest)
    gone = count if late else count - 1
    if gone <= 0:
        return Firing(task_at, latest, None)
    times: list[datetime] = []
    for at in clock.times(since):
        if at > latest or len(times) >= min(gone, LISTED_MAX):
            break
        times.append(at)
    return Firing(task_at, latest, {"count": gone, "times": times, "caught_up": task_at if late else None})


def timer_item(name: str, settings: TimerSettings, due: datetime) -> dict[str, Any]:
    """The item that a time makes: the same however often it is made."""
    clock = settings.schedule.clock()
    assert clock is not None
    local = due.astimezone(clock.zone)
    stamp = due.strftime("%Y-%m-%dT%H:%M:%SZ")
    values = {"due": stamp, "due_local": local.isoformat(timespec="seconds"), "due_date": local.date().isoformat()}
    item: dict[str, Any] = {"reference": f"{name}:{stamp}", "input": fill(settings.input, values)}
    if settings.priority is not None:
        item["priority"] = settings.priority
    if settings.deadline_s is not None:
        item["deadline"] = (due + timedelta(seconds=settings.deadline_s)).isoformat()
    return item
