"""The pause after failed log-ins, against a slow, obvious model."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.console.core.login_limit import (
    ENTRIES_MAX,
    FAILURES_PER_ADDRESS_MAX,
    FAILURES_PER_USER_MAX,
    WINDOW_S,
    LoginLimit,
)

tries = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from("xy"), st.floats(0, 120), st.booleans()), max_size=120
)


@given(tries)
def test_it_waits_exactly_as_the_model(sequence: list[tuple[str, str, float, bool]]) -> None:
    limit, failures, now_s = LoginLimit(), [], 0.0
    for user, address, step_s, wrong in sequence:
        now_s += step_s
        recent = [one for one in failures if now_s - one[2] < WINDOW_S]
        by_user = sum(1 for one in recent if one[:2] == (user, address) and one[3])
        by_address = sum(1 for one in recent if one[1] == address)
        blocked = by_user >= FAILURES_PER_USER_MAX or by_address >= FAILURES_PER_ADDRESS_MAX
        assert (limit.wait_s(user, address, now_s) > 0) is blocked
        if blocked:
            continue
        if wrong:
            limit.failed(user, address, now_s)
            failures.append((user, address, now_s, True))
        else:
            limit.succeeded(user, address)
            failures = [(*one[:3], one[3] and one[:2] != (user, address)) for one in failures]


def test_the_wait_ends_when_it_says() -> None:
    limit = LoginLimit()
    for _ in range(FAILURES_PER_USER_MAX):
        limit.failed("u", "a", 10.0)
    wait_s = limit.wait_s("u", "a", 20.0)
    assert wait_s == WINDOW_S - 10.0
    assert limit.wait_s("u", "a", 20.0 + wait_s) == 0.0
    assert limit.wait_s("u", "b", 20.0) == 0.0


def test_memory_is_bounded() -> None:
    limit = LoginLimit()
    for n in range(ENTRIES_MAX + 500):
        limit.failed(f"user{n}", f"address{n}", float(n))
    assert len(limit._failures) <= ENTRIES_MAX
