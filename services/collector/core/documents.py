"""How an accepted item stands in the database.

Called by: intake.py. A task that may run now gets its place in the queue in the same insert; one with a later
`not_before` has no place until the scheduler gives it one. Change also: ARCHITECTURE.md (tasks, batches), every
reader of `tasks`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.collector.core.items import Item
from shared.domain.priority import list_key, rank_at_end
from shared.domain.task_state import TaskState

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


def task_document(push: Push, item: Item, *, id: str, op: str) -> dict[str, Any]:
    """The task that an item becomes. Its rank carries the item's index, so that a push keeps its order."""
    waits = item.not_before is not None and item.not_before > push.at
    document: dict[str, Any] = {
        "_id": id,
        "schema_version": SCHEMA_VERSION,
        "account": push.account,
        "partner": push.partner,
        "workflow": push.workflow,
        "batch": push.batch,
        "reference": item.reference,
        "input": dict(item.input),
        "input_digest": item.digest,
        "group": item.group,
        "priority": item.priority,
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
    # The indexes of delayed tasks and deadlines hold only those that have the field.
    if item.not_before is not None:
        document["not_before"] = item.not_before
    if item.deadline is not None:
        document["deadline"] = item.deadline
    if not waits:
        key = list_key(push.account, push.workflow, item.priority)
        rank = rank_at_end(push.at_us + item.index)
        document["queue"] = {"list": str(key), "key": item.group, "rank": rank}
    return document


def batch_document(push: Push, *, count: int, rejected: int) -> dict[str, Any]:
    """The batch of a push of `count` items."""
    return {
        "_id": push.batch,
        "schema_version": SCHEMA_VERSION,
        "account": push.account,
        "partner": push.partner,
        "workflow": push.workflow,
        "count": count,
        "rejected": rejected,
        "duplicates": 0,
        "created_at": push.at,
    }
