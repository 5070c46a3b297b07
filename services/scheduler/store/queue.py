"""The queue as the scheduler reads it: heads of lists, the tasks behind them, and what becomes due.

Called by: dispatch.py, recovery.py. Every query is a short range of an index: its cost does not grow with the backlog.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from shared.domain.task_state import TaskState
from shared.mongo import Mongo

LISTS_MAX = 5000
PLACE = [("queue.list", 1), ("queue.rank", 1), ("_id", 1)]
HEAD_FIELDS = {"queue": 1}
DUE_FIELDS = {
    "account": 1, "workflow": 1, "priority": 1, "created_at": 1, "not_before": 1, "eligible_at": 1, "attempts": 1,
    "deadline": 1, "queue": 1,
}  # fmt: skip


class QueueStore:
    """Reads the queue."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo

    async def heads(self, account: str | None = None, workflow: str | None = None) -> list[dict[str, Any]]:
        """The first task of every list that holds one; of one account or one workflow only, if named.

        One index seek per list: each finds the first task of the next list.
        """
        prefix = "" if account is None else f"{account}/" if workflow is None else f"{account}/{workflow}/"
        low, high = prefix, f"{prefix[:-1]}0" if prefix else None
        found: list[dict[str, Any]] = []
        while len(found) < LISTS_MAX:
            bounds = {"$gt": low} if high is None else {"$gt": low, "$lt": high}
            task = await self._mongo["tasks"].find_one({"queue.list": bounds}, HEAD_FIELDS, sort=PLACE)
            if task is None:
                break
            found.append(task)
            low = task["queue"]["list"]
        return found

    async def first_tasks(self, lists: Sequence[str], limit: int) -> list[dict[str, Any]]:
        """The first tasks over lists of equal level, in order."""
        query = {"queue.list": lists[0] if len(lists) == 1 else {"$in": list(lists)}}
        return await self._mongo["tasks"].find(query).sort(PLACE[1:]).to_list(limit)

    async def workflows(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Workflows by id, as far as the order of work needs them."""
        fields = {"account": 1, "name": 1, "current": 1, "settings.priority": 1}
        return await self._mongo["workflows"].find({"_id": {"$in": list(ids)}}, fields).to_list(None)

    async def workflow_settings(self, account: str, name: str) -> dict[str, Any]:
        """A workflow's settings; empty when it is gone."""
        found = await self._mongo["workflows"].find_one({"_id": f"{account}/{name}"}, {"settings": 1})
        return dict((found or {}).get("settings") or {})

    async def version(self, id: str) -> dict[str, Any] | None:
        """A published version, without its files."""
        return await self._mongo["versions"].find_one({"_id": id}, {"input": 1, "scenarios": 1})

    async def come_due(self, now: datetime, limit: int) -> list[dict[str, Any]]:
        """Queued tasks whose `not_before` has come; most have no place yet, some had it already when they came in."""
        query = {"state": TaskState.QUEUED, "not_before": {"$lte": now}}
        return await self._mongo["tasks"].find(query, DUE_FIELDS).sort("not_before", 1).to_list(limit)

    async def give_place(self, task: dict[str, Any], place: dict[str, Any]) -> bool:
        """Let a task whose time has come stand in its list, and remember the time under another name.

        So each task is found by `come_due` once, and the sweep stays short however many had a time.
        """
        guard = {
            "_id": task["_id"],
            "state": TaskState.QUEUED,
            "queue": task.get("queue"),
            "not_before": task["not_before"],
        }
        fields = {"queue": task.get("queue") or place, "eligible_at": task["not_before"], "not_before": None}
        done = await self._mongo["tasks"].update_one(guard, {"$set": fields})
        return bool(done.modified_count) and task.get("queue") is None

    async def overdue(self, now: datetime, limit: int) -> list[dict[str, Any]]:
        """Queued tasks whose deadline has passed."""
        query = {"state": TaskState.QUEUED, "deadline": {"$lte": now}}
        return await self._mongo["tasks"].find(query, DUE_FIELDS).sort("deadline", 1).to_list(limit)

    async def waiting(self, account: str, workflow: str, limit: int) -> int:
        """How many tasks of a workflow are queued, counted up to `limit`."""
        query = {"account": account, "workflow": workflow, "state": TaskState.QUEUED}
        return int(await self._mongo["tasks"].count_documents(query, limit=limit))

    async def published(self, limit: int) -> list[dict[str, Any]]:
        """Workflows that have a current version, for figures about them."""
        query = {"current": {"$ne": None}}
        return await self._mongo["workflows"].find(query, {"account": 1, "name": 1}).sort("_id", 1).to_list(limit)
