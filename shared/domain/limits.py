"""Which period of the wall clock a moment falls into, and how much room a limit leaves in it.

Called by: gates.py and shared.mongo.gates (ids of counters, room), scheduler's counting (crossings, ends), calendar.py
and forecast.py (a zone's clock). Pure: moments and zones are arguments; nothing lives here. Change also: the ids in
`usage` hold what `period` returns, so its form changes only together with a migration of that collection.

A period is named in local time: `2026-11-25T14`, `2026-11-25`, `2026-11`. Where the clock is put back, an hour comes
twice; these are two periods with a full limit each, as they are two stretches of time: the first has the usual name,
the second one ends in its UTC offset, `2026-11-01T01-05:00`. So neither is a limit halved in the repeated hour, nor
runs one hour's counter on into the next. A day or month with such a change stays one period, an hour longer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
LOOK_BACK = timedelta(hours=25)
"""Longer than an hour and the greatest step back that a zone ever made (a day, where the date line was moved)."""
WARN_AT = 80
REACHED = 100
"""The percentage at which a limit itself is reached."""


@dataclass(frozen=True)
class Limit:
    """How many tasks may be executed in a period."""

    per: str
    """`hour`, `day` or `month`."""
    max: int
    """Tasks, at least 1."""
    warn_at: tuple[int, ...] = (WARN_AT,)
    """Percentages below 100 at which people are warned."""
    blocks: bool = True
    """Whether tasks wait for the next period when it is reached; if not, people are only told."""


def limits_of(settings: Mapping[str, Any]) -> tuple[Limit, ...]:
    """The limits in stored settings of a workflow or an account: `limits`, a list of {per, max, warn_at, on_limit}."""
    return tuple(
        Limit(str(one["per"]), int(one["max"]), _percentages(one), one.get("on_limit", "block") == "block")
        for one in settings.get("limits") or ()
    )


def _percentages(stored: Mapping[str, Any]) -> tuple[int, ...]:
    given = stored.get("warn_at", WARN_AT)
    return tuple(sorted({int(one) for one in ([given] if isinstance(given, int) else given or ())}))


def room(limits_with_used: Iterable[tuple[Limit, int]]) -> int | None:
    """How many more tasks may be executed now; none: any number. Limits that only tell people do not count."""
    left = [max(limit.max - used, 0) for limit, used in limits_with_used if limit.blocks]
    return min(left, default=None)


def crossings(limit: Limit, before: int, after: int) -> tuple[int, ...]:
    """Which percentages are reached by going from `before` to `after` used, lowest first; 100 is the limit itself.

    A percentage is reached when used * 100 >= percentage * max. As long as `used` only grows in a period, each is
    returned once, however great the steps.
    """
    marks = sorted({*limit.warn_at, REACHED})
    return tuple(mark for mark in marks if before * 100 < mark * limit.max <= after * 100)


def period(per: str, at: datetime, zone: str) -> str:
    """Name of the hour, day or month that a moment falls into, by the clock of a zone.

    per: `hour`, `day` or `month`. at: with its zone. zone: an IANA name.
    Raises: ValueError for another `per`, an unknown zone, or a moment without a zone.
    """
    info = zone_of(zone)
    local = aware(at).astimezone(info)
    if per == "hour":
        return local.strftime("%Y-%m-%dT%H") + (_offset_text(local) if _second_pass(info, local) else "")
    if per == "day":
        return local.strftime("%Y-%m-%d")
    if per == "month":
        return local.strftime("%Y-%m")
    raise ValueError(f"{per!r} is no period; use hour, day or month")


def period_ends(per: str, at: datetime, zone: str) -> datetime:
    """First moment (UTC) after the period that a moment falls into.

    It is found by the clock, so it is right where midnight does not exist (the day then ends where the next one begins)
    and where an hour is shorter or comes twice. Raises: as `period`.
    """
    name, moment = period(per, at, zone), at.astimezone(UTC)
    while period(per, moment, zone) == name:
        local = moment.astimezone(zone_of(zone)).replace(tzinfo=None)
        moment = clock_reaches(zone, moment, _next_mark(per, local) - local)
    return moment


def _next_mark(per: str, local: datetime) -> datetime:
    """Where the clock is looked at again: at the next full hour, or at the next midnight (a month goes day by day)."""
    hour = local.replace(minute=0, second=0, microsecond=0)
    if per == "hour":
        return hour + HOUR
    return hour.replace(hour=0) + timedelta(days=1)


@lru_cache(maxsize=1000)
def zone_of(name: str) -> ZoneInfo:
    """A zone by its IANA name. Raises: ValueError for an unknown one."""
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, LookupError) as error:  # an unknown zone, a folder, a name that is no path
        raise ValueError(f"{name!r} is no time zone; write one like America/Sao_Paulo or UTC") from error


def aware(at: datetime) -> datetime:
    """The moment itself. Raises: ValueError when it has no zone, so that nobody's local time is taken for another's."""
    if at.tzinfo is None:
        raise ValueError(f"the moment {at.isoformat()} has no zone; give it one, such as UTC")
    return at


def clock_reaches(zone: str, at: datetime, ahead: timedelta) -> datetime:
    """The moment (UTC) when a zone's clock has run on by `ahead`, or when it is put forward or back, if that is sooner.

    ahead: at most about a day. Between `at` and the result the clock runs evenly; the result itself may be the first
    moment after a change. (No zone changes its clock twice in a day.)
    """
    info = zone_of(zone)
    offset, end = at.astimezone(info).utcoffset(), at.astimezone(UTC) + ahead
    if end.astimezone(info).utcoffset() == offset:
        return end
    return _first_change(info, at, end)


def _first_change(info: ZoneInfo, before: datetime, after: datetime) -> datetime:
    """The first whole second in (before, after] with another offset than `before` has; changes are at whole seconds."""
    offset = before.astimezone(info).utcoffset()
    start = before.astimezone(UTC).replace(microsecond=0)
    low, high = 0, -((start - after) // SECOND)
    while high - low > 1:
        middle = (low + high) // 2
        if (start + middle * SECOND).astimezone(info).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return start + high * SECOND


def _second_pass(info: ZoneInfo, local: datetime) -> bool:
    """Whether the clock already was in this hour before it was put back.

    datetime's own `fold` does not tell: it is 0 again in the rest of an hour of which only a part is repeated.
    """
    moment = local.astimezone(UTC)
    earlier = (moment - LOOK_BACK).astimezone(info)
    before, now = earlier.utcoffset(), local.utcoffset()
    if before is None or now is None or before <= now:
        return False
    change = _first_change(info, earlier, moment)
    return local.replace(tzinfo=None, minute=0, second=0, microsecond=0) < change.replace(tzinfo=None) + before


def _offset_text(local: datetime) -> str:
    return local.isoformat(timespec="hours")[13:]
