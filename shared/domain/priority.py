"""Priorities, and the order of work that follows from them.

Called by: collector (checks), scheduler (the queue's lists and their merge), console (names).
A task's place is one of a few first-in-first-out lists per workflow: one per own priority, and one for the tasks that
inherit the workflow's. Only list heads are ever compared, so the backlog is never sorted.

Aging raises a task one level per interval waited, never past the highest. Within a list the rank is the time of
joining, so the head has waited longest and stands highest: the merge of heads stays exact with aging. A task that joins
the front takes the head's rank less one, and with it the head's age: it stands as high as what it overtook.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
    """The priority that counts for the tasks of a list before any aging, 0 to 5."""
    return workflow_priority if key.own == INHERITED else int(key.own)


def aged_level(base: int, rank: int, *, now_us: int, every_us: int | None) -> int:
    """The level that counts after waiting: one up per `every_us` since `rank` (microseconds), 5 at most.

    every_us: none: aging is off.
    """
    if every_us is None or now_us <= rank:
        return base
    return min(int(Priority.MAXIMUM), base + (now_us - rank) // every_us)


def rank_reaching(base: int, wanted: int, *, now_us: int, every_us: int | None) -> int | None:
    """The highest rank with which a task of level `base` counts as `wanted` or more now; none: no rank does."""
    if wanted <= base:
        return now_us
    if every_us is None or wanted > Priority.MAXIMUM:
        return None
    return now_us - (wanted - base) * every_us


@dataclass(frozen=True)
class Head:
    """The first task of one list (or the first of it that may run)."""

    key: ListKey
    task: str
    level: int
    """The priority that counts, 0 to 5, aging included."""
    rank: int
    """Place in the list: microseconds since the epoch at which it joined; lower after a move to the front."""
    group: str = ""
    """Its scenario and group (shared.domain.scenario)."""


def order(head: Head) -> tuple[int, int, str]:
    """Sort key: level first, then age (rank), then the id, so that equal ages have one order everywhere."""
    return (-head.level, head.rank, head.task)


def fair_order(head: Head, shares: Mapping[str, float]) -> tuple[int, float, int, str]:
    """Sort key where accounts have weights: level, then the account that has least for its weight, then age.

    At the highest level age alone decides, so with aging nobody waits for ever, whatever the weights.

    shares: runs at work divided by weight, by account; empty: nobody has a weight, and age alone decides.
    """
    share = shares.get(head.key.account, 0.0) if head.level < Priority.MAXIMUM else 0.0
    return (-head.level, share, head.rank, head.task)


def target(heads: Iterable[Head], shares: Mapping[str, float] | None = None) -> Head | None:
    """The task that goes next among the heads of all lists, or none."""
    return min(heads, key=lambda head: fair_order(head, shares or {}), default=None)


def rank_at_end(now_us: int) -> int:
    """Rank of a task that joins the end of its list at `now_us`, microseconds since the epoch."""
    return now_us


def rank_at_front(now_us: int, head: int | None) -> int:
    """Rank of a task that joins the front, before the one with the rank `head` (none: nobody stands there)."""
    return now_us if head is None else min(now_us, head - 1)
