"""When an attempt is repeated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.delivery.core.schedule import (
    JITTER_PART,
    STANDARD_SCHEDULE_S,
    next_attempt,
    parse_schedule,
)
from shared.domain.retry_after import RETRY_AFTER_S_MAX

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
waits = st.lists(st.floats(0, 90_000), max_size=12)
chance = st.floats(0, 1)


@given(waits, st.integers(1, 15), chance, st.none() | st.floats(0, 1e7))
def test_waits_follow_the_schedule_and_then_end(
    schedule: list[float], failed: int, jitter: float, asked_s: float | None
) -> None:
    at = next_attempt(schedule, failed=failed, now=NOW, jitter=jitter, retry_after_s=asked_s)
    assert (at is None) == (failed > len(schedule))
    if at is not None:
        wait_s = (at - NOW).total_seconds()
        planned_s = schedule[failed - 1]
        least_s = max(planned_s, min(asked_s or 0, RETRY_AFTER_S_MAX))
        assert least_s - 1e-3 <= wait_s <= max(planned_s * (1 + JITTER_PART), least_s) + 1e-3


def test_the_standard_schedule_makes_ten_attempts() -> None:
    ends = [next_attempt(STANDARD_SCHEDULE_S, failed=n, now=NOW, jitter=0) for n in range(1, 11)]
    assert ends[0] == NOW + timedelta(seconds=5)
    assert ends[8] == NOW + timedelta(hours=24)
    assert ends[9] is None


def test_attempts_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="from 1"):
        next_attempt([1], failed=0, now=NOW, jitter=0)


@given(waits)
def test_a_schedule_is_read_as_it_is_written(schedule: list[float]) -> None:
    assert parse_schedule(",".join(repr(wait) for wait in schedule)) == tuple(schedule)


@pytest.mark.parametrize("text", ["soon", "5,x", "-1", "1e9", "nan", "inf", ",".join(["1"] * 60)])
def test_what_is_no_schedule_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_schedule(text)
