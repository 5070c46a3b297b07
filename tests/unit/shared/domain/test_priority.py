"""The order of work is that of a sort nobody could afford: level with aging, then age, then id; and it is fair."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.priority import (
    INHERITED,
    Head,
    ListKey,
    Priority,
    aged_level,
    level,
    list_key,
    list_keys,
    order,
    rank_at_end,
    rank_at_front,
    rank_reaching,
    target,
)

NOW_US = 1_790_000_000_000_000


@dataclass(frozen=True)
class Waiting:
    """A task as the slow model sees it."""

    id: str
    workflow: str
    own: int | None
    rank: int


PRIORITIES = {"a": 1, "b": 3, "c": 5}
EVERY = {"a": 7, "b": None, "c": 3}
"""Aging: one level per so many units of rank waited; b does not age."""
waiting = st.lists(
    st.builds(
        Waiting,
        id=st.text("0123456789", min_size=1, max_size=4),
        workflow=st.sampled_from(sorted(PRIORITIES)),
        own=st.none() | st.integers(0, 5),
        rank=st.integers(-20, 20),
    ),
    max_size=40,
    unique_by=lambda task: task.id,
)


def _slow_order(tasks: list[Waiting], now: int) -> list[str]:
    """The obvious model: sort everything, raising each task by what it waited, one level at a time."""

    def key(task: Waiting) -> tuple[int, int, str]:
        counted = task.own if task.own is not None else PRIORITIES[task.workflow]
        every, waited = EVERY[task.workflow], now - task.rank
        while every is not None and waited >= every and counted < 5:
            counted, waited = counted + 1, waited - every
        return (-counted, task.rank, task.id)

    return [task.id for task in sorted(tasks, key=key)]


def _merged(tasks: list[Waiting], now: int) -> list[str]:
    """The same order by taking the target of list heads again and again."""
    lists: dict[ListKey, list[Waiting]] = {}
    for task in tasks:
        lists.setdefault(list_key("acme", task.workflow, task.own), []).append(task)
    for one in lists.values():
        one.sort(key=lambda task: (task.rank, task.id))
    taken: list[str] = []
    while True:
        heads = [_head(key, one[0], now) for key, one in lists.items() if one]
        first = target(heads)
        if first is None:
            return taken
        taken.append(lists[first.key].pop(0).id)


def _head(key: ListKey, task: Waiting, now: int) -> Head:
    base = level(key, PRIORITIES[key.workflow])
    return Head(key, task.id, aged_level(base, task.rank, now_us=now, every_us=EVERY[key.workflow]), task.rank)


@given(waiting, st.integers(-20, 60))
def test_merging_list_heads_is_sorting_the_backlog(tasks: list[Waiting], now: int) -> None:
    assert _merged(tasks, now) == _slow_order(tasks, now)


@given(waiting, st.randoms(use_true_random=False))
def test_the_target_does_not_depend_on_the_order_of_heads(tasks: list[Waiting], chance: object) -> None:
    heads = [Head(list_key("acme", t.workflow, t.own), t.id, t.own or 0, t.rank) for t in tasks]
    shuffled = list(heads)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert target(heads) == target(shuffled) == min(heads, key=order, default=None)


def test_nothing_waits_nothing_is_next() -> None:
    assert target([]) is None


@given(st.none() | st.sampled_from(list(Priority)))
def test_every_task_stands_in_one_of_its_workflows_lists(priority: int | None) -> None:
    keys = list_keys("acme", "tax")
    assert len(keys) == len(set(keys)) == 7
    assert keys.count(list_key("acme", "tax", priority)) == 1


@given(st.integers(0, 5), st.integers(0, 5))
def test_own_priorities_count_and_inherited_ones_follow_the_workflow(own: int, workflow: int) -> None:
    assert level(list_key("acme", "tax", own), workflow) == own
    assert level(list_key("acme", "tax", None), workflow) == workflow
    assert list_key("acme", "tax", None).own == INHERITED


@pytest.mark.parametrize("priority", [-1, 6, 100])
def test_priorities_outside_zero_to_five_are_refused(priority: int) -> None:
    with pytest.raises(ValueError, match=str(priority)):
        list_key("acme", "tax", priority)


@given(st.integers(0, 5), st.integers(0, 100), st.none() | st.integers(1, 30), st.integers(0, 200))
def test_waiting_only_ever_raises_and_never_past_five(base: int, rank: int, every: int | None, now: int) -> None:
    before = aged_level(base, rank, now_us=now, every_us=every)
    later = aged_level(base, rank, now_us=now + 1, every_us=every)
    assert base <= before <= later <= 5
    assert later - before <= (1 if every else 0) or every == 1


@given(
    st.integers(0, 5), st.integers(0, 7), st.none() | st.integers(1, 30), st.integers(0, 200), st.integers(-300, 200)
)
def test_ranks_that_reach_a_level_are_a_beginning_of_the_list(
    base: int, wanted: int, every: int | None, now: int, rank: int
) -> None:
    highest = rank_reaching(base, wanted, now_us=now, every_us=every)
    reaches = aged_level(base, min(rank, now), now_us=now, every_us=every) >= wanted
    assert reaches is (highest is not None and min(rank, now) <= highest)


@given(st.integers(NOW_US, NOW_US + 10**15), st.integers(1, 10**12), st.integers(1, 10**12))
def test_the_front_goes_before_all_and_keeps_the_level_of_what_it_overtook(now: int, waited: int, every: int) -> None:
    head = now - waited
    front = rank_at_front(now, head)
    assert front < head < rank_at_end(now)
    assert rank_at_front(now, None) == rank_at_end(now)
    assert aged_level(1, front, now_us=now, every_us=every) >= aged_level(1, head, now_us=now, every_us=every)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(1, 4), st.integers(5, 20), st.randoms(use_true_random=False))
def test_with_aging_nobody_waits_for_ever(arrivals: int, robots: int, every: int, chance: object) -> None:
    """More urgent work than robots can do, for ever: a task of level 0 still gets its turn, within a bound.

    Each tick brings `arrivals` tasks of level 4 while `robots` are served. After five intervals the old task counts as
    maximum and is the oldest there: what goes before it then came before it, or within those five intervals.
    """
    queue = [Waiting("old", "a", 0, 0)]
    for now in range(1, 5 * every * arrivals + 10):
        queue += [Waiting(f"t{now}-{n}", "a", 4, now) for n in range(arrivals)]
        chance.shuffle(queue)  # type: ignore[attr-defined]
        for _ in range(min(robots, len(queue))):
            heads = [
                Head(list_key("acme", t.workflow, t.own), t.id,
                     aged_level(t.own or 0, t.rank, now_us=now, every_us=every), t.rank)
                for t in queue
            ]  # fmt: skip
            first = target(heads)
            assert first is not None
            queue = [task for task in queue if task.id != first.task]
            if first.task == "old":
                assert now <= 5 * every + 1 or arrivals <= robots, "as soon as it is at the top it is the oldest"
                return
    raise AssertionError("the old task never got its turn")


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 8), min_size=2), st.integers(8, 60))
def test_robots_are_shared_by_weight_among_accounts_that_wait(weights: dict[str, int], robots: int) -> None:
    """Everybody has endless work of one level; the shares of robots come as near to the weights as whole robots can."""
    at_work: Counter[str] = Counter()
    for _ in range(robots):
        shares = {account: at_work[account] / weight for account, weight in weights.items()}
        heads = [Head(ListKey(account, "w", "1"), account, 1, n) for n, account in enumerate(sorted(weights))]
        first = target(heads, shares)
        assert first is not None
        at_work[first.key.account] += 1
    total = sum(weights.values())
    for account, weight in weights.items():
        assert abs(at_work[account] - robots * weight / total) <= len(weights)


def test_a_weight_never_beats_a_level() -> None:
    urgent = Head(ListKey("heavy-user", "w", "5"), "task_1", 5, 9)
    other = Head(ListKey("light-user", "w", "1"), "task_2", 1, 1)
    assert target([urgent, other], {"heavy-user": 100.0, "light-user": 0.0}) == urgent
