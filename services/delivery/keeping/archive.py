"""Moves what has ended and is old enough to the archive, and deletes from it what is older still.

Called by: passes.py. Owns the `archive_*` collections: the same documents as in those without the prefix, in compressed
collections. Copies are made by the server ($merge), so nothing of them passes through here. Survives a crash at any
line: a task (or run) goes last; as long as it is there everything is done again, and nothing of it changes by that.
Change also: shared/mongo/tombstones.py, feed.py (`raise_floor`), ARCHITECTURE.md (Data).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from services.delivery.core.retention import ENDED, RUN_ENDED, TASK_ENDED, obstacle
from services.delivery.feed import Feed
from services.delivery.keeping.evidence import EvidenceKeeping
from services.delivery.keeping.marking import mark
from shared.domain.canary import is_counted
from shared.domain.legal_hold import covered, of_task
from shared.mongo import Mongo
from shared.mongo.files import Files
from shared.mongo.holds import standing
from shared.mongo.tombstones import bury
from shared.obs.clock import now
from shared.obs.logs import get_logger
from shared.obs.metrics import counter

BATCH = 50
PREFIX = "archive_"
ARCHIVED = counter("archived_total", "Documents moved to the archive.", ["what"])
DELETED = counter("archive_deleted_total", "Documents deleted from the archive.", ["what"])
Allowed = Callable[[], bool]

log = get_logger(__name__)


class NotLeading(Exception):
    """Another instance may lead now; it goes on."""


class Archive:
    """Moves and deletes."""

    def __init__(self, mongo: Mongo, feed: Feed, evidence: EvidenceKeeping, files: Files, leading: Allowed) -> None:
        """leading: whether this process leads still; asked before each step that removes something."""
        self._mongo = mongo
        self._feed = feed
        self._evidence = evidence
        self._files = files
        self._leading = leading
        self._positions: dict[str, tuple[datetime, str]] = {}

    # tasks

    async def tasks(self, account: str, before: datetime) -> int:
        """Archive the oldest tasks of an account that ended before a moment; how many were looked at."""
        found = await self._oldest("tasks", account, "finished_at", before, {"state": {"$in": list(TASK_ENDED)}})
        free = await self._free(account, found, before)
        if free:
            await self._move_tasks(account, free)
        return len(found)

    async def _free(self, account: str, tasks: Sequence[dict[str, Any]], before: datetime) -> list[dict[str, Any]]:
        """Those that nothing stands in the way of."""
        ids = [task["_id"] for task in tasks]
        holds = await standing(self._mongo, account)
        deliveries: dict[str, list[str]] = {}
        async for one in self._mongo["deliveries"].find({"task": {"$in": ids}}, {"task": 1, "state": 1}):
            deliveries.setdefault(one["task"], []).append(one["state"])
        runs: dict[str, list[dict[str, Any]]] = {}
        async for run in self._mongo["runs"].find(
            {"tasks.task": {"$in": ids}}, {"tasks.task": 1, "state": 1, "pending": 1}
        ):
            for item in run["tasks"]:
                runs.setdefault(item["task"], []).append(run)
        return [
            task
            for task in tasks
            if not obstacle(
                task,
                before=before,
                holds=holds,
                deliveries=deliveries.get(task["_id"], ()),
                runs=runs.get(task["_id"], ()),
            )
        ]

    async def _move_tasks(self, account: str, tasks: Sequence[dict[str, Any]]) -> None:
        ids = [task["_id"] for task in tasks]
        await bury(self._mongo, [task for task in tasks if not task.get("once") and is_counted(account)], at=now())
        await self._copy("deliveries", {"task": {"$in": ids}, "state": {"$in": list(ENDED)}})
        await self._copy("results", {"task": {"$in": ids}})
        await self._copy("decisions", {"task": {"$in": ids}})
        await self._copy("tasks", {"_id": {"$in": ids}, "pending": None}, archived=True)
        newest = await self._mongo["results"].find_one({"task": {"$in": ids}}, {"n": 1}, sort=[("n", -1)])
        if newest is not None:
            await self._feed.raise_floor(account, int(newest["n"]))
        self._check_leading()
        await self._mongo["deliveries"].delete_many(
            {"task": {"$in": ids}, "state": {"$in": list(ENDED)}, "next_at": None}
        )
        # one that a person replayed meanwhile is not ended any more; its task stays until it is
        busy = set(await self._mongo["deliveries"].distinct("task", {"task": {"$in": ids}}))
        gone = [id for id in ids if id not in busy]
        await self._mongo["results"].delete_many({"task": {"$in": gone}})
        await self._mongo["decisions"].delete_many({"task": {"$in": gone}})
        ended = {"_id": {"$in": gone}, "state": {"$in": list(TASK_ENDED)}, "pending": None, "erasing": None}
        done = await self._mongo["tasks"].delete_many(ended)
        ARCHIVED.labels("task").inc(done.deleted_count)
        if done.deleted_count:
            log.info("tasks archived", account=account, count=done.deleted_count)

    # runs

    async def runs(self, account: str, before: datetime) -> int:
        """Archive the oldest runs that ended before a moment and of whose tasks none is left; how many looked at."""
        wanted = {"state": {"$in": list(RUN_ENDED)}, "pending": None, "trim": None}
        found = await self._oldest("runs", account, "finished_at", before, wanted)
        left = await self._tasks_left([item["task"] for run in found for item in run["tasks"]], ("tasks",))
        holds = await standing(self._mongo, account)
        for run in found:
            if not left.intersection(item["task"] for item in run["tasks"]) and not covered(holds, run):
                await self._move_run(run)
        return len(found)

    async def _move_run(self, run: Mapping[str, Any]) -> None:
        id = str(run["_id"])
        await self._copy("steps", {"_id": _span(id)})
        await self._copy("late_replies", {"run": id})
        await self._copy("decisions", {"run": id})
        await self._copy("runs", {"_id": id}, archived=True)
        self._check_leading()
        await self._mongo["steps"].delete_many({"_id": _span(id)})
        await self._mongo["late_replies"].delete_many({"run": id})
        await self._mongo["decisions"].delete_many({"run": id})
        done = await self._mongo["runs"].delete_one({"_id": id, "state": run["state"], "pending": None})
        ARCHIVED.labels("run").inc(done.deleted_count)

    # deletion

    async def delete_tasks(self, account: str, before: datetime) -> int:
        """Delete the oldest tasks that were archived before a moment, and those that were marked; how many."""
        found = await self._oldest("archive_tasks", account, "archived_at", before, {"doomed_at": None})
        twice = await self._tasks_left([task["_id"] for task in found], ("tasks",))
        ready = [task for task in found if task["_id"] not in twice]
        await mark(self._mongo, "archive_tasks", account, ready, of_task, {"doomed_at": now()}, {"doomed_at": None})
        query = {"account": account, "doomed_at": {"$type": "date"}}
        doomed = await self._mongo["archive_tasks"].find(query).limit(BATCH).to_list(BATCH)
        if doomed:
            await self._delete_tasks(account, doomed)
        return len(found)

    async def _delete_tasks(self, account: str, tasks: Sequence[Mapping[str, Any]]) -> None:
        ids = [task["_id"] for task in tasks]
        self._check_leading()
        await self._evidence.let_go({"task": {"$in": ids}})
        for satellites in ("deliveries", "results", "decisions"):
            await self._mongo[f"{PREFIX}{satellites}"].delete_many({"task": {"$in": ids}})
        await self._mongo["logs"].delete_many({"task": {"$in": ids}})
        done = await self._mongo["archive_tasks"].delete_many({"_id": {"$in": ids}})
        await self._files.drop_unused(account, [file for task in tasks for file in task.get("files") or ()])
        DELETED.labels("task").inc(done.deleted_count)
        log.info("tasks deleted", account=account, count=done.deleted_count)

    async def delete_runs(self, account: str, before: datetime) -> int:
        """Delete the oldest archived runs of whose tasks none is left, in the archive neither; how many looked at."""
        found = await self._oldest("archive_runs", account, "archived_at", before, {})
        tasks = [item["task"] for run in found for item in run["tasks"]]
        left = await self._tasks_left(tasks, ("tasks", "archive_tasks"))
        ready = [run for run in found if not left.intersection(item["task"] for item in run["tasks"])]
        for run in await mark(self._mongo, "archive_runs", account, ready, dict, {"doomed": True}):
            id = str(run["_id"])
            self._check_leading()
            await self._evidence.let_go({"run": id})
            await self._mongo["archive_steps"].delete_many({"_id": _span(id)})
            await self._mongo["archive_late_replies"].delete_many({"run": id})
            await self._mongo["archive_decisions"].delete_many({"run": id})
            await self._mongo["logs"].delete_many({"run": id})
            DELETED.labels("run").inc((await self._mongo["archive_runs"].delete_one({"_id": id})).deleted_count)
        return len(found)

    async def delete_files(self, account: str, before: datetime) -> int:
        """Delete deliveries that are no task's: files of collected results, whose results went with their tasks;
        questions that were asked while a run was set up; tests of endpoints. How many."""
        old = {"account": account, "state": {"$in": list(ENDED)}, "next_at": None, "created_at": {"$lt": before}}
        query = {**old, "event": "file"}
        found = await self._mongo["deliveries"].find(query, {"items": 1}).limit(BATCH).to_list(BATCH)
        free = [
            file["_id"]
            for file in found
            if await self._mongo["deliveries"].find_one({"file": {"$eq": file["_id"], "$type": "string"}}, {"_id": 1})
            is None
        ]
        gone = await self._mongo["deliveries"].delete_many({"_id": {"$in": free}, **query})
        others = {**old, "task": None, "event": {"$ne": "file"}}
        ids = [
            one["_id"] for one in await self._mongo["deliveries"].find(others, {"_id": 1}).limit(BATCH).to_list(BATCH)
        ]
        return (
            gone.deleted_count
            + (await self._mongo["deliveries"].delete_many({"_id": {"$in": ids}, **others})).deleted_count
        )

    # parts

    async def _oldest(
        self, collection: str, account: str, by: str, before: datetime, more: Mapping[str, Any]
    ) -> list[dict[str, Any]]:
        """The next batch, oldest first; what was looked at and stayed does not stand in the way of the rest."""
        key = f"{collection}/{account}"
        query: dict[str, Any] = {"account": account, by: {"$lt": before, "$type": "date"}, **more}
        if key in self._positions:
            at, id = self._positions[key]
            query["$or"] = [{by: {"$gt": at}}, {by: at, "_id": {"$gt": id}}]
        cursor = self._mongo[collection].find(query).sort([(by, 1), ("_id", 1)]).limit(BATCH)
        found = list(await cursor.to_list(BATCH))
        if len(found) == BATCH:
            self._positions[key] = (found[-1][by], str(found[-1]["_id"]))
        else:
            self._positions.pop(key, None)
        return found

    async def _copy(self, collection: str, query: Mapping[str, Any], *, archived: bool = False) -> None:
        """Copy documents to the archive; the source is what counts, so a copy that is there is replaced."""
        stages: list[dict[str, Any]] = [{"$match": dict(query)}]
        if archived:
            stages.append({"$set": {"archived_at": now()}})
        into = {"into": f"{PREFIX}{collection}", "on": "_id", "whenMatched": "replace", "whenNotMatched": "insert"}
        await (await self._mongo[collection].aggregate([*stages, {"$merge": into}])).to_list(1)

    async def _tasks_left(self, ids: Sequence[str], collections: Sequence[str]) -> set[str]:
        left: set[str] = set()
        for collection in collections:
            left.update(await self._mongo[collection].distinct("_id", {"_id": {"$in": list(ids)}}))
        return left

    def _check_leading(self) -> None:
        if not self._leading():
            raise NotLeading


def _span(run: str) -> dict[str, str]:
    """The ids of a run's steps."""
    return {"$gte": f"{run}/", "$lt": f"{run}0"}
