"""The circuit breaker of an endpoint, under virtual time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.delivery.core.circuit import (
    CLEAN,
    PAUSE_S_MIN,
    SLOW_S,
    SLOW_S_MAX,
    SLOWING,
    Circuit,
    Rules,
    after_answer,
    begin_probe,
    circuit_of,
    closed_until,
    document_of,
    let_through,
    places,
    rules_of,
)
from services.delivery.core.outcome import Answer, Meaning, after_attempt, meaning
from services.delivery.core.schedule import JITTER_PART, STANDARD_SCHEDULE_S
from shared.domain.delivery_state import DeliveryState

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
RULES = Rules(failures=5, pause_s=5, pause_s_max=300)
statuses = st.none() | st.sampled_from([200, 204, 302, 400, 404, 410, 429, 500, 502, 503, 504])
answers = st.builds(Answer, statuses, st.just(""), st.none() | st.floats(0, 1000))


def after(circuit: Circuit, answer: Answer, *, probe: bool = False, now: datetime = NOW, jitter: float = 0) -> Circuit:
    return after_answer(circuit, answer, probe=probe, rules=RULES, now=now, jitter=jitter)


def failed(times: int, status: int | None = 500) -> Circuit:
    circuit = CLEAN
    for _ in range(times):
        circuit = after(circuit, Answer(status))
    return circuit


def test_it_opens_after_so_many_failures_in_a_row_and_not_before() -> None:
    assert not failed(4).open
    opened = failed(5)
    assert (opened.open, opened.opened_at, opened.reason) == (True, NOW, "the endpoint answered 500")
    assert closed_until(opened) == NOW + timedelta(seconds=5)
    assert places(opened, 8) == 1
    assert after(failed(4), Answer(200)) == CLEAN


def test_an_endpoint_that_fails_every_second_call_is_never_closed_out() -> None:
    circuit = CLEAN
    for _ in range(100):
        circuit = after(after(circuit, Answer(500)), Answer(200))
        assert circuit == CLEAN


@given(st.floats(0.1, 3600), st.floats(0.1, 86400), st.lists(st.floats(0, 1e5), max_size=10))
def test_a_probe_waits_no_longer_than_the_schedule_would(pause_s: float, most_s: float, schedule: list[float]) -> None:
    rules = rules_of(5, pause_s, most_s, schedule)
    if schedule:
        assert PAUSE_S_MIN <= rules.pause_s <= rules.pause_s_max
        assert rules.pause_s_max <= max(max(schedule), PAUSE_S_MIN)
    else:
        assert rules == Rules(5, pause_s, most_s)
    assert rules_of(10, 5, 300, STANDARD_SCHEDULE_S) == Rules(10, 5, 300)


def test_zero_means_that_it_never_opens() -> None:
    rules, circuit = Rules(0, 5, 300), CLEAN
    for _ in range(50):
        circuit = after_answer(circuit, Answer(None, "no"), probe=False, rules=rules, now=NOW, jitter=0)
    assert (circuit.open, circuit.failures) == (False, 50)


def test_pauses_between_probes_grow_to_their_limit_and_a_success_closes_it() -> None:
    circuit, now, pauses = failed(5), NOW, []
    for _ in range(9):
        until = closed_until(circuit)
        assert until is not None
        pauses.append((until - now).total_seconds())
        now = until
        circuit = begin_probe(circuit, now=now, for_s=30)
        assert closed_until(circuit) == now + timedelta(seconds=30), "nobody else probes meanwhile"
        circuit = after(circuit, Answer(None, "refused"), probe=True, now=now)
    assert pauses == [5, 10, 20, 40, 80, 160, 300, 300, 300]
    assert after(circuit, Answer(200), probe=True, now=now) == CLEAN


def test_what_was_under_way_when_it_opened_does_not_put_the_probe_off() -> None:
    opened = failed(5)
    later = after(opened, Answer(500), now=NOW + timedelta(seconds=4))
    assert (later.probe_at, later.probes, later.failures) == (opened.probe_at, 0, 6)


@pytest.mark.parametrize("status", sorted(SLOWING))
def test_an_overloaded_endpoint_is_left_alone_as_a_whole(status: int) -> None:
    circuit = after(CLEAN, Answer(status))
    assert (closed_until(circuit), places(circuit, 8)) == (NOW + timedelta(seconds=SLOW_S), 1)
    again = after(circuit, Answer(status))
    assert closed_until(again) == NOW + timedelta(seconds=2 * SLOW_S)
    calm = after(again, Answer(200), now=NOW + timedelta(seconds=5))
    assert calm == CLEAN


def test_retry_after_is_kept_and_a_success_of_before_does_not_end_it() -> None:
    asked = after(CLEAN, Answer(429, retry_after_s=120))
    assert closed_until(asked) == NOW + timedelta(seconds=120)
    assert closed_until(after(asked, Answer(200), now=NOW + timedelta(seconds=1))) == NOW + timedelta(seconds=120)
    assert closed_until(after(CLEAN, Answer(503, retry_after_s=60))) == NOW + timedelta(seconds=60)
    assert closed_until(after(CLEAN, Answer(503))) is None
    assert closed_until(after(CLEAN, Answer(500, retry_after_s=60))) is None


def test_a_person_who_tries_it_gets_through_at_once() -> None:
    stuck = after(failed(5), Answer(429, retry_after_s=9000))
    assert closed_until(let_through(stuck, NOW)) == NOW
    assert let_through(CLEAN, NOW) == CLEAN


@given(st.lists(st.tuples(answers, st.booleans(), st.floats(0, 60)), max_size=40), st.floats(0, 1))
def test_whatever_is_answered_it_keeps_its_promises(course: list[tuple[Answer, bool, float]], jitter: float) -> None:
    circuit, now = CLEAN, NOW
    for answer, probe, passes_s in course:
        now += timedelta(seconds=passes_s)
        before, circuit = circuit, after(circuit, answer, probe=probe and circuit.open, now=now, jitter=jitter)
        assert circuit_of(document_of(circuit)) == circuit
        assert places(circuit, 4) in (1, 4)
        if meaning(answer) is Meaning.DELIVERED:
            assert (circuit.open, circuit.failures) == (False, 0)
        if meaning(answer) is Meaning.FAILED:
            assert circuit.failures == before.failures + 1
            assert circuit.open == (before.open or circuit.failures >= RULES.failures)
        if circuit.open:
            assert circuit.probe_at is not None
            longest_s = RULES.pause_s_max * (1 + JITTER_PART)
            assert circuit.probe_at <= now + timedelta(seconds=longest_s)
        if answer.retry_after_s is None and circuit.slow_until != before.slow_until and circuit.slow_until:
            assert circuit.slow_until <= now + timedelta(seconds=SLOW_S_MAX * (1 + JITTER_PART))


def test_a_broken_document_of_another_version_is_read_as_closed() -> None:
    assert circuit_of(None) == CLEAN
    assert circuit_of({"open": False, "tell": {"id": "x"}, "rev": 7}) == CLEAN


schedules = st.lists(st.floats(0.1, 100_000), max_size=10)


@given(schedules, st.lists(st.floats(0, 1), min_size=40, max_size=40), st.sampled_from([None, 500, 404, 503]))
def test_an_endpoint_that_is_down_for_days_gets_exactly_the_schedule_then_the_delivery_is_dead(
    schedule: list[float], chances: list[float], status: int | None
) -> None:
    """One delivery, its endpoint's circuit, and a clock that jumps to whatever comes next."""
    now, circuit, state, times, failures = NOW, CLEAN, DeliveryState.PENDING, [], 0
    next_at: datetime | None = NOW
    while next_at is not None:
        now = max(next_at, closed_until(circuit) or next_at, now)
        times.append(now)
        answer = Answer(status, "refused")
        following = after_attempt(
            answer, schedule=schedule, failed_before=failures, now=now, jitter=chances[2 * failures]
        )
        circuit = after(circuit, answer, probe=circuit.open, now=now, jitter=chances[2 * failures + 1])
        failures, state, next_at = failures + 1, following.state, following.next_at
    assert state is DeliveryState.DEAD
    assert len(times) == len(schedule) + 1, "every attempt of the schedule was made, and none besides"
    waited = [(b - a).total_seconds() for a, b in pairwise(times)]
    for planned_s, real_s in zip(schedule, waited, strict=True):
        longest_s = max(planned_s, RULES.pause_s_max) * (1 + JITTER_PART)
        assert planned_s - 1e-3 <= real_s <= longest_s + 1e-3, "never early, late only by a probe's pause"


def test_the_standards_schedule_is_kept_to_the_second_when_its_waits_are_longer_than_the_probes() -> None:
    now, circuit, times = NOW, CLEAN, [NOW]
    for n in range(len(STANDARD_SCHEDULE_S)):
        answer = Answer(None, "refused")
        at = after_attempt(answer, schedule=STANDARD_SCHEDULE_S, failed_before=n, now=now, jitter=0).next_at
        circuit = after_answer(circuit, answer, probe=circuit.open, rules=Rules(10, 5, 300), now=now, jitter=0)
        assert at is not None
        now = max(at, closed_until(circuit) or at)
        times.append(now)
    assert [(b - a).total_seconds() for a, b in pairwise(times)] == list(STANDARD_SCHEDULE_S)
