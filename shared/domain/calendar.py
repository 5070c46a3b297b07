"""When work may be done: weekly windows by the wall clock, holidays, and the times in which a portal is away.

Called by: gates.py (is a workflow open), fitness.py (may a robot work), forecast.py; shared.mongo.gates makes calendars
from what is stored. Pure: moments and holidays are arguments. Nothing lives here but what a calendar remembers of its
own rules, so make it once and ask it often. Change also: shared/contracts/settings_file.py, docs/workflows.md.

It is open at a moment if the local clock then shows a time in a window that began on that local day, or on the day
before for a window across midnight, and if no closure covers the moment. On a holiday only windows with `holiday` among
their days begin; one that began the evening before runs on into it. Without windows it is open all day, except on
holidays. So an hour that the clock passes through twice counts twice, and one that it skips never comes; a window that
begins in a skipped hour begins with the first moment after it.

A portal's weekly closures do not know holidays: one for sundays is there on a holiday, too; with `holiday` among its
days it is there on the calendar's holidays besides.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

from shared.contracts.settings_file import DAY_MINUTES, Day, minutes
from shared.domain.limits import aware, clock_reaches, zone_of

HORIZON = timedelta(days=400)
"""How far it looks ahead."""
WEEK = (Day.MON, Day.TUE, Day.WED, Day.THU, Day.FRI, Day.SAT, Day.SUN)
ONE_DAY = timedelta(days=1)
ONE_MINUTE = timedelta(minutes=1)
OUTSIDE = "outside its windows"
ON_HOLIDAY = "a holiday"

Days = frozenset[str]
Stretch = tuple[datetime, datetime, bool]
_WORKDAYS: tuple[Days, ...] = tuple(frozenset({str(day)}) for day in WEEK)
_HOLIDAYS: Days = frozenset({str(Day.HOLIDAY)})
_BOTH: tuple[Days, ...] = tuple(one | _HOLIDAYS for one in _WORKDAYS)
T = TypeVar("T", int, datetime)


@dataclass(frozen=True)
class Window:
    """A weekly window by the wall clock."""

    days: Days
    """On which it begins: of mon, tue, wed, thu, fri, sat, sun, holiday."""
    start_min: int
    """Minutes since midnight, 0 to 1439."""
    end_min: int
    """First minute after it, 0 to 1440; not after start_min: on the next day."""


@dataclass(frozen=True)
class Closure:
    """One time in which it is closed, from `start` until just before `end`."""

    start: datetime
    end: datetime
    reason: str
    """As people read it, such as 'portal Tax office is under maintenance: new release'."""


class WeeklyClosure(NamedTuple):
    """A window in which it is closed every week, by a clock of its own."""

    zone: str
    window: Window
    reason: str


@dataclass(frozen=True)
class Calendar:
    """When work may be done."""

    zone: str = "UTC"
    """IANA name; its clock is what windows and holidays go by."""
    windows: tuple[Window, ...] = ()
    """None: always, except on holidays."""
    holidays: frozenset[date] = frozenset()
    closures: tuple[Closure, ...] = ()
    weekly_closures: tuple[WeeklyClosure, ...] = ()

    @cached_property
    def _hours(self) -> _Week | None:
        """When it is open but for closures; none: always."""
        if not self.windows and not self.holidays:
            return None
        return _Week(self.zone, self.windows or (_ALL_WEEK,), self._begins)

    @cached_property
    def _ordinary(self) -> _Week:
        """The same if there were no holidays."""
        return _Week(self.zone, self.windows or (_ALL_WEEK,), _begins_ordinarily)

    @cached_property
    def _away(self) -> tuple[_Week, ...]:
        """Weekly closures, one week per zone."""
        zones = dict.fromkeys(one.zone for one in self.weekly_closures)
        return tuple(self._closed_week([one for one in self.weekly_closures if one.zone == zone]) for zone in zones)

    @cached_property
    def _away_with_reason(self) -> tuple[tuple[_Week, str], ...]:
        return tuple((self._closed_week([one]), one.reason) for one in self.weekly_closures)

    @cached_property
    def _closed_marks(self) -> list[datetime]:
        """Where closures begin and end, in turn."""
        return _marks((one.start.astimezone(UTC), one.end.astimezone(UTC)) for one in self.closures)

    def _closed_week(self, closures: Sequence[WeeklyClosure]) -> _Week:
        return _Week(closures[0].zone, [one.window for one in closures], self._begins_besides)

    def _begins(self, day: date) -> Days:
        return _HOLIDAYS if day in self.holidays else _WORKDAYS[day.weekday()]

    def _begins_besides(self, day: date) -> Days:
        return (_BOTH if day in self.holidays else _WORKDAYS)[day.weekday()]


def _begins_ordinarily(day: date) -> Days:
    return _WORKDAYS[day.weekday()]


_ALL_WEEK = Window(frozenset(str(day) for day in WEEK), 0, DAY_MINUTES)


def calendar_of(
    settings: Mapping[str, Any],
    *,
    holidays: Iterable[Mapping[str, Any]] = (),
    portals: Iterable[Mapping[str, Any]] = (),
) -> Calendar:
    """The calendar of a workflow's settings or a robot's schedule, as they are stored.

    holidays, portals: the documents that the settings name; names without a document close nothing.
    """
    sites = list(portals)
    return Calendar(
        zone=str(settings.get("timezone") or "UTC"),
        windows=tuple(_window(one) for one in settings.get("windows") or ()),
        holidays=frozenset(_date(one["date"]) for calendar in holidays for one in calendar.get("dates") or ()),
        closures=tuple(
            Closure(_moment(one["start"]), _moment(one["end"]), _maintenance(site, one.get("reason")))
            for site in sites
            for one in site.get("maintenance") or ()
        ),
        weekly_closures=tuple(
            WeeklyClosure(str(site.get("timezone") or "UTC"), _window(one), _maintenance(site, _weekly_text(one)))
            for site in sites
            for one in site.get("weekly") or ()
        ),
    )


def is_open(calendar: Calendar, at: datetime) -> bool:
    """Whether work may be done at a moment.

    Raises: ValueError when the moment has no zone, or the calendar an unknown one.
    """
    aware(at)
    hours = calendar._hours
    if hours is not None and not hours.inside(at):
        return False
    if bisect_right(calendar._closed_marks, at) % 2:
        return False
    return not any(week.inside(at) for week in calendar._away)


def opens_at(calendar: Calendar, at: datetime) -> datetime | None:
    """First moment (UTC) from `at` on when it is open; none: not within 400 days."""
    return next((start for start, _, open in _stretches(calendar, at) if open), None)


def closes_at(calendar: Calendar, at: datetime) -> datetime | None:
    """First moment (UTC) from `at` on when it is closed; none: not within 400 days."""
    return next((start for start, _, open in _stretches(calendar, at) if not open), None)


def closed_because(calendar: Calendar, at: datetime) -> str | None:
    """Why it is closed at a moment, to be read after 'closed:'; none: it is open.

    Closures are named only when windows and holidays would have let work be done.
    """
    if is_open(calendar, at):
        return None
    if calendar._hours is not None and not calendar._hours.inside(at):
        return ON_HOLIDAY if _is_for_holiday(calendar, at) else OUTSIDE
    once = (one.reason for one in calendar.closures if one.start <= at < one.end)
    weekly = (reason for week, reason in calendar._away_with_reason if week.inside(at))
    return next(once, None) or next(weekly, OUTSIDE)


def open_seconds(calendar: Calendar, start: datetime, end: datetime) -> float:
    """How many seconds of the time from `start` until just before `end` it is open."""
    last = aware(end).astimezone(UTC)
    stretches = _stretches(calendar, start, last - aware(start))
    return sum(((min(until, last) - since).total_seconds() for since, until, open in stretches if open), 0.0)


def _is_for_holiday(calendar: Calendar, at: datetime) -> bool:
    """Whether a holiday is what closes it: no work that day at all, or work but for it (also on the morning after)."""
    if calendar._ordinary.inside(at):
        return True
    is_holiday = at.astimezone(zone_of(calendar.zone)).date() in calendar.holidays
    return is_holiday and not any(Day.HOLIDAY in window.days for window in calendar.windows)


def _stretches(
    calendar: Calendar, at: datetime, ahead: timedelta = HORIZON
) -> Iterator[tuple[datetime, datetime, bool]]:
    """Stretches of time (from, until, is open) that follow one another; neighbours may be alike."""
    moment = aware(at).astimezone(UTC)
    last = moment + ahead
    while moment < last:
        open, until = _state(calendar, moment)
        yield moment, until, open
        moment = until


def _state(calendar: Calendar, at: datetime) -> tuple[bool, datetime]:
    """Whether it is open, and a later moment until which that surely stays so."""
    until = at + HORIZON
    if calendar._hours is not None:
        inside, until = calendar._hours.span(at)
        if not inside:
            return False, until
    marks = calendar._closed_marks
    passed = bisect_right(marks, at)
    if passed % 2:
        return False, marks[passed]
    if passed < len(marks):
        until = min(until, marks[passed])
    for week in calendar._away:
        inside, ends = week.span(at)
        if inside:
            return False, ends
        until = min(until, ends)
    return True, until


class _Week:
    """Windows on a zone's clock."""

    def __init__(self, zone: str, windows: Iterable[Window], begins: Callable[[date], Days]) -> None:
        """begins: which windows begin on a date, by their days."""
        self._zone = zone
        self._info = zone_of(zone)
        self._windows = tuple(windows)
        self._begins = begins
        self._known: dict[tuple[Days, Days], list[int]] = {}

    def inside(self, at: datetime) -> bool:
        """Whether the clock then shows a time in a window."""
        local = at.astimezone(self._info)
        return bisect_right(self._of_day(local.date()), local.hour * 60 + local.minute) % 2 == 1

    def span(self, at: datetime) -> tuple[bool, datetime]:
        """The same, and a later moment (UTC) until which it surely stays so, at most the end of the local day."""
        local = at.astimezone(self._info)
        marks, minute = self._of_day(local.date()), local.hour * 60 + local.minute
        passed = bisect_right(marks, minute)
        ends = marks[passed] if passed < len(marks) else DAY_MINUTES
        ahead = (ends - minute) * ONE_MINUTE - timedelta(seconds=local.second, microseconds=local.microsecond)
        return passed % 2 == 1, clock_reaches(self._zone, at, ahead)

    def _of_day(self, day: date) -> list[int]:
        """Minutes of a date at which windows begin and end, in turn."""
        key = (self._begins(day - ONE_DAY), self._begins(day))
        if key not in self._known:
            self._known[key] = self._marks_of(*key)
        return self._known[key]

    def _marks_of(self, yesterday: Days, today: Days) -> list[int]:
        own = [(one.start_min, one.end_min) for one in self._windows if one.days & today]
        same_day = [(start, end if end > start else DAY_MINUTES) for start, end in own]
        left_over = [(0, one.end_min) for one in self._windows if one.days & yesterday and one.end_min <= one.start_min]
        return _marks(same_day + left_over)


