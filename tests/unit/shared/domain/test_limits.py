"""Periods are stretches of the wall clock without gap or overlap; each mark of a limit is reported once."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.domain.limits import Limit, clock_reaches, crossings, limits_of, period, period_ends, room

MICROSECOND = timedelta(microseconds=1)
ZONES = ("UTC", "America/Sao_Paulo", "America/New_York", "Europe/Lisbon", "Australia/Lord_Howe", "Asia/Kathmandu")
# Around each of these, one of the zones puts its clock forward or back.
CHANGES = (
    datetime(2018, 2, 18, 2, 0, tzinfo=UTC),  # Sao Paulo back, at midnight
    datetime(2018, 11, 4, 3, 0, tzinfo=UTC),  # Sao Paulo forward: 00:00 does not exist
    datetime(2018, 11, 4, 6, 0, tzinfo=UTC),  # New York back
    datetime(2026, 3, 29, 1, 0, tzinfo=UTC),  # Lisbon forward
    datetime(2026, 10, 25, 1, 0, tzinfo=UTC),  # Lisbon back
    datetime(2026, 4, 4, 15, 0, tzinfo=UTC),  # Lord Howe back by half an hour
    datetime(2026, 10, 3, 15, 30, tzinfo=UTC),  # Lord Howe forward by half an hour
)
moments = st.builds(
    lambda change, seconds, us: change + timedelta(seconds=seconds, microseconds=us),
    st.sampled_from(CHANGES),
    st.integers(-3 * 86400, 3 * 86400) | st.integers(-7200, 7200),
    st.sampled_from([0, 1, 999_999]),
)
limits = st.builds(
    Limit,
    per=st.just("day"),
    max=st.integers(1, 300),
    warn_at=st.lists(st.integers(1, 99), max_size=5, unique=True).map(tuple),
    blocks=st.booleans(),
)


@pytest.mark.parametrize(
    ("per", "at", "zone", "name"),
    [
        ("hour", "2026-11-25T17:04:00+00:00", "America/Sao_Paulo", "2026-11-25T14"),
        ("day", "2026-11-25T02:59:59+00:00", "America/Sao_Paulo", "2026-11-24"),
        ("month", "2026-12-01T02:59:59+00:00", "America/Sao_Paulo", "2026-11"),
        ("hour", "2026-11-01T05:30:00+00:00", "America/New_York", "2026-11-01T01"),
        ("hour", "2026-11-01T06:30:00+00:00", "America/New_York", "2026-11-01T01-05:00"),
        ("hour", "2026-11-01T07:00:00+00:00", "America/New_York", "2026-11-01T02"),
        ("hour", "2026-10-25T01:00:00+00:00", "Europe/Lisbon", "2026-10-25T01+00:00"),
        ("hour", "2026-04-04T14:45:00+00:00", "Australia/Lord_Howe", "2026-04-05T01"),
        ("hour", "2026-04-04T15:15:00+00:00", "Australia/Lord_Howe", "2026-04-05T01+10:30"),
        ("hour", "2026-04-04T15:30:00+00:00", "Australia/Lord_Howe", "2026-04-05T02"),
        # The clock went back from 00:01 to 23:01: only a part of both hours is repeated.
        ("hour", "2009-11-01T02:30:30+00:00", "America/St_Johns", "2009-11-01T00"),
        ("hour", "2009-11-01T03:30:30+00:00", "America/St_Johns", "2009-11-01T00-03:30"),
        ("hour", "2009-11-01T04:00:00+00:00", "America/St_Johns", "2009-11-01T00-03:30"),
    ],
)
def test_a_period_is_named_by_the_local_clock(per: str, at: str, zone: str, name: str) -> None:
    assert period(per, datetime.fromisoformat(at), zone) == name


@pytest.mark.parametrize(
    ("per", "at", "zone", "ends"),
    [
        ("hour", "2026-11-25T17:04:00+00:00", "America/Sao_Paulo", "2026-11-25T18:00:00+00:00"),
        ("hour", "2026-11-25T17:04:00+00:00", "Asia/Kathmandu", "2026-11-25T17:15:00+00:00"),
        ("hour", "2026-11-01T05:30:00+00:00", "America/New_York", "2026-11-01T06:00:00+00:00"),
        ("hour", "2026-04-04T15:15:00+00:00", "Australia/Lord_Howe", "2026-04-04T15:30:00+00:00"),
        ("day", "2018-11-03T12:00:00+00:00", "America/Sao_Paulo", "2018-11-04T03:00:00+00:00"),
        ("day", "2018-02-18T00:30:00+00:00", "America/Sao_Paulo", "2018-02-18T03:00:00+00:00"),
        ("day", "2026-11-01T04:00:00+00:00", "America/New_York", "2026-11-02T05:00:00+00:00"),
        ("month", "2026-11-01T04:00:00+00:00", "America/New_York", "2026-12-01T05:00:00+00:00"),
        ("month", "2026-12-31T23:59:59+00:00", "UTC", "2027-01-01T00:00:00+00:00"),
    ],
)
def test_a_period_ends_where_the_clock_shows_the_next(per: str, at: str, zone: str, ends: str) -> None:
    found = period_ends(per, datetime.fromisoformat(at), zone)
    assert found == datetime.fromisoformat(ends)
    assert found.utcoffset() == timedelta(0)


@given(st.sampled_from(["hour", "day", "month"]), moments, st.sampled_from(ZONES), st.floats(0, 1))
def test_a_period_lasts_until_its_end(per: str, at: datetime, zone: str, part: float) -> None:
    name, ends = period(per, at, zone), period_ends(per, at, zone)
    assert ends > at
    assert period(per, at + part * (ends - MICROSECOND - at), zone) == name
    assert period(per, ends - MICROSECOND, zone) == name
    assert period(per, ends, zone) != name


@given(st.sampled_from(CHANGES), st.sampled_from(ZONES))
def test_hours_follow_one_another_and_none_is_longer_than_an_hour_or_comes_again(change: datetime, zone: str) -> None:
    moment, seen = change - timedelta(hours=6), []
    while moment < change + timedelta(hours=6):
        ends = period_ends("hour", moment, zone)
        assert ends - moment <= timedelta(hours=1)
        seen.append(period("hour", moment, zone))
        moment = ends
    assert len(set(seen)) == len(seen)
    assert seen == sorted(seen)


@given(st.dates(date(2015, 1, 1), date(2030, 12, 31)), st.sampled_from(ZONES))
@example(date(2018, 11, 4), "America/Sao_Paulo")
@example(date(2018, 2, 17), "America/Sao_Paulo")
def test_a_day_is_what_the_calendar_on_the_wall_calls_it(day: date, zone: str) -> None:
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=ZoneInfo(zone))
    ends = period_ends("day", noon, zone)
    assert period("day", noon, zone) == day.isoformat()
    assert ends.astimezone(ZoneInfo(zone)).date() == day + timedelta(days=1)
    assert (ends - MICROSECOND).astimezone(ZoneInfo(zone)).date() == day


def test_a_change_of_clock_stops_a_look_ahead() -> None:
    late = datetime(2018, 11, 4, 2, 59, 59, 500_000, tzinfo=UTC)
    assert clock_reaches("America/Sao_Paulo", late, timedelta(minutes=5)) == datetime(2018, 11, 4, 3, tzinfo=UTC)
    assert clock_reaches("UTC", late, timedelta(minutes=5)) == late + timedelta(minutes=5)


@pytest.mark.parametrize(
    ("per", "at", "zone", "said"),
    [
        ("week", datetime(2026, 1, 1, tzinfo=UTC), "UTC", "use hour, day or month"),
        ("day", datetime(2026, 1, 1, tzinfo=UTC), "Mars/Olympus", "is no time zone"),
        ("day", datetime(2026, 1, 1, tzinfo=UTC), "../etc", "is no time zone"),
        ("day", datetime(2026, 1, 1), "UTC", "has no zone"),
    ],
)
def test_what_is_no_period_is_refused(per: str, at: datetime, zone: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        period(per, at, zone)


def test_limits_are_read_as_they_are_stored() -> None:
    stored = [
        {"per": "hour", "max": 10},
        {"per": "day", "max": 100, "warn_at": 50, "on_limit": "alert"},
        {"per": "month", "max": 1000, "warn_at": [90, 50, 90], "on_limit": "block"},
    ]
    assert limits_of({"limits": stored}) == (
        Limit("hour", 10, (80,), True),
        Limit("day", 100, (50,), False),
        Limit("month", 1000, (50, 90), True),
    )
    assert limits_of({}) == limits_of({"limits": None}) == ()
    assert limits_of({"limits": [{"per": "day", "max": 1, "warn_at": []}]}) == (Limit("day", 1, (), True),)


@given(st.lists(st.tuples(limits, st.integers(0, 400))))
def test_there_is_room_for_as_many_as_fit_one_by_one(used: list[tuple[Limit, int]]) -> None:
    left = room(used)
    if left is None:
        assert not any(limit.blocks for limit, _ in used)
        return
    fits = 0
    while all(count + fits + 1 <= limit.max for limit, count in used if limit.blocks):
        fits += 1
    assert left == fits


def _one_by_one(limit: Limit, used: int) -> list[int]:
    """The obvious model: count every task and look at every percentage."""
    told: list[int] = []
    for count in range(used + 1):
        told += [p for p in range(1, 101) if count >= p * limit.max / 100 and p not in told]
    return [p for p in told if p in limit.warn_at or p == 100]


@given(limits, st.lists(st.integers(0, 120), max_size=12))
@example(Limit("day", 1, (50, 80)), [1])
@example(Limit("day", 3, (33, 34, 99)), [1, 1, 1, 1])
def test_whatever_the_steps_each_percentage_is_reported_once(limit: Limit, steps: list[int]) -> None:
    used, told = 0, []
    for step in steps:
        told += crossings(limit, used, used + step)
        used += step
    assert told == _one_by_one(limit, used)


def test_tasks_that_are_given_back_report_nothing_nor_does_what_is_past_the_limit() -> None:
    limit = Limit("day", 10, (50,))
    assert crossings(limit, 4, 5) == (50,)
    assert crossings(limit, 5, 4) == ()
    assert crossings(limit, 9, 10) == (100,)
    assert crossings(limit, 10, 25) == ()
