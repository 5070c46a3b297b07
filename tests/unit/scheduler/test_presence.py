"""Silence is counted only while beats could have come."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.core.presence import STEP_S_MAX, ListeningClock, Stillness


def test_time_without_broker_or_database_does_not_count() -> None:
    clock = ListeningClock()
    assert clock.read(100.0, listening=True) == 0.0
    assert clock.read(100.5, listening=True) == 0.5
    assert clock.read(101.0, listening=False) == 0.5
    assert clock.read(140.0, listening=True) == 0.5
    assert clock.read(140.5, listening=True) == 1.0


def test_a_process_that_was_stopped_has_listened_for_a_second() -> None:
    clock = ListeningClock()
    clock.read(0.0, listening=True)
    assert clock.read(60.0, listening=True) == STEP_S_MAX


@given(st.lists(st.tuples(st.floats(0, 10), st.booleans()), max_size=50))
def test_never_more_than_the_time_spent_listening(readings: list[tuple[float, bool]]) -> None:
    clock, now_s, before, listened_s, possible_s = ListeningClock(), 1000.0, False, 0.0, 0.0
    clock.read(now_s, listening=False)
    for step_s, listening in readings:
        now_s += step_s
        after = clock.read(now_s, listening=listening)
        possible_s += min(step_s, STEP_S_MAX) if before and listening else 0.0
        assert listened_s <= after
        listened_s, before = after, listening
    assert abs(listened_s - possible_s) < 1e-6


def test_a_mark_that_changes_is_not_still() -> None:
    stillness = Stillness()
    assert stillness.observe({"a": 1, "b": 1}, 0.0) == {"a": 0.0, "b": 0.0}
    assert stillness.observe({"a": 2, "b": 1}, 4.0) == {"a": 0.0, "b": 4.0}
    assert stillness.observe({"a": 2, "b": 1}, 11.0) == {"a": 7.0, "b": 11.0}


def test_a_robot_that_was_away_starts_anew() -> None:
    stillness = Stillness()
    stillness.observe({"a": 1}, 0.0)
    assert stillness.observe({}, 20.0) == {}
    assert stillness.observe({"a": 1}, 21.0) == {"a": 0.0}