def _marks(intervals: Iterable[tuple[T, T]]) -> list[T]:
    """Where a union of intervals begins and ends, in turn and in order."""
    marks: list[T] = []
    for start, end in sorted(intervals):
        if end <= start:
            continue
        if marks and start <= marks[-1]:
            marks[-1] = max(marks[-1], end)
        else:
            marks += [start, end]
    return marks


def _window(stored: Mapping[str, Any]) -> Window:
    return Window(frozenset(str(day) for day in stored["days"]), minutes(stored["start"]), minutes(stored["end"]))


def _date(stored: str | date) -> date:
    if isinstance(stored, datetime):
        return stored.date()
    return stored if isinstance(stored, date) else date.fromisoformat(stored)


def _moment(stored: str | datetime) -> datetime:
    """A stored moment; one without a zone is UTC, as the database means it."""
    at = datetime.fromisoformat(stored) if isinstance(stored, str) else stored
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at


def _maintenance(portal: Mapping[str, Any], reason: object) -> str:
    said = f"portal {portal.get('title') or portal.get('name') or ''}".strip() + " is under maintenance"
    return f"{said}: {reason}" if reason else said


def _weekly_text(stored: Mapping[str, Any]) -> str:
    named = set(stored["days"])
    return f"every {', '.join(day for day in Day if day in named)} from {stored['start']} to {stored['end']}"
