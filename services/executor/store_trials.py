"""Queries of trials: a run that has ended with its whole journal, and the request that a trial answers.

Called by: trial_requests.py. Survives a crash: a request that was taken in hand comes again when its time is over.
Nothing here writes to a run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from services.executor.store import WITHOUT_DUMPS, step_id
from shared.errors import ErrorCode, PermanentError
from shared.mongo import Mongo
from shared.mongo.guarded import guarded_update
from shared.obs.clock import now
from shared.obs.ids import new_id

ENTRIES_MAX = 20_000
JOURNAL_SIZE_BYTES_MAX = 32 * 1024 * 1024
QUERY_TIME_MS_MAX = 10_000


class TrialStore:
    """What trials read, and where they answer."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo

    async def run(self, run: str) -> dict[str, Any] | None:
        """A run by its id."""
        return await self._mongo["runs"].find_one({"_id": run})

    async def version(self, version: str) -> dict[str, Any] | None:
        """The version that it ran, without its scripts."""
        return await self._mongo["versions"].find_one({"_id": version}, {"files": 0})

    async def inputs(self, run: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Inputs of a run's tasks by their ids; those that were deleted are missing."""
        ids = [item["task"] for item in run["tasks"]]
        found = self._mongo["tasks"].find({"_id": {"$in": ids}, "input": {"$type": "object"}}, {"input": 1})
        return {task["_id"]: task["input"] async for task in found}

    async def entries(self, run: str) -> list[dict[str, Any]]:
        """A run's whole journal without its dumps.

        Raises: PermanentError TOO_LARGE.
        """
        span = {"_id": {"$gte": step_id(run, 0), "$lt": f"{run}0"}}
        size: list[dict[str, Any]] = [
            {"$match": span}, {"$project": WITHOUT_DUMPS},
            {"$group": {"_id": None, "entries": {"$sum": 1}, "bytes": {"$sum": {"$bsonSize": "$$ROOT"}}}},
        ]  # fmt: skip
        cursor = await self._mongo["steps"].aggregate(size, maxTimeMS=QUERY_TIME_MS_MAX)
        for one in await cursor.to_list(None):
            if one["entries"] > ENTRIES_MAX or one["bytes"] > JOURNAL_SIZE_BYTES_MAX:
                text = f"the journal has {one['entries']} entries of {one['bytes']} bytes"
                limits = f"at most {ENTRIES_MAX} of {JOURNAL_SIZE_BYTES_MAX} bytes are replayed"
                raise PermanentError(ErrorCode.TOO_LARGE, f"{text}; {limits}")
        found = self._mongo["steps"].find(span, WITHOUT_DUMPS).sort("_id", 1).max_time_ms(QUERY_TIME_MS_MAX)
        return await found.to_list(None)

    async def take(self, command: Mapping[str, Any], for_s: float) -> bool:
        """Take a request in hand, as it was read, for so long; false when another executor did."""
        expect = {"state": "pending", "due_at": command["due_at"]}
        update = {"$set": {"due_at": now() + timedelta(seconds=for_s)}}
        return (
            await guarded_update(self._mongo["commands"], command["_id"], expect, update, op=new_id("try/"))
        ).applied

    async def leave(self, command: str) -> None:
        """Lay a request down, for whoever comes next (this process is leaving)."""
        await guarded_update(
            self._mongo["commands"], command, {"state": "pending"}, {"$set": {"due_at": now()}}, op=new_id("leave/")
        )

    async def answer(self, command: str, state: str, reason: str, report: str | None) -> None:
        """End a request, with the report as JSON; the files that came with it are kept no longer."""
        ended = {"state": state, "reason": reason[:2000], "ended_at": now()}
        if report is not None:
            ended["progress"] = {"report": report, "finished": True}
        update = {"$set": ended, "$unset": {"args.files": ""}}
        await guarded_update(self._mongo["commands"], command, {"state": "pending"}, update, op=f"finish/{command}")
