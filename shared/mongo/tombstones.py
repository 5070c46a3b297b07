"""Tombstones: what stays of a task that was deleted, so that its reference names it for ever.

Owns: the collection `tombstones`. Called by: whoever deletes tasks (`bury`, before the deletion), collector
(`standing`, `of_task`). Survives a crash: a tombstone without a deletion says the same as the task, and burying again
changes nothing. Change also: section 'Data' of ARCHITECTURE.md; docs/adr/0020 has the reasoning in full.

The order that makes it safe without a transaction:

- the deleter writes the tombstone (majority), then deletes the task; and never a task younger than AGE_MIN_S;
- the intake looks at tasks, then at tombstones, then inserts what is in neither. A reference that was ever used is in
  one of the two: when the task was gone at the first look, its tombstone was there before it went. A task that came
  to be between the looks and the insert is met by the unique index, because it is too young to be deleted.

A tombstone holds no reference and no input, only their hashes: it stays after a person's data were erased, without
the hash of the input (which could be guessed); a push of such a reference is then one with another input.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from shared.domain.task_state import FINAL
from shared.mongo import Mongo
from shared.mongo.guarded import insert_new

AGE_MIN_S = 600.0
"""No task may be deleted that was made less than this ago: a push's look and its insert are seconds apart at most."""
FIND_BATCH = 2000
READ_TIME_MS_MAX = 8_000


class TooYoung(ValueError):
    """A task that may not be deleted yet: it was just made, or it has not ended."""


def grave(account: str, workflow: str, reference: str) -> str:
    """The _id of a reference's tombstone."""
    return hashlib.sha256(f"{account}\0{workflow}\0{reference}".encode()).hexdigest()


def tombstone(task: Mapping[str, Any], *, at: datetime) -> dict[str, Any]:
    """The tombstone of a task's document."""
    return {
        "_id": grave(task["account"], task["workflow"], task["reference"]),
        "schema_version": 1,
        "account": task["account"],
        "workflow": task["workflow"],
        "task": task["_id"],
        "batch": task.get("batch"),
        "input_digest": task["input_digest"],
        "state": str(task["state"]),
        "finished_at": task.get("finished_at"),
        "at": at,
    }


async def bury(mongo: Mongo, tasks: Sequence[Mapping[str, Any]], *, at: datetime) -> None:
    """Write the tombstones of tasks that are about to be deleted; when this returns, they may be.

    tasks: documents with _id, account, workflow, reference, batch, input_digest, state, created_at and finished_at;
    one-off runs have no reference of a partner's and need none. at: now.
    Raises: TooYoung, before anything is written; TemporaryError.
    """
    for task in tasks:
        if task["state"] not in FINAL:
            raise TooYoung(f"{task['_id']} is {task['state']}; only tasks that have ended are deleted")
        if task["created_at"] > at - timedelta(seconds=AGE_MIN_S):
            raise TooYoung(f"{task['_id']} was made less than {AGE_MIN_S:g} s ago; delete it later")
    documents = [tombstone(task, at=at) for task in tasks]
    if documents:
        await insert_new(mongo["tombstones"], documents)  # one that is there is right: a tombstone never changes


async def standing(mongo: Mongo, account: str, workflow: str, references: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Of these references, those of deleted tasks: reference -> (the task's id, the digest of its input)."""
    by_grave = {grave(account, workflow, reference): reference for reference in references}
    graves, found = list(by_grave), {}
    for start in range(0, len(graves), FIND_BATCH):
        query = {"_id": {"$in": graves[start : start + FIND_BATCH]}}
        async for document in mongo["tombstones"].find(query, {"task": 1, "input_digest": 1}):
            found[by_grave[document["_id"]]] = (str(document["task"]), str(document["input_digest"]))
    return found


async def of_batches(mongo: Mongo, batches: Sequence[str]) -> dict[str, int]:
    """Of each of these batches: how many of its tasks were deleted."""
    pipeline: list[dict[str, Any]] = [
        {"$match": {"batch": {"$in": list(batches)}}},
        {"$group": {"_id": "$batch", "n": {"$sum": 1}}},
    ]
    cursor = await mongo["tombstones"].aggregate(pipeline, maxTimeMS=READ_TIME_MS_MAX)
    return {document["_id"]: document["n"] async for document in cursor}


async def of_task(mongo: Mongo, account: str, task: str) -> dict[str, Any] | None:
    """The tombstone of a deleted task of this account."""
    return await mongo["tombstones"].find_one({"task": task, "account": account})
