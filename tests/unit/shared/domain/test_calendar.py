"""A calendar is open when the clock on the wall says so, minute by minute, however the clock is changed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.contracts.settings_file import HolidayCalendar, Portal, Schedule, Settings
from shared.domain.calendar import (
    HORIZON,
    Calendar,
    Closure,
    WeeklyClosure,
    Window,
    calendar_of,
    closed_because,
    closes_at,
    is_open,
    open_seconds,
    opens_at,
)

WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WALKED_MIN = 52 * 60
# A zone and a moment shortly before its clock is changed.
PLACES = {
    ("America/Sao_Paulo", datetime(2018, 11, 3, 4, tzinfo=UTC)): "forward at midnight: 00:00 does not exist",
    (
        "America/Sao_Paulo",
        datetime(2018, 2, 17, 4, tzinfo=UTC),
    ): "back at midnight: 23:00 comes again",
    ("Europe/Lisbon", datetime(2026, 3, 28, 4, tzinfo=UTC)): "forward at 01:00",
    ("Europe/Lisbon", datetime(2026, 10, 24, 4, tzinfo=UTC)): "back at 02:00",
    ("America/New_York", datetime(2026, 3, 7, 10, tzinfo=UTC)): "forward at 02:00",
    ("America/New_York", datetime(2026, 10, 31, 10, tzinfo=UTC)): "back at 02:00",
    ("Australia/Lord_Howe", datetime(2026, 4, 3, 20, tzinfo=UTC)): "back by half an hour",
    ("Australia/Lord_Howe", datetime(2026, 10, 2, 20, tzinfo=UTC)): "forward by half an hour",
    ("America/St_Johns", datetime(2009, 10, 31, 4, tzinfo=UTC)): "back at 00:01, into the day before",
    ("UTC", datetime(2026, 12, 31, 4, tzinfo=UTC)): "never",
}


@st.composite
def windows(draw: st.DrawFn, *, holiday: bool = True) -> Window:
    days = draw(st.frozensets(st.sampled_from((*WEEK, "holiday") if holiday else WEEK), min_size=1, max_size=8))
    minute = st.integers(0, 1439) | st.sampled_from([0, 1, 30, 60, 90, 120, 150, 1380, 1439])
    return Window(days, draw(minute), draw(minute | st.just(1440)))


@st.composite
def situations(draw: st.DrawFn) -> tuple[Calendar, datetime]:
    """A calendar and a moment, near a change of its clock."""
    zone, start = draw(st.sampled_from(sorted(PLACES)))
    local = start.astimezone(ZoneInfo(zone)).date()
    closures = draw(st.lists(st.tuples(st.integers(-600, WALKED_MIN), st.integers(0, 900)), max_size=3))
    weekly = draw(st.lists(st.tuples(st.sampled_from([zone, "UTC", "Europe/Lisbon"]), windows()), max_size=2))
    return Calendar(
        zone=zone,
        windows=tuple(draw(st.lists(windows(), max_size=4))),
        holidays=draw(st.frozensets(st.integers(-1, 3).map(lambda days: local + timedelta(days=days)), max_size=2)),
        closures=tuple(
            Closure(start + timedelta(minutes=at), start + timedelta(minutes=at + length), f"closure {at}")
            for at, length in closures
        ),
        weekly_closures=tuple(WeeklyClosure(there, window, f"weekly in {there}") for there, window in weekly),
    ), start


def _begins(window: Window, day: date, holidays: frozenset[date], *, besides: bool) -> bool:
    if day in holidays:
        return "holiday" in window.days or (besides and WEEK[day.weekday()] in window.days)
    return WEEK[day.weekday()] in window.days


def _on_wall(zone: str, window: Window, holidays: frozenset[date], at: datetime, *, besides: bool = False) -> bool:
    """Whether the wall clock shows a time in a window."""
    wall = at.astimezone(ZoneInfo(zone))
    minute, today, yesterday = wall.hour * 60 + wall.minute, wall.date(), wall.date() - timedelta(days=1)
    if window.end_min > window.start_min:
        return window.start_min <= minute < window.end_min and _begins(window, today, holidays, besides=besides)
    if minute >= window.start_min and _begins(window, today, holidays, besides=besides):
        return True
    return minute < window.end_min and _begins(window, yesterday, holidays, besides=besides)


def _slowly_open(calendar: Calendar, at: datetime) -> bool:
    """The obvious model: look at the clock on the wall and at everything."""
    if calendar.windows:
        if not any(_on_wall(calendar.zone, one, calendar.holidays, at) for one in calendar.windows):
            return False
    elif at.astimezone(ZoneInfo(calendar.zone)).date() in calendar.holidays:
        return False
    if any(one.start <= at < one.end for one in calendar.closures):
        return False
    weekly = calendar.weekly_closures
    return not any(_on_wall(one.zone, one.window, calendar.holidays, at, besides=True) for one in weekly)


def _walk(calendar: Calendar, start: datetime, count: int = WALKED_MIN) -> list[bool]:
    return [_slowly_open(calendar, start + timedelta(minutes=k)) for k in range(count)]


NIGHT = Calendar("America/Sao_Paulo", (Window(frozenset({"sat", "sun"}), 22 * 60, 30),))
GAP = Calendar("America/Sao_Paulo", (Window(frozenset({"sun"}), 0, 30), Window(frozenset({"sun"}), 40, 90)))


@given(situations(), st.lists(st.integers(0, WALKED_MIN - 1), min_size=1, max_size=8))
@example((NIGHT, datetime(2018, 11, 3, 4, tzinfo=UTC)), [0, 1260])
@example((NIGHT, datetime(2018, 2, 17, 4, tzinfo=UTC)), [0, 1320])
@example((GAP, datetime(2018, 11, 3, 4, tzinfo=UTC)), [0, 1379, 1380])
@settings(max_examples=120, deadline=None)
def test_it_is_open_when_the_clock_on_the_wall_says_so(given: tuple[Calendar, datetime], asked: list[int]) -> None:
    calendar, start = given
    walked = _walk(calendar, start)
    end = start + timedelta(minutes=len(walked))
    assert [is_open(calendar, start + timedelta(minutes=k)) for k in range(len(walked))] == walked
    for minute in asked:
        at = start + timedelta(minutes=minute)
        for find, wanted in ((opens_at, True), (closes_at, False)):
            found = find(calendar, at)
            if wanted in walked[minute:]:
                assert found == start + timedelta(minutes=walked.index(wanted, minute))
            else:
                assert found is None or found >= end
        assert open_seconds(calendar, at, end) == 60 * sum(walked[minute:])
        assert (closed_because(calendar, at) is None) == walked[minute]


@given(situations(), st.integers(0, WALKED_MIN * 60), st.floats(1, 7200))
@settings(deadline=None)
def test_between_full_minutes_it_is_as_at_the_minute_before(
    given: tuple[Calendar, datetime], seconds: int, length: float
) -> None:
    calendar, start = given
    at = start + timedelta(seconds=seconds, microseconds=1)
    minute = start + timedelta(minutes=seconds // 60)
    assert is_open(calendar, at) == is_open(calendar, minute)
    half = at + timedelta(seconds=length)
    whole = open_seconds(calendar, minute, half)
    assert whole == pytest.approx(open_seconds(calendar, minute, at) + open_seconds(calendar, at, half))
    assert 0 <= whole <= (half - minute).total_seconds()


@given(situations())
@settings(deadline=None)
def test_what_opens_is_open_and_was_closed_just_before(given: tuple[Calendar, datetime]) -> None:
    calendar, start = given
    opens = opens_at(calendar, start)
    if opens is not None:
        assert is_open(calendar, opens)
        assert opens == start or not is_open(calendar, opens - timedelta(microseconds=1))
    closes = closes_at(calendar, opens) if opens is not None else None
    if closes is not None:
        assert not is_open(calendar, closes)
        assert is_open(calendar, closes - timedelta(microseconds=1))


def _at(text: str, zone: str = "America/Sao_Paulo") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


WORKDAYS = Window(frozenset({"mon", "tue", "wed", "thu", "fri"}), 8 * 60, 18 * 60)
CHRISTMAS = frozenset({date(2026, 12, 25)})  # a Friday


def test_a_working_week() -> None:
    calendar = Calendar("America/Sao_Paulo", (WORKDAYS,), CHRISTMAS)
    assert is_open(calendar, _at("2026-12-24T08:00"))
    assert not is_open(calendar, _at("2026-12-24T07:59:59"))
    assert closes_at(calendar, _at("2026-12-24T08:00")) == _at("2026-12-24T18:00")
    assert opens_at(calendar, _at("2026-12-24T18:00")) == _at("2026-12-28T08:00")
    assert open_seconds(calendar, _at("2026-12-24T17:00"), _at("2026-12-28T08:30")) == 5400
    assert open_seconds(calendar, _at("2026-12-24T17:00"), _at("2026-12-24T16:00")) == 0


def test_a_window_that_began_the_evening_before_runs_on_into_a_holiday_and_none_begins_on_it() -> None:
    night = Window(frozenset({"thu", "fri"}), 22 * 60, 6 * 60)
    calendar = Calendar("UTC", (night,), CHRISTMAS)
    assert is_open(calendar, _at("2026-12-25T05:59", "UTC"))
    assert closes_at(calendar, _at("2026-12-24T22:00", "UTC")) == _at("2026-12-25T06:00", "UTC")
    assert closed_because(calendar, _at("2026-12-25T23:00", "UTC")) == "a holiday"
    assert closed_because(calendar, _at("2026-12-26T05:00", "UTC")) == "a holiday"
    assert closed_because(calendar, _at("2026-12-26T06:00", "UTC")) == "outside its windows"


def test_only_windows_for_holidays_begin_on_a_holiday() -> None:
    calendar = Calendar("UTC", (WORKDAYS, Window(frozenset({"holiday"}), 10 * 60, 12 * 60)), CHRISTMAS)
    assert opens_at(calendar, _at("2026-12-24T18:00", "UTC")) == _at("2026-12-25T10:00", "UTC")
    assert closed_because(calendar, _at("2026-12-25T12:00", "UTC")) == "a holiday"
    assert closed_because(calendar, _at("2026-12-25T20:00", "UTC")) == "outside its windows"
    assert closed_because(calendar, _at("2026-12-25T11:00", "UTC")) is None


def test_without_windows_only_holidays_and_closures_close_it() -> None:
    assert is_open(Calendar(), _at("2026-12-25T03:00"))
    assert closes_at(Calendar(), _at("2026-12-25T03:00")) is None
    calendar = Calendar("America/Sao_Paulo", holidays=CHRISTMAS)
    assert closes_at(calendar, _at("2026-12-01T00:00")) == _at("2026-12-25T00:00")
    assert opens_at(calendar, _at("2026-12-25T00:00")) == _at("2026-12-26T00:00")
    assert closed_because(calendar, _at("2026-12-25T12:00")) == "a holiday"


def test_a_portals_weekly_closures_are_there_on_holidays_and_may_name_them_besides() -> None:
    weekly = WeeklyClosure("UTC", Window(frozenset({"fri", "holiday"}), 600, 660), "away")
    calendar = Calendar("UTC", (Window(frozenset({"thu", "holiday"}), 0, 1440),), CHRISTMAS, (), (weekly,))
    assert closed_because(calendar, _at("2026-12-24T10:00", "UTC")) is None
    assert closed_because(calendar, _at("2026-12-25T10:00", "UTC")) == "away"
    named = replace(calendar, weekly_closures=(weekly._replace(window=Window(frozenset({"holiday"}), 600, 660)),))
    assert closes_at(named, _at("2026-12-25T09:00", "UTC")) == _at("2026-12-25T10:00", "UTC")
    not_named = replace(calendar, weekly_closures=(weekly._replace(window=Window(frozenset({"thu"}), 600, 660)),))
    assert is_open(not_named, _at("2026-12-25T10:00", "UTC"))
    ordinary = replace(calendar, weekly_closures=(weekly._replace(window=Window(frozenset({"fri"}), 600, 660)),))
    assert not is_open(ordinary, _at("2026-12-25T10:00", "UTC"))


def test_what_never_opens_within_400_days_is_told() -> None:
    only_holidays = Calendar("UTC", (Window(frozenset({"holiday"}), 0, 1440),), frozenset({date(2028, 1, 1)}))
    assert opens_at(only_holidays, _at("2026-11-25T00:00", "UTC")) is None
    near = _at("2028-01-01T00:00", "UTC") - HORIZON + timedelta(seconds=1)
    assert opens_at(only_holidays, near) == _at("2028-01-01T00:00", "UTC")
    away = Calendar(closures=(Closure(_at("2026-01-01T00:00"), _at("2036-01-01T00:00"), "away"),))
    assert opens_at(away, _at("2026-11-25T00:00")) is None


STORED = Settings.model_validate(
    {
        "timezone": "America/Sao_Paulo",
        "windows": [{"days": ["mon", "fri", "holiday"], "start": "08:30", "end": "24:00"}],
        "holidays": ["national", "gone"],
        "portals": ["tax-office"],
    }
).model_dump(mode="json")
NATIONAL = HolidayCalendar.model_validate({"dates": [{"date": "2026-12-25", "name": "Christmas"}]}).model_dump(
    mode="json"
)
TAX_OFFICE = Portal.model_validate(
    {
        "title": "Tax office",
        "timezone": "UTC",
        "weekly": [{"days": ["sun", "sat"], "start": "22:00", "end": "02:00"}],
        "maintenance": [
            {"start": "2026-11-23T09:00:00-03:00", "end": "2026-11-23T13:00:00-03:00", "reason": "release"}
        ],
    }
)


def test_a_calendar_is_made_from_what_is_stored() -> None:
    portal = TAX_OFFICE.model_dump(mode="json") | {"name": "tax-office"}
    calendar = calendar_of(STORED, holidays=[NATIONAL], portals=[portal])
    weekly = "portal Tax office is under maintenance: every sat, sun from 22:00 to 02:00"
    assert calendar == Calendar(
        "America/Sao_Paulo",
        (Window(frozenset({"mon", "fri", "holiday"}), 510, 1440),),
        CHRISTMAS,
        (
            Closure(
                datetime(2026, 11, 23, 12, tzinfo=UTC),
                datetime(2026, 11, 23, 16, tzinfo=UTC),
                "portal Tax office is under maintenance: release",
            ),
        ),
        (WeeklyClosure("UTC", Window(frozenset({"sat", "sun"}), 1320, 120), weekly),),
    )
    assert closed_because(calendar, _at("2026-11-23T09:00")) == "portal Tax office is under maintenance: release"
    assert closed_because(calendar, _at("2026-11-23T08:00")) == "outside its windows"
    assert closed_because(calendar, _at("2026-11-23T13:00")) is None
    always = replace(calendar, windows=(), holidays=frozenset())
    assert closed_because(always, _at("2026-11-22T21:00")) == weekly
    assert opens_at(always, _at("2026-11-22T21:00")) == _at("2026-11-22T23:00")


def test_a_portals_documents_from_the_database_are_read_and_a_name_does_for_a_title() -> None:
    maintenance = {"start": datetime(2026, 11, 23, 12), "end": datetime(2026, 11, 23, 16, tzinfo=UTC), "reason": ""}
    calendar = calendar_of({}, portals=[{"name": "sefaz", "title": "", "maintenance": [maintenance]}])
    assert closed_because(calendar, datetime(2026, 11, 23, 12, tzinfo=UTC)) == "portal sefaz is under maintenance"
    assert is_open(calendar, datetime(2026, 11, 23, 16, tzinfo=UTC))


def test_a_schedule_of_a_robot_is_a_calendar_too() -> None:
    schedule = Schedule.model_validate({"windows": [{"days": ["mon"], "start": "22:00", "end": "06:00"}]})
    calendar = calendar_of(schedule.model_dump(mode="json"))
    assert opens_at(calendar, datetime(2026, 11, 23, tzinfo=UTC)) == datetime(2026, 11, 23, 22, tzinfo=UTC)
    assert closes_at(calendar, datetime(2026, 11, 23, 22, tzinfo=UTC)) == datetime(2026, 11, 24, 6, tzinfo=UTC)


def test_a_moment_without_a_zone_and_an_unknown_zone_are_refused() -> None:
    asked: list[Callable[[Calendar, datetime], object]] = [is_open, opens_at, closes_at, closed_because]
    for ask in asked:
        with pytest.raises(ValueError, match="has no zone"):
            ask(Calendar(), datetime(2026, 1, 1))
        with pytest.raises(ValueError, match="is no time zone"):
            ask(Calendar("Mars/Olympus", (WORKDAYS,)), datetime(2026, 1, 1, tzinfo=UTC))


def _best_s(call: Callable[[], object], repeats: int) -> float:
    """Least time of one call: what it costs when nothing else gets in the way."""
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    return min(times)


def test_it_is_quick_with_as_many_rules_as_may_be() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    many = tuple(Window(frozenset({WEEK[k % 7]}), 20 * k, 20 * k + 10) for k in range(50))
    closed = tuple(
        Closure(start + k * timedelta(hours=2), start + timedelta(hours=2 * k + 1), "x") for k in range(4000)
    )
    weekly = tuple(WeeklyClosure("Europe/Lisbon", one, "y") for one in many for _ in range(20))
    days = frozenset(date(2020, 1, 1) + timedelta(days=3 * k) for k in range(2000))
    calendar = Calendar("America/Sao_Paulo", many, days, closed, weekly)
    at = start + timedelta(days=100, hours=7)
    assert _best_s(lambda: is_open(calendar, at), 200) < 50e-6
    assert _best_s(lambda: opens_at(calendar, at), 20) < 5e-3
    assert _best_s(lambda: opens_at(Calendar("UTC", (WORKDAYS,), CHRISTMAS), at), 20) < 5e-3
