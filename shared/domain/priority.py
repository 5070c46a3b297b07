"""Priorities, and the order of work that follows from them.

Called by: collector (checks), scheduler (the queue's lists and their merge), console (names).
A task's place is one of a few first-in-first-out lists per workflow: one per own priority, and one for the tasks that
inherit the workflow's. Only list heads are ever compared, so the backlog is never sorted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum


class Priority(IntEnum):
    """How urgent a task is; a higher number goes first."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    VERY_HIGH = 3
    URGENT = 4
    MAXIMUM = 5


INHERITED = "i"
"""Stands in a list's key for 'the priority that the workflow has when it is looked at'."""


@dataclass(frozen=True, order=True)
class ListKey:
    """Which first-in-first-out list a task stands in."""

    account: str
    workflow: str
    own: str
    """The digit of the task's own priority, or INHERITED."""

    def __str__(self) -> str:
        return f"{self.account}/{self.workflow}/{self.own}"


def list_key(account: str, workflow: str, priority: int | None) -> ListKey:
    """The list for a task of this workflow with its own `priority`, or none to inherit."""
    return ListKey(account, workflow, INHERITED if priority is None else str(int(Priority(priority))))


def list_keys(account: str, workflow: str) -> list[ListKey]:
    """Every list that a workflow can have."""
    own = [str(int(level)) for level in Priority]
    return [ListKey(account, workflow, key) for key in (*own, INHERITED)]


def level(key: ListKey, workflow_priority: int) -> int:
    """The priority that counts for the tasks of a list, 0 to 5."""
    return workflow_priority if key.own == INHERITED else int(key.own)


@dataclass(frozen=True)
class Head:
    """The first task of one list."""

    key: ListKey
    task: str
    level: int
    """The priority that counts, 0 to 5."""
    rank: int
    """Place in the list: microseconds since the epoch for the end of it, negative ones for the front."""


def order(head: Head) -> tuple[int, int, str]:
    """Sort key: level first, then age (rank), then the id, so that equal ages have one order everywhere."""
    return (-head.level, head.rank, head.task)


def target(heads: Iterable[Head]) -> Head | None:
    """The task that goes next among the heads of all lists, or none."""
    return min(heads, key=order, default=None)


def rank_at_end(now_us: int) -> int:
    """Rank of a task that joins the end of its list at `now_us`, microseconds since the epoch."""
    return now_us


def rank_at_front(now_us: int) -> int:
    """Rank of a task that joins the front of its list: before all that stand there, the latest first."""
    return -now_us
