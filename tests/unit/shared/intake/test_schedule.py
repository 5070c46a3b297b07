"""Cron by the clock of a time zone, against a model that looks at every minute."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shared.intake.schedule import BadSchedule, Cron, zone_of

MINUTE = timedelta(minutes=1)
ZONES = ["America/New_York", "Europe/Lisbon", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu", "UTC"]
# around changes of the clock, in both directions, and one that is half an hour
NEAR = [
    datetime(2024, 3, 10, 7, tzinfo=UTC), datetime(2024, 11, 3, 6, tzinfo=UTC), datetime(2024, 3, 31, 1, tzinfo=UTC),
    datetime(2024, 10, 27, 1, tzinfo=UTC), datetime(2024, 4, 6, 15, tzinfo=UTC), datetime(2018, 11, 4, 3, tzinfo=UTC),
]  # fmt: skip
STARTS = st.sampled_from(NEAR).flatmap(lambda at: st.integers(-2000, 2000).map(lambda minutes: at + minutes * MINUTE))


def minutes_from(start: datetime, count: int) -> list[datetime]:
    return [start + n * MINUTE for n in range(count)]


def fixed(hour: int, minute: int, zone: ZoneInfo, start: datetime, end: datetime) -> list[datetime]:
    """A job at a fixed time: on each day at the first minute at which the clock shows it, or has passed it."""
    found = []
    day = (start.astimezone(zone) - timedelta(days=1)).date()
    while day <= (end.astimezone(zone) + timedelta(days=1)).date():
        found.append(first_at(day, time(hour, minute), zone))
        day += timedelta(days=1)
    return [at for at in found if start < at <= end]


@cache
def first_at(day: date, wanted: time, zone: ZoneInfo) -> datetime:
    midnight = datetime.combine(day, time(0), UTC) - timedelta(hours=15)
    return next(
        at
        for at in minutes_from(midnight, 3000)
        if at.astimezone(zone).replace(tzinfo=None) >= datetime.combine(day, wanted)
    )


@settings(max_examples=30)
@given(st.sampled_from([0, 1, 2, 3, 14]), st.sampled_from([0, 15, 30]), st.sampled_from(ZONES), STARTS)
@example(2, 30, "America/New_York", datetime(2024, 3, 10, 6, 59, tzinfo=UTC))  # the clock skips it
@example(1, 30, "America/New_York", datetime(2024, 11, 3, 6, 15, tzinfo=UTC))  # the clock shows it a second time
@example(0, 0, "America/Sao_Paulo", datetime(2018, 11, 4, 2, 59, tzinfo=UTC))  # there is no midnight
def test_a_fixed_time_comes_once_a_day(hour: int, minute: int, name: str, start: datetime) -> None:
    zone, end = zone_of(name), start + timedelta(days=3)
    cron = Cron(f"{minute} {hour} * * *", zone)
    expected = fixed(hour, minute, zone, start, end)
    assert list(islice(cron.times(start), len(expected))) == expected
    assert cron.count(start, end) == len(expected)
    assert cron.latest(start, end) == expected[-1]


@settings(max_examples=30)
@given(st.sampled_from(["*/20 * * * *", "5 * * * *", "*/7 1-3 * * *"]), st.sampled_from(ZONES), STARTS)
def test_with_a_star_it_goes_by_real_time(expression: str, name: str, start: datetime) -> None:
    zone, end = zone_of(name), start + timedelta(hours=30)

    def due(at: datetime) -> bool:
        local = at.astimezone(zone)
        if expression.startswith("5"):
            return local.minute == 5
        step = 20 if "20" in expression else 7
        return local.minute % step == 0 and ("1-3" not in expression or 1 <= local.hour <= 3)

    expected = [at for at in minutes_from(start + MINUTE, 30 * 60) if due(at)]
    cron = Cron(expression, zone)
    assert list(islice(cron.times(start), len(expected))) == expected
    assert cron.latest(start, end) == (expected[-1] if expected else None)


@pytest.mark.parametrize("days", [1, 3, 40, 800])
def test_the_latest_of_many_is_found_without_walking(days: int) -> None:
    cron, until = Cron("15 6 1 * *", ZoneInfo("Europe/Lisbon")), datetime(2024, 5, 20, tzinfo=UTC)
    after = until - timedelta(days=days)
    assert cron.latest(after, until) == (datetime(2024, 5, 1, 5, 15, tzinfo=UTC) if days >= 40 else None)
    assert cron.count(after, until) == {1: 0, 3: 0, 40: 1, 800: 26}[days]


@pytest.mark.parametrize(
    ("expression", "said"),
    [("* * * *", "five fields"), ("@daily", "five fields"), ("61 * * * *", "minute"), ("0 0 31 2 *", "cron")],
)
def test_what_is_no_cron_says_why(expression: str, said: str) -> None:
    with pytest.raises(BadSchedule, match=said):
        Cron(expression, ZoneInfo("UTC"))
    with pytest.raises(BadSchedule, match="no time zone"):
        zone_of("../etc/passwd")
