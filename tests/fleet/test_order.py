"""The check of the order itself: against a slow, obvious model; and it fails for queues that are not kept in order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from tests.fleet.ledger import Span, overlapping
from tests.fleet.order import Line, Lines, Place

LINE: Line = ("acme", "tax", "key")
SCHEDULERS, MAX_TASKS = 8, 5
BOUNDS = {("acme", "tax"): SCHEDULERS * MAX_TASKS}


@dataclass
class Obvious:
    """The same, by looking at everything every time."""

    places: dict[str, tuple[Line, Place]] = field(default_factory=dict)
    overtaken: dict[tuple[str, Place], int] = field(default_factory=dict)

    def take(self, tasks: Sequence[str]) -> None:
        taken = [self.places.pop(task) for task in tasks if task in self.places]
        for task, (line, place) in self.places.items():
            times = sum(1 for other, behind in taken if other == line and behind > place)
            if times:
                self.overtaken[task, place] = self.overtaken.get((task, place), 0) + times


Move = tuple[str, int, int, int]
moves = st.lists(
    st.tuples(st.sampled_from(["join", "join", "leave", "take"]), st.integers(0, 15), st.integers(0, 5),
              st.integers(-9, 9)), max_size=60,
)  # fmt: skip


@given(moves)
def test_it_counts_as_the_obvious_model_does(made: list[Move]) -> None:
    lines, model = Lines(), Obvious()
    for what, n, level, rank in made:
        task, line = f"task-{n:02d}", (LINE if n % 2 else ("acme", "tax", "other"))
        if what == "join":
            place = (-level, rank, task)
            lines.join(task, line, place)
            model.places[task] = (line, place)
            model.overtaken.pop((task, place), None)
        elif what == "leave":
            lines.leave(task)
            model.places.pop(task, None)
        else:
            taken = [f"task-{one:02d}" for one in range(n, n + level)]
            assert set(lines.take(taken)) == {one for one in taken if one not in model.places}
            model.take(taken)
    standing = {stay.task: stay.overtaken for stay in lines.standing.values()}
    assert standing == {task: model.overtaken.get((task, place), 0) for task, (_, place) in model.places.items()}


def test_a_queue_taken_in_order_is_never_over() -> None:
    lines = _queue(400)
    for first in range(0, 400, MAX_TASKS):
        lines.take([_task(n) for n in range(first, first + MAX_TASKS)])
    assert lines.overtakes == 0
    assert lines.over(BOUNDS) == []


def test_openings_under_way_are_not_over() -> None:
    """All schedulers have chosen when an older task comes back: each of them overtakes it once, and no more."""
    lines = _queue(400)
    chosen = [
        [_task(n) for n in range(first, first + MAX_TASKS)] for first in range(0, SCHEDULERS * MAX_TASKS, MAX_TASKS)
    ]
    lines.join("back", LINE, (-1, -1, "back"))
    for tasks in chosen:
        lines.take(tasks)
    assert lines.standing["back"].overtaken == SCHEDULERS * MAX_TASKS
    assert lines.over(BOUNDS) == []
    lines.take([_task(100)])
    assert len(lines.over(BOUNDS)) == 1


def test_a_shuffled_queue_is_over() -> None:
    """Whoever takes tasks at random, or the last first, or level by level the wrong way round, is found out."""
    shuffled, tasks = _queue(400), [_task(n) for n in range(400)]
    random.Random(7).shuffle(tasks)
    backwards = _queue(400)
    for first in range(0, 400, MAX_TASKS):
        shuffled.take(tasks[first : first + MAX_TASKS])
        backwards.take([_task(399 - n) for n in range(first, first + MAX_TASKS)])
    assert shuffled.over(BOUNDS)
    assert backwards.over(BOUNDS)


def test_levels_that_are_mixed_up_are_over() -> None:
    lines = Lines()
    for n in range(100):
        lines.join(_task(n), LINE, (-5 if n >= 50 else -1, n, _task(n)))
    for n in range(50):
        lines.take([_task(n)])
    assert "was overtaken 50 times" in lines.over(BOUNDS)[0]


def test_one_task_left_behind_is_over() -> None:
    """One task that is passed over again and again, everything else in order."""
    lines = _queue(400)
    for n in range(1, 400):
        lines.take([_task(n)])
    assert len(lines.over(BOUNDS)) == 1
    assert lines.overtakes == 399


def test_other_lines_do_not_count() -> None:
    lines = _queue(2)
    for n in range(200):
        lines.join(f"other-{n}", ("acme", "tax", "other"), (-5, n, f"other-{n}"))
        lines.take([f"other-{n}"])
    assert lines.overtakes == 0


def test_spans_that_touch_do_not_overlap_and_those_that_cross_do() -> None:
    one, two, three = Span(0.0, 1.0, "run-1"), Span(1.0, 2.0, "run-2"), Span(1.9, 2.5, "run-3")
    assert overlapping([two, one]) == []
    assert overlapping([three, one, two]) == [(two, three)]


def _task(n: int) -> str:
    return f"task-{n:04d}"


def _queue(count: int) -> Lines:
    lines = Lines()
    for n in range(count):
        lines.join(_task(n), LINE, (-1, n, _task(n)))
    return lines
