"""Selectors that have gone stale, beside a slow and obvious way to say so; and which ones an environment has."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.objects import (
    ENOUGH,
    WINDOW,
    Reason,
    SelectorState,
    environment_of,
    environments_in,
    judge,
    mark_of,
    selectors_in,
)

uses = st.lists(st.none() | st.integers(0, 3), max_size=60)


def slowly(selectors: int, all_uses: list[int | None], busiest: int) -> Reason | None:
    """The rule as docs/workflows.md says it."""
    if all_uses == []:
        return Reason.UNUSED if busiest >= WINDOW else None
    newest = [all_uses[-n] for n in range(1, WINDOW + 1) if n <= len(all_uses)]
    if len(newest) < ENOUGH:
        return None
    if all(use is None for use in newest):
        return Reason.MISSING
    for first in range(selectors):
        for later in range(first + 1, selectors):
            if newest.count(first) == 0 and newest.count(later) > 0:
                return Reason.SELECTOR
    return None


@given(uses, st.integers(0, 40))
def test_it_is_the_rule_that_the_papers_tell(all_uses: list[int | None], busiest: int) -> None:
    verdict = judge(4, all_uses, busiest=busiest)
    assert verdict.reason == slowly(4, all_uses, busiest)
    assert verdict.stale == (verdict.reason is not None)
    assert len(verdict.selectors) == 4


@given(uses, uses)
def test_uses_before_the_newest_say_nothing(old: list[int | None], new: list[int | None]) -> None:
    window = [*new, *([0] * WINDOW)][:WINDOW]
    assert judge(4, [*old, *window]) == judge(4, window)


@given(uses)
def test_one_that_matched_is_never_stale_and_neither_is_the_last(all_uses: list[int | None]) -> None:
    states = judge(4, all_uses).selectors
    newest = all_uses[-WINDOW:]
    assert all(states[index] is SelectorState.MATCHES for index in newest if index is not None)
    assert states[3] is not SelectorState.STALE


def test_examples() -> None:
    assert judge(2, [0] * 9).selectors == (SelectorState.MATCHES, SelectorState.UNTRIED)
    assert judge(2, [0] * 30 + [1] * WINDOW).selectors == (SelectorState.STALE, SelectorState.MATCHES)
    assert judge(2, [0] + [1] * (WINDOW - 1)).reason is None, "once in the newest uses is enough"
    assert judge(1, [None] * ENOUGH).reason is Reason.MISSING
    assert judge(2, [1] * (ENOUGH - 1)).reason is None, "too few to say"
    assert judge(2, [], busiest=WINDOW).reason is Reason.UNUSED


def test_an_environment_has_its_own_selectors_and_an_unknown_one_none() -> None:
    stored = {"selectors": ["css=#a"], "environments": {"staging": {"selectors": ["css=#b", "text=B"]}}}
    assert selectors_in(stored, None) == ["css=#a"]
    assert selectors_in(stored, "staging") == ["css=#b", "text=B"]
    assert selectors_in(stored, "nowhere") == ["css=#a"]
    assert selectors_in({"selectors": ["css=#a"], "title": ""}, "staging") == ["css=#a"], "of an older version"
    assert environments_in({"a": stored, "b": {"selectors": []}}) == ["staging"]


def test_the_workflows_environment_goes_before_the_accounts() -> None:
    assert environment_of({"environment": "a"}, {"environment": "b"}) == "a"
    assert environment_of({"environment": None}, {"environment": "b"}) == "b"
    assert environment_of({}, None) is None


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_lists_of_selectors_are_told_apart(one: list[str], other: list[str]) -> None:
    assert (mark_of(one) == mark_of(other)) == (one == other)
