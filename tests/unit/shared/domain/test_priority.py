"""The order of work is that of a sort nobody could afford: level, then age, then id."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.priority import (
    INHERITED,
    Head,
    ListKey,
    Priority,
    level,
    list_key,
    list_keys,
    order,
    rank_at_end,
    rank_at_front,
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


def _slow_order(tasks: list[Waiting]) -> list[str]:
    """The obvious model: sort everything."""

    def key(task: Waiting) -> tuple[int, int, str]:
        counted = task.own if task.own is not None else PRIORITIES[task.workflow]
        return (-counted, task.rank, task.id)

    return [task.id for task in sorted(tasks, key=key)]


def _merged(tasks: list[Waiting]) -> list[str]:
    """The same order by taking the target of list heads again and again."""
    lists: dict[ListKey, list[Waiting]] = {}
    for task in tasks:
        lists.setdefault(list_key("acme", task.workflow, task.own), []).append(task)
    for one in lists.values():
        one.sort(key=lambda task: (task.rank, task.id))
    taken: list[str] = []
    while True:
        heads = [
            Head(key, one[0].id, level(key, PRIORITIES[key.workflow]), one[0].rank) for key, one in lists.items() if one
        ]
        first = target(heads)
        if first is None:
            return taken
        taken.append(lists[first.key].pop(0).id)


@given(waiting)
def test_merging_list_heads_is_sorting_the_backlog(tasks: list[Waiting]) -> None:
    assert _merged(tasks) == _slow_order(tasks)


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


@given(st.integers(NOW_US, NOW_US + 10**15), st.integers(1, 10**12))
def test_the_front_goes_before_the_end_and_the_latest_first(now_us: int, later_us: int) -> None:
    assert rank_at_end(now_us) < rank_at_end(now_us + later_us)
    assert rank_at_front(now_us + later_us) < rank_at_front(now_us) < rank_at_end(0)
