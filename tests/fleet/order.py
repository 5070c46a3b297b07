"""Whether tasks were taken in their order: the queue as a model, fed with the database's journal, entry by entry.

Pure. A *line* is what has one order: the tasks of one workflow that can share a run (account, workflow, key of the
scenario and group). Its order is level (own priority, or the workflow's), then rank, then id: so it holds within each
(account, workflow, level) and between the levels too. A *stay* is the time a task stands at one place of its line: from
the commit that gave it the place (accepted, come due, given back, retried) to the commit that took it away.

A stay is *overtaken* by each task of its line that an opening took from behind it, while the stay's task itself was
left standing. That happens rightly only when the opening had chosen its tasks before the stay began: its choice was
made on what stood there then. A scheduler has one opening in hand at a time, chosen afresh after the one before, and an
opening takes at most `max_tasks` tasks. So however many tasks and robots there are,

    a stay is overtaken at most (schedulers x max_tasks) times

which is far below what runs at once (robots x max_tasks): a bound by the latter would hardly ever fail on lines of a
few hundred tasks. Whoever takes the wrong end of the list once too often, or sorts by something else, is over it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

Line = tuple[str, str, str]
"""Account, workflow, key of scenario and group."""
Place = tuple[int, int, str]
"""Minus the level, the rank, the task's id."""


@dataclass
class Stay:
    """One task at one place of its line."""

    task: str
    line: Line
    place: Place
    overtaken: int = 0


@dataclass
class Lines:
    """All lines, and what was overtaken in them."""

    standing: dict[str, Stay] = field(default_factory=dict)
    places: dict[Line, list[Place]] = field(default_factory=lambda: defaultdict(list))
    worst: dict[Line, Stay] = field(default_factory=dict)
    """The stay of each line that was overtaken most, those that stand there still included."""
    overtakes: int = 0
    stays: int = 0

    def join(self, task: str, line: Line, place: Place) -> None:
        """A task gets a place (and leaves the one it had)."""
        self.leave(task)
        self.standing[task] = Stay(task, line, place)
        insort(self.places[line], place)
        self.stays += 1

    def leave(self, task: str) -> Stay | None:
        """A task has no place any more."""
        stay = self.standing.pop(task, None)
        if stay is not None:
            places = self.places[stay.line]
            del places[bisect_left(places, stay.place)]
        return stay

    def take(self, tasks: Iterable[str]) -> list[str]:
        """An opening takes tasks, all at once; those of them that had no place."""
        taken: dict[Line, list[Place]] = defaultdict(list)
        missing = []
        for task in tasks:
            stay = self.leave(task)
            if stay is None:
                missing.append(task)
            else:
                taken[stay.line].append(stay.place)
        for line, places in taken.items():
            self._overtake(line, sorted(places))
        return missing

    def over(self, bound_of: dict[tuple[str, str], int]) -> list[str]:
        """What is wrong, one text each: stays overtaken more often than `bound_of` their (account, workflow)."""
        return [
            f"{stay.task} of {'/'.join(line)} stood at {stay.place} and was overtaken {stay.overtaken} times; at most "
            f"{bound_of[line[:2]]} may happen"
            for line, stay in sorted(self.worst.items())
            if stay.overtaken > bound_of[line[:2]]
        ]

    def _overtake(self, line: Line, taken: list[Place]) -> None:
        """Count for those that were left standing before what was taken."""
        left = self.places[line]
        for place in left[: bisect_left(left, taken[-1])]:
            stay = self.standing[place[2]]
            behind = len(taken) - bisect_left(taken, place)
            stay.overtaken += behind
            self.overtakes += behind
            worst = self.worst.get(line)
            if worst is None or stay.overtaken > worst.overtaken:
                self.worst[line] = stay
