"""Token buckets against a slow model, and what they promise over time."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.rate import draw, retry_after, wait_s

draws = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 50)), min_size=1, max_size=30)
"""Seconds since the draw before, and what is drawn."""


@given(st.integers(1, 60), draws)
def test_draws_are_those_of_a_bucket_that_is_filled_drop_by_drop(per_min: int, sequence: list[tuple[int, int]]) -> None:
    level = float(per_min)
    model = Fraction(per_min)
    for elapsed_s, cost in sequence:
        for _ in range(elapsed_s):
            model = min(Fraction(per_min), model + Fraction(per_min, 60))
        drawn = draw(level, elapsed_s, per_min=per_min, cost=cost)
        need = max(1, min(cost, per_min))
        if abs(model - need) > 1e-6:  # nearer, floats may see it otherwise
            assert drawn.allowed == (model >= need)
        model = model - cost if drawn.allowed else model
        level = drawn.level
        assert abs(level - model) < 1e-6


@given(st.integers(1, 100), draws)
def test_over_time_no_more_passes_than_the_rate_and_one_bucket_and_one_large_draw(
    per_min: int, sequence: list[tuple[int, int]]
) -> None:
    level, passed, seconds = float(per_min), 0, 0
    for elapsed_s, cost in sequence:
        seconds += elapsed_s
        drawn = draw(level, elapsed_s, per_min=per_min, cost=cost)
        level = drawn.level
        passed += cost if drawn.allowed else 0
    assert passed <= per_min + seconds * per_min / 60 + 50 + 1e-6


@given(st.integers(1, 100), st.floats(-1000, 100), st.integers(0, 300))
def test_after_the_wait_it_is_allowed(per_min: int, level: float, cost: int) -> None:
    level = min(level, float(per_min))
    refused = draw(level, 0, per_min=per_min, cost=cost)
    if not refused.allowed:
        assert refused.wait_s == wait_s(level, cost, per_min) > 0
        assert draw(refused.level, refused.wait_s + 1e-6, per_min=per_min, cost=cost).allowed
        assert float(retry_after(refused.wait_s)) >= refused.wait_s


def test_what_is_under_way_goes_into_debt_and_later_ones_wait() -> None:
    owed = draw(10.0, 0, per_min=10, cost=25, force=True)
    assert (owed.allowed, owed.level) == (True, -15.0)
    assert draw(owed.level, 0, per_min=10, cost=1).wait_s == 96
