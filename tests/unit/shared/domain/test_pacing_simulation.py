"""What docs/adaptive-waits.md claims, with fixed seeds; tests/architecture/test_papers.py holds it current."""

from __future__ import annotations

import pytest

from docs.pacing_simulation import (
    EXTRA_MAX,
    HAND_WRITTEN_S,
    INSTRUCTIONS,
    PAGES,
    WAITS,
    compare,
    compare_waits,
    script_s,
)

SEEDS = (1, 2, 3)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("page", sorted(PAGES))
def test_adaptive_waits_come_near_the_best_fixed_wait_without_more_failures(page: str, seed: int) -> None:
    one = compare(page, seed)
    assert one.adaptive.failures <= one.none.failures
    assert one.adaptive.failures <= one.best.failures + EXTRA_MAX
    assert one.later.cost_s <= one.best.cost_s * 4 / 3 + 0.15


@pytest.mark.parametrize("page", ["ready", "broken at times", "often missing"])
def test_where_no_pause_helps_none_is_kept(page: str) -> None:
    assert compare(page).later.wait_s < 0.25


def test_waits_that_a_person_wrote_too_long_become_shorter() -> None:
    for page in ("ready", "constant", "spiky", "by time of day", "away at times"):
        assert compare(page).later.wait_s < 0.9 * HAND_WRITTEN_S


def test_a_script_gets_faster_and_nearly_as_fast_as_can_be() -> None:
    passes = script_s()
    assert passes["adaptive"] < 0.5 * passes["2 s before each instruction"]
    assert passes["adaptive"] < 0.9 * passes["2 s before the six that need it"]
    assert passes["adaptive"] < 1.1 * passes["best fixed wait for each"]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", sorted(WAITS))
def test_learned_limits_miss_hardly_anything_and_save_time_where_waits_are_in_vain(name: str, seed: int) -> None:
    one = compare_waits(name, seed)
    assert one.learned_missed <= one.default_missed + 0.002 * INSTRUCTIONS
    if name in ("banner", "question", "question, later late"):
        assert one.learned_s < 0.8 * one.default_s
    if name == "always comes":
        assert one.learned_s == one.default_s
    if name == "slow report":
        assert one.learned_missed <= 2 < one.default_missed
