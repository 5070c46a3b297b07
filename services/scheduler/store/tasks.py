"""Changes of tasks, each one guarded update; and the tasks that wait for the scheduler or were left behind.

Called by: recovery.py, dispatch.py, requests.py. Survives a crash: a change names what it expects and carries an
operation id, so it can be repeated; hints follow the write and may be lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from services.scheduler.core.tasks import OWNER, Change
from shared.domain.task_state import TaskState
from shared.mongo import Mongo
from shared.mongo.guarded import Guarded, guarded_update

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
        return await guarded_update(self._mongo["tasks"], task["_id"], guard, update, op=op)

    async def handed_over(self, now: datetime, limit: int) -> list[dict[str, Any]]:
        """Tasks that executors gave back, whose hint may have been lost."""
        query = {"pending.to": OWNER, "pending.due_at": {"$lte": now}}
        return await self._mongo["tasks"].find(query).sort("pending.due_at", 1).to_list(limit)

    async def claim(self, task: Mapping[str, Any], due_at: datetime) -> bool:
        """Count one more try at a task's hand-over, and put the next one off; false when somebody else did."""
        guard = {"_id": task["_id"], "pending.to": OWNER, "pending.due_at": task["pending"]["due_at"]}
        update = {"$set": {"pending.due_at": due_at}, "$inc": {"pending.claims": 1}}
        return bool((await self._mongo["tasks"].update_one(guard, update)).modified_count)

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
        return await self._mongo["tasks"].find(query).to_list(1000)


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
    added = {"attempts": change.attempts} if change.attempts else {}
    if change.event is not None:
        added[f"events.{change.event}"] = 1
    if added:
        update["$inc"] = added
    return update
