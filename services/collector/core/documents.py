"""How an accepted item stands in the database.

Called by: intake.py. A task that may run now gets its place in the queue in the same insert; one with a later
`not_before` has no place until the scheduler gives it one. Change also: ARCHITECTURE.md (tasks, batches), every
reader of `tasks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from shared.domain.priority import Priority, list_key, rank_at_end
from shared.domain.task_state import TaskState
from shared.intake.items import Item

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Push:
    """What all tasks of one push have in common."""

    account: str
    partner: str
    workflow: str
    batch: str
    at: datetime
    at_us: int
    """The same moment in microseconds since the epoch: the rank of the first task."""
    traceparent: str
    """Of the push's own span."""
    source: str | None = None
    """What made the tasks, such as acme/orders (a source, a timer) or acme/hand; none: a partner's push."""
    given: str | None = None
    """The traceparent that the partner asked to continue; none: the push begins a trace."""
    own_trace: Callable[[str], str] | None = None
    """The traceparent that a task's own trace begins with, by its id; none: all tasks share the push's trace."""

    @cached_property
    def list_keys(self) -> dict[int | None, str]:
        """The list that a task joins, by its own priority."""
        return {own: str(list_key(self.account, self.workflow, own)) for own in (None, *Priority)}


def task_documents(push: Push, items: Sequence[Item], ids: Mapping[str, str], *, op: str) -> list[dict[str, Any]]:
    """The tasks that items become. ids: by reference. A rank carries the item's index: a push keeps its order."""
    common = _common(push, op)
    return [_task_document(common, push, item, ids[item.reference]) for item in items]


def _common(push: Push, op: str) -> dict[str, Any]:
    """What all tasks of a push begin with."""
    return {
        "_id": None,
        "schema_version": SCHEMA_VERSION,
        "account": push.account,
        "partner": push.partner,
        "workflow": push.workflow,
        "batch": push.batch,
        "source": push.source,
        "reference": None,
        "input": None,
        "input_digest": None,
        "group": None,
        "priority": None,
        "state": TaskState.QUEUED.value,
        "attempts": 0,
        "created_at": push.at,
        "updated_at": push.at,
        "finished_at": None,
        "held_by": None,
        "hold": None,
        "result": None,
        "error": None,
        "evidence": [],
        "cancel": None,
        "pending": None,
        "events": {},
        "history": [
            {"at": push.at, "state": TaskState.QUEUED.value, "reason": "accepted", "by": push.partner, "run": None}
        ],
        "op": op,
        "traceparent": push.traceparent,
    }


def _task_document(common: Mapping[str, Any], push: Push, item: Item, id: str) -> dict[str, Any]:
    document: dict[str, Any] = {
        **common,
        "_id": id,
        "reference": item.reference,
        "input": item.input,
        "input_digest": item.digest,
        "group": item.group,
        "priority": item.priority,
    }
    if push.own_trace is not None and item.index > 0:
        document["traceparent"] = push.own_trace(id)
    if item.files:
        document["files"] = list(item.files)
    # The indexes of delayed tasks and deadlines hold only those that have the field.
    if item.not_before is not None:
        document["not_before"] = item.not_before
    if item.deadline is not None:
        document["deadline"] = item.deadline
    if item.not_before is None or item.not_before <= push.at:
        rank = rank_at_end(push.at_us + item.index)
        document["queue"] = {"list": push.list_keys[item.priority], "key": item.group, "rank": rank}
    return document


def batch_document(push: Push, *, count: int, rejected: int, complete: bool) -> dict[str, Any]:
    """The batch of a push, before its tasks. The figures are put right when the database has spoken.

    complete: all of the push has been read.
    """
    return {
        "_id": push.batch,
        "schema_version": SCHEMA_VERSION,
        "account": push.account,
        "partner": push.partner,
        "workflow": push.workflow,
        "source": push.source,
        "count": count,
        "rejected": rejected,
        "duplicates": 0,
        "complete": complete,
        "created_at": push.at,
    }
