"""Deletes evidence: links by their age or with their task, and bytes that no link refers to any more.

Called by: passes.py, archive.py, erasing.py. Bytes are shared by their hash. They go in two steps: first they are
marked `unused_since` (before the links go, so that a crash leaves none without a mark); a grace later they are deleted,
if there is still no link, and nobody has moved the mark. Whoever is about to make a link to marked bytes moves the
mark first (services/executor/evidence.py), so a new link has the whole grace to appear. Survives a crash: the marks;
the document and the note that lets the executor's sweep find the file go in one transaction, then the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from gridfs.asynchronous import AsyncGridFSBucket
from gridfs.errors import NoFile

from services.delivery.core.retention import TASK_ENDED
from services.delivery.keeping.marking import mark
from shared.mongo import Mongo, Session
from shared.mongo.blobs import BUCKET
from shared.mongo.guarded import in_transaction
from shared.obs.clock import now
from shared.obs.logs import get_logger
from shared.obs.metrics import counter

BATCH = 200
GONE = {"dropped": True, "gone": "retention"}
BYTES_DELETED = counter("evidence_deleted_total", "Pieces of evidence whose bytes were deleted.", [])

log = get_logger(__name__)


class EvidenceKeeping:
    """Deletes evidence."""

    def __init__(self, mongo: Mongo, *, grace_s: float) -> None:
        """grace_s: so long bytes without a link stay."""
        self._mongo = mongo
        self._grace_s = grace_s
        self._blobs = AsyncGridFSBucket(mongo.db, BUCKET)
        self._positions: dict[str, Any] = {}

    async def let_go(self, query: Mapping[str, Any], *, keep_as: Mapping[str, Any] | None = None) -> int:
        """Delete links (or, with `keep_as`, leave them as these fields say, without bytes); how many.

        The bytes are marked first.
        """
        links = self._mongo["evidence_links"]
        hashes = await links.distinct("sha256", {**query, "dropped": False})
        await self.mark_unused(hashes)
        if keep_as is None:
            return int((await links.delete_many(dict(query))).deleted_count)
        return int((await links.update_many(dict(query), {"$set": dict(keep_as)})).modified_count)

    async def mark_unused(self, hashes: Iterable[str]) -> None:
        """Note that bytes may have lost their last link."""
        wanted = list(hashes)
        for at in range(0, len(wanted), BATCH):
            query = {"_id": {"$in": wanted[at : at + BATCH]}, "unused_since": None}
            await self._mongo["evidence"].update_many(query, {"$set": {"unused_since": now()}})

    async def drop_old(self, account: str, before: datetime) -> int:
        """Drop the oldest links of an account's evidence from before a moment; how many were looked at.

        The links stay as a record of what there was. Evidence of tasks that have not ended stays whole.
        """
        query: dict[str, Any] = {"account": account, "dropped": False, "at": {"$lt": before}}
        if account in self._positions:
            query["at"]["$gte"] = self._positions[account]
        found = (
            await self._mongo["evidence_links"].find(query).sort([("at", 1), ("_id", 1)]).limit(BATCH).to_list(BATCH)
        )
        tasks = await self._tasks([link["task"] for link in found if link.get("task")])
        free = [link for link in found if not link.get("task") or tasks.get(link["task"], {}).get("ended", True)]

        def as_held(link: Mapping[str, Any]) -> Mapping[str, Any]:
            reference = tasks.get(link.get("task") or "", {}).get("reference")
            return {**link, "reference": reference}

        await self.mark_unused({link["sha256"] for link in free})
        dropped = await mark(self._mongo, "evidence_links", account, free, as_held, GONE, {"dropped": False})
        if len(found) == BATCH and len(dropped) < BATCH:
            self._positions[account] = found[-1]["at"]  # what is held stands first; look behind it next time
        elif len(found) < BATCH:
            self._positions.pop(account, None)
        return len(found)

    async def _tasks(self, ids: list[str]) -> dict[str, dict[str, Any]]:
        """Of these tasks: whether each has ended, and its reference."""
        known: dict[str, dict[str, Any]] = {}
        for collection, in_archive in (("archive_tasks", True), ("tasks", False)):
            async for task in self._mongo[collection].find({"_id": {"$in": ids}}, {"state": 1, "reference": 1}):
                ended = in_archive or (task["state"] in TASK_ENDED)
                known[task["_id"]] = {"ended": ended, "reference": task.get("reference")}
        return known

    async def sweep_bytes(self) -> int:
        """Delete bytes that have had no link for the grace; how many."""
        before, deleted = now() - timedelta(seconds=self._grace_s), 0
        query = {"unused_since": {"$lt": before, "$type": "date"}}
        for stored in await self._mongo["evidence"].find(query).limit(BATCH).to_list(BATCH):
            seen = {"_id": stored["_id"], "unused_since": stored["unused_since"]}
            if await self._linked(stored["_id"]):
                await self._mongo["evidence"].update_one(seen, {"$unset": {"unused_since": ""}})
            elif await self._delete(seen, stored["file"]):
                deleted += 1
        BYTES_DELETED.inc(deleted)
        return deleted

    async def _linked(self, sha256: str, session: Session | None = None) -> bool:
        query = {"sha256": sha256, "dropped": False}
        return await self._mongo["evidence_links"].find_one(query, {"_id": 1}, session=session) is not None

    async def _delete(self, seen: Mapping[str, Any], file: Any) -> bool:
        """Delete bytes whose mark nobody has moved."""

        async def attempt(session: Session) -> bool:
            if await self._linked(seen["_id"], session):
                return False
            if not (await self._mongo["evidence"].delete_one(dict(seen), session=session)).deleted_count:
                return False
            # should this process die before the file goes, the executor's sweep of orphans finds it
            await self._mongo[f"{BUCKET}.files"].update_one({"_id": file}, {"$unset": {"checked": ""}}, session=session)
            return True

        if not await in_transaction(self._mongo, attempt):
            return False
        try:
            await self._blobs.delete(file)
        except NoFile:
            log.info("bytes were gone already", sha256=seen["_id"])
        return True
