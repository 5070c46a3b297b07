"""The queue as the scheduler reads it: heads of lists, the tasks behind them, and what becomes due.

Called by: dispatch.py, recovery.py. Every query is a short range of an index: its cost does not grow with the backlog.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pymongo import UpdateOne

from services.scheduler.core.order import parse_list
from shared.domain.priority import Priority, level, list_key
from shared.domain.task_state import TaskState
from shared.mongo import Mongo

LISTS_MAX = 20_000
RANGES_MAX = 200
PLACE = [("queue.list", 1), ("queue.rank", 1), ("_id", 1)]
BY_KEY = [("queue.list", 1), ("queue.key", 1), ("queue.rank", 1), ("_id", 1)]
PLACE_FIELDS = {"queue.list": 1, "queue.rank": 1, "queue.key": 1}
"""All of it stands in the index `queue`, so looking ahead reads no documents."""
DUE_FIELDS = {
    "account": 1, "workflow": 1, "priority": 1, "created_at": 1, "not_before": 1, "eligible_at": 1, "attempts": 1,
    "deadline": 1, "queue": 1, "group": 1, "placed": 1,
}  # fmt: skip


class QueueStore:
    """Reads the queue."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo

    async def any_waits(self) -> bool:
        """Whether a task stands in any list."""
        return await self._mongo["tasks"].find_one({"queue.list": {"$gt": ""}}, {"_id": 1}) is not None

    async def any_waits_for_no_robot(self) -> bool:
        """Whether a task stands in a list of a workflow that has ever had a scenario without a robot."""
        found = await self._mongo["versions"].find(
            {"scenarios.worker": False}, {"account": 1, "workflow": 1}
        ).limit(LISTS_MAX).to_list(None)  # fmt: skip
        ids = sorted({f"{version['account']}/{version['workflow']}" for version in found})
        ranges = [{"queue.list": {"$gt": f"{id}/", "$lt": f"{id}0"}} for id in ids]
        if len(ranges) > RANGES_MAX:
            return await self.any_waits()
        return bool(ranges) and await self._mongo["tasks"].find_one({"$or": ranges}, {"_id": 1}) is not None

    async def heads(self, account: str | None = None, workflow: str | None = None) -> list[dict[str, Any]]:
        """The first task of every list that holds one; of one account or one workflow only, if named.

        One walk over the distinct lists of the index (DISTINCT_SCAN), whatever stands behind the heads.
        """
        prefix = "" if account is None else f"{account}/" if workflow is None else f"{account}/{workflow}/"
        bounds = {"$gt": prefix, "$lt": f"{prefix[:-1]}0"} if prefix else {"$gt": ""}
        pipeline: list[dict[str, Any]] = [
            {"$match": {"queue.list": bounds}},
            {"$sort": dict(PLACE)},
            {
                "$group": {
                    "_id": "$queue.list",
                    "task": {"$first": "$_id"},
                    "rank": {"$first": "$queue.rank"},
                    "key": {"$first": "$queue.key"},
                }
            },
            {"$limit": LISTS_MAX},
        ]
        found = await self._mongo["tasks"].aggregate(pipeline)
        return [
            {"_id": one["task"], "queue": {"list": one["_id"], "rank": one["rank"], "key": one.get("key")}}
            async for one in found
        ]

    async def ahead(self, list_: str, limit: int) -> list[dict[str, Any]]:
        """The first places of one list, in order, out of the index alone."""
        query = {"queue.list": list_}
        return await self._mongo["tasks"].find(query, PLACE_FIELDS).sort(PLACE).limit(limit).to_list(None)

    async def first(self, list_: str, limit: int) -> list[dict[str, Any]]:
        """The first tasks of one list, in order, with what their key is made from."""
        fields = {**PLACE_FIELDS, "input": 1, "account": 1}
        return await self._mongo["tasks"].find({"queue.list": list_}, fields).sort(PLACE).limit(limit).to_list(None)

    async def is_current(self, version: str) -> bool:
        """Whether a version is the one that new runs of its workflow take now."""
        workflow, _, number = version.rpartition("/")
        found = await self._mongo["workflows"].find_one({"_id": workflow}, {"current": 1})
        return found is not None and str(found.get("current")) == number

    async def next_key(self, list_: str, after: str, end: str) -> dict[str, Any] | None:
        """The first place of the next group of a list, by the order of keys; none: there is no further one before
        `end`."""
        query = {"queue.list": list_, "queue.key": {"$gt": after, "$lt": end}}
        return await self._mongo["tasks"].find_one(query, PLACE_FIELDS, sort=BY_KEY)

    async def of_key(self, list_: str, key: str, limit: int) -> list[dict[str, Any]]:
        """The first tasks of one group in one list, in order."""
        query = {"queue.list": list_, "queue.key": key}
        return await self._mongo["tasks"].find(query).sort(BY_KEY).limit(limit).to_list(None)

    async def stale(self, list_: str, layout: str, limit: int) -> list[dict[str, Any]]:
        """Tasks of a list whose key was made for other scenarios, or that have none."""
        found: list[dict[str, Any]] = []
        for bounds in ({"$lt": f"{layout}."}, {"$gt": f"{layout}/"}, None):
            if len(found) < limit:
                query = {"queue.list": list_, "queue.key": bounds}
                fields = {**PLACE_FIELDS, "input": 1, "account": 1, "held_by": 1, "history": 1}
                cursor = self._mongo["tasks"].find(query, fields).sort(BY_KEY)
                found += await cursor.limit(limit - len(found)).to_list(None)
        return found

    async def rekey(self, changes: Sequence[tuple[Mapping[str, Any], str]]) -> int:
        """Give tasks that still stand as they were read another key; how many it was done for."""
        updates = [
            UpdateOne(
                {"_id": task["_id"], "queue.list": task["queue"]["list"], "queue.key": task["queue"].get("key")},
                {"$set": {"group": key, "queue.key": key}},
            )
            for task, key in changes
        ]
        if not updates:
            return 0
        return int((await self._mongo["tasks"].bulk_write(updates, ordered=False)).modified_count)

    async def workflows(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Workflows by id, as far as the order of work needs them."""
        fields = {"account": 1, "name": 1, "current": 1}
        return await self._mongo["workflows"].find({"_id": {"$in": list(ids)}}, fields).to_list(None)

    async def front_of_level(self, task: Mapping[str, Any]) -> int | None:
        """The lowest rank among the waiting tasks of a task's account that count with its level, aging left aside."""
        account, workflows = task["account"], await self._priorities(task["account"])
        own = list_key(account, task["workflow"], task.get("priority"))
        mine = level(own, workflows.get(task["workflow"], int(Priority.NORMAL)))
        ranks = [
            int(place["queue"]["rank"])
            for place in await self.heads(account)
            if (key := parse_list(place["queue"]["list"])) is not None
            and level(key, workflows.get(key.workflow, int(Priority.NORMAL))) == mine
            and place["_id"] != task["_id"]
        ]
        return min(ranks, default=None)

    async def _priorities(self, account: str) -> dict[str, int]:
        cursor = self._mongo["workflows"].find({"account": account}, {"name": 1, "settings.priority": 1})
        return {one["name"]: int((one.get("settings") or {}).get("priority", Priority.NORMAL)) async for one in cursor}

    async def front(self, list_: str) -> int | None:
        """Rank of the first task of a list, if one stands there."""
        found = await self._mongo["tasks"].find_one({"queue.list": list_}, {"queue.rank": 1}, sort=PLACE)
        return None if found is None else int(found["queue"]["rank"])

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
        return await self._mongo["tasks"].find(query, DUE_FIELDS).sort("not_before", 1).limit(limit).to_list(None)

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
        return await self._mongo["tasks"].find(query, DUE_FIELDS).sort("deadline", 1).limit(limit).to_list(None)
