"""Slow endpoints leave places for the others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.delivery.core.turns import free_places


@given(st.integers(1, 64), st.integers(0, 64), st.integers(0, 300), st.integers(1, 256))
def test_nobody_gets_more_than_it_may_or_than_there_is(most: int, busy: int, under_way: int, at_once: int) -> None:
    free = free_places(most, busy=busy, under_way=under_way, at_once_max=at_once)
    assert 0 <= free <= max(0, most - busy)
    assert under_way + free <= max(at_once, under_way)


@given(st.integers(2, 128), st.lists(st.integers(1, 64), max_size=200))
def test_endpoints_that_never_answer_fill_half_and_one_place_each_of_the_rest(half: int, wanted: list[int]) -> None:
    at_once, under_way, given_ = 2 * half, 0, []
    for most in wanted:
        free = free_places(most, busy=0, under_way=under_way, at_once_max=at_once)
        given_.append(free)
        under_way += free
    used = 0
    for most, got in zip(wanted, given_, strict=True):
        if 2 * used >= at_once:
            assert got == min(1, at_once - used)
        used += got
        assert got <= most
    assert used <= at_once


def test_one_endpoint_alone_gets_all_that_it_may() -> None:
    assert free_places(4, busy=0, under_way=0, at_once_max=64) == 4
    assert free_places(4, busy=4, under_way=4, at_once_max=64) == 0
    assert free_places(4, busy=1, under_way=40, at_once_max=64) == 0
    assert free_places(4, busy=0, under_way=40, at_once_max=64) == 1
