"""Changes of tasks, each one guarded update; and the tasks that wait for the scheduler or were left behind.

Called by: recovery.py, dispatch.py, requests.py. Survives a crash: a change names what it expects and carries an
operation id, so it can be repeated; hints follow the write and may be lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pymongo import ReturnDocument

from services.scheduler.core.tasks import OWNER, Change
from shared.domain.task_state import TaskState
from shared.mongo import Mongo, Session
from shared.mongo.guarded import Guarded, guarded_update, in_transaction

HISTORY_MAX = 50
RUNS_SEEN_MAX = 10_000


class TaskStore:
    """The scheduler's view of `tasks`."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo

    async def task(self, id: str) -> dict[str, Any] | None:
        """A task by its id."""
        return await self._mongo["tasks"].find_one({"_id": id})

    async def apply(
        self,
        task: Mapping[str, Any],
        change: Change,
        *,
        op: str,
        now: datetime,
        expect: Mapping[str, Any],
        by: str = OWNER,
    ) -> Guarded:
        """Apply a change to a task that still is as `expect` says (its state is always expected)."""
        guard = {"state": change.before, **expect}
        update = _update(task, change, now, by)
        if not change.uncount:
            return await guarded_update(self._mongo["tasks"], task["_id"], guard, update, op=op)

        async def body(session: Session) -> Guarded:
            changes = {**update, "$set": {**update["$set"], "op": op}}
            found = await self._mongo["tasks"].find_one_and_update(
                {**guard, "_id": task["_id"]}, changes, return_document=ReturnDocument.AFTER, session=session
            )
            if found is not None:  # only then: an earlier call whose answer was lost has taken it out already
                await take_out(self._mongo, change.uncount, session)
                return Guarded(True, found)
            found = await self._mongo["tasks"].find_one({"_id": task["_id"]}, session=session)
            return Guarded(found is not None and found.get("op") == op, found)

        return await in_transaction(self._mongo, body)

    async def handed_over(self, now: datetime, limit: int) -> list[dict[str, Any]]:
        """Tasks that executors gave back, whose hint may have been lost."""
        query = {"pending.to": OWNER, "pending.due_at": {"$lte": now}}
        return await self._mongo["tasks"].find(query).sort("pending.due_at", 1).limit(limit).to_list(None)

    async def put_off(self, task: Mapping[str, Any], due_at: datetime) -> None:
        """Look at a task's hand-over again later; that it waits is no failed try."""
        guard = {"_id": task["_id"], "pending.to": OWNER, "pending.due_at": task["pending"]["due_at"]}
        await self._mongo["tasks"].update_one(guard, {"$set": {"pending.due_at": due_at}})

    async def given_back_by(self, run: str) -> list[dict[str, Any]]:
        """Tasks that a run gave back and that are still on their way to the queue."""
        query = {"held_by.run": run, "pending.to": OWNER}
        return await self._mongo["tasks"].find(query, {"_id": 1}).limit(RUNS_SEEN_MAX).to_list(None)

    async def claim(self, task: Mapping[str, Any], due_at: datetime) -> bool:
        """Count one more try at a task's hand-over, and put the next one off; false when somebody else did."""
        guard = {"_id": task["_id"], "pending.to": OWNER, "pending.due_at": task["pending"]["due_at"]}
        update = {"$set": {"pending.due_at": due_at}, "$inc": {"pending.claims": 1}}
        return bool((await self._mongo["tasks"].update_one(guard, update)).modified_count)

    async def matching(
        self, query: Mapping[str, Any], states: Sequence[TaskState], *, last: str, before: datetime, limit: int,
        down: bool = False,
    ) -> list[dict[str, Any]]:  # fmt: skip
        """Tasks of a filter (shared by the console and the scheduler's bulk requests) after the id `last`, by id.

        before: only tasks that were there then. down: from the last id to the first.
        """
        wanted = [state for state in states if query.get("state") in (None, state)]
        found: dict[str, Any] = {"account": query["account"], "state": {"$in": wanted}}
        found["created_at"] = {"$lte": min(before, query.get("created_before") or before)}
        for key in ("workflow", "batch"):
            if query.get(key) is not None:
                found[key] = query[key]
        if "priority" in query:
            found["priority"] = query["priority"]
        if query.get("references") is not None:
            found["reference"] = {"$in": list(query["references"])}
        if last:
            found["_id"] = {"$lt" if down else "$gt": last}
        cursor = self._mongo["tasks"].find(found, {"_id": 1}).sort("_id", -1 if down else 1)
        return await cursor.limit(limit).to_list(limit)

    async def runs_holding_tasks(self) -> list[str]:
        """Runs that hold tasks which nobody has ended or given back."""
        pipeline: list[dict[str, Any]] = [
            {"$match": {"state": TaskState.RUNNING, "held_by.run": {"$gt": ""}, "pending": None}},
            {"$group": {"_id": "$held_by.run"}},
            {"$limit": RUNS_SEEN_MAX},
        ]
        return [group["_id"] async for group in await self._mongo["tasks"].aggregate(pipeline)]

    async def left_by(self, run: str) -> list[dict[str, Any]]:
        """Tasks that a run holds and that carry no hand-over."""
        query = {"held_by.run": run, "state": TaskState.RUNNING, "pending": None}
        return await self._mongo["tasks"].find(query).limit(1000).to_list(None)


async def take_out(mongo: Mongo, counters: Sequence[str], session: Session) -> None:
    """Take one task out of the counters of limits, in the transaction that says why."""
    for counter in sorted(counters):
        await mongo["usage"].update_one({"_id": counter, "used": {"$gt": 0}}, {"$inc": {"used": -1}}, session=session)


def _update(task: Mapping[str, Any], change: Change, now: datetime, by: str) -> dict[str, Any]:
    """The update that a change is."""
    run = (task.get("held_by") or {}).get("run")
    entry = {"at": now, "state": change.after.value, "reason": change.reason, "by": by, "run": run}
    fields: dict[str, Any] = {"state": change.after.value, "updated_at": now, **change.fields}
    update: dict[str, Any] = {"$set": fields, "$push": {"history": {"$each": [entry], "$slice": -HISTORY_MAX}}}
    if change.place is not None:
        fields["queue"] = dict(change.place)
    else:
        update["$unset"] = {"queue": ""}
        if task.get("queue"):
            fields["placed"] = dict(task["queue"])
    added = {"attempts": change.attempts} if change.attempts else {}
    if change.event is not None:
        added[f"events.{change.event}"] = 1
    if added:
        update["$inc"] = added
    return update
