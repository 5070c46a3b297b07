"""Robots' documents: enrolment, authorisation, presence, and giving a robot free.

Called by: robots.py, presence.py, dispatch.py, recovery.py, rights.py. The scheduler is the only writer of `workers`.
Survives a crash: each method is one guarded write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pymongo import UpdateOne

from services.scheduler.core.robots import released
from shared.domain.worker_state import Authorisation, WorkerMode, WorkerStatus
from shared.errors import TemporaryError
from shared.mongo import Mongo
from shared.mongo.guarded import Guarded, guarded_update, insert_once

ROBOTS_MAX = 20_000
RELEASE_TRIES = 5
"""A heartbeat or a person may change status or mode between reading and writing."""
CONTACT_FIELDS = {
    "authorisation": 1, "session": 1, "sessions_gone": 1, "journal": 1, "seen.beat": 1, "connected": 1, "status": 1,
    "run": 1, "epoch": 1,
}  # fmt: skip


FREE = {
    "authorisation": Authorisation.AUTHORISED, "connected": True, "status": WorkerStatus.WAITING,
    "mode": WorkerMode.RUN, "run": None,
}  # fmt: skip
FREE_FIELDS = {
    "account": 1, "epoch": 1, "workflows": 1, "exclusive": 1, "tags": 1, "schedule": 1, "quarantine": 1, "drain": 1,
    "follow": 1, "authorisation": 1, "connected": 1, "status": 1, "mode": 1, "run": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Beat:
    """A heartbeat as it is written, under a guard on the one before it."""

    worker: str
    session_before: str | None
    beat_before: int | None
    fields: Mapping[str, Any]
    begins_run: str | None = None
    """The reserved run that it is the first to name: the robot is running now."""
    idle_epoch: int | None = None
    """Set when `fields` raise the epoch: the robot must still have no run and this epoch."""


class WorkerStore:
    """The scheduler's view of `workers`."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo

    async def worker(self, id: str) -> dict[str, Any] | None:
        """A robot by its id."""
        return await self._mongo["workers"].find_one({"_id": id})

    async def workers(self, ids: Sequence[str], fields: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Robots by id, with some of their fields."""
        cursor = self._mongo["workers"].find({"_id": {"$in": list(ids)}}, dict(fields))
        return {worker["_id"]: worker async for worker in cursor}

    async def pending_count(self, limit: int) -> int:
        """How many robots wait for a person, counted up to `limit`."""
        query = {"authorisation": Authorisation.PENDING}
        return int(await self._mongo["workers"].count_documents(query, limit=limit))

    async def insert(self, worker: Mapping[str, Any]) -> bool:
        """Make the document of a robot that enrols for the first time; false when it was there."""
        return await insert_once(self._mongo["workers"], dict(worker))

    async def change(self, id: str, expect: Mapping[str, Any], update: Mapping[str, Any], *, op: str) -> Guarded:
        """A guarded update of one robot."""
        return await guarded_update(self._mongo["workers"], id, expect, update, op=op)

    async def remove(self, id: str) -> bool:
        """Forget a robot that has no run and may not work."""
        guard = {"_id": id, "run": None, "authorisation": {"$ne": Authorisation.AUTHORISED}}
        return bool((await self._mongo["workers"].delete_one(guard)).deleted_count)

    async def grants(self) -> dict[str, int]:
        """The grant of every authorised robot."""
        query = {"authorisation": Authorisation.AUTHORISED}
        cursor = self._mongo["workers"].find(query, {"grant": 1}).limit(ROBOTS_MAX)
        return {worker["_id"]: int(worker["grant"]) async for worker in cursor}

    async def grant(self, id: str) -> int | None:
        """A robot's grant, or none when it may not work (or is not there)."""
        worker = await self._mongo["workers"].find_one({"_id": id}, {"authorisation": 1, "grant": 1})
        if worker is None or worker["authorisation"] != Authorisation.AUTHORISED:
            return None
        return int(worker["grant"])

    async def free(self) -> list[dict[str, Any]]:
        """Robots without a run that people want to work; quarantine and schedules are for the caller to look at."""
        return await self._mongo["workers"].find(FREE, FREE_FIELDS).limit(ROBOTS_MAX).to_list(None)

    async def any_free(self) -> bool:
        """Whether there is such a robot."""
        return await self._mongo["workers"].find_one(FREE, {"_id": 1}) is not None

    async def connected(self) -> list[dict[str, Any]]:
        """Robots that count as connected, with the mark of their last heartbeat."""
        fields = {"session": 1, "seen.beat": 1, "run": 1}
        return await self._mongo["workers"].find({"connected": True}, fields).limit(ROBOTS_MAX).to_list(None)

    async def busy(self) -> list[dict[str, Any]]:
        """Robots that have a run."""
        fields = {"run": 1, "epoch": 1, "status": 1, "mode": 1}
        return await self._mongo["workers"].find({"run": {"$ne": None}}, fields).limit(ROBOTS_MAX).to_list(None)

    async def by_status(self) -> list[tuple[str, str, bool, int]]:
        """How many robots there are by authorisation, status and connection."""
        group = {"authorisation": "$authorisation", "status": "$status", "connected": "$connected"}
        pipeline: list[dict[str, Any]] = [{"$group": {"_id": group, "n": {"$sum": 1}}}]
        found = await self._mongo["workers"].aggregate(pipeline)
        return [
            (row["_id"]["authorisation"], row["_id"]["status"], bool(row["_id"]["connected"]), row["n"])
            async for row in found
        ]

    async def write_beats(self, beats: Sequence[Beat]) -> int:
        """Store heartbeats in one go; those that lost a race with a newer one are dropped.

        Returns: how many were stored.
        """
        updates = [UpdateOne(_beat_guard(beat), {"$set": _beat_fields(beat)}) for beat in beats]
        if not updates:
            return 0
        return int((await self._mongo["workers"].bulk_write(updates, ordered=False)).matched_count)

    async def silence(self, id: str, session: str | None, beat: int | None) -> bool:
        """Call a robot disconnected if its last heartbeat still is this one."""
        guard = {"_id": id, "connected": True, "session": session, "seen.beat": beat}
        return bool((await self._mongo["workers"].update_one(guard, {"$set": {"connected": False}})).modified_count)

    async def release(self, id: str, run: str, epoch: int) -> bool:
        """Give a robot free from a run that has ended; false when the run did not have it (any more)."""
        for _ in range(RELEASE_TRIES):
            worker = await self.worker(id)
            if worker is None or worker.get("run") != run or worker.get("epoch") != epoch:
                return False
            expect = {"run": run, "epoch": epoch, "status": worker["status"], "mode": worker["mode"]}
            update = {"$set": released(worker)}
            if (await self.change(id, expect, update, op=f"release/{run}/{epoch}")).applied:
                return True
        raise TemporaryError(f"robot {id} changes faster than it can be released", delay_s=1.0)


def _beat_guard(beat: Beat) -> dict[str, Any]:
    guard: dict[str, Any] = {
        "_id": beat.worker,
        "authorisation": Authorisation.AUTHORISED,
        "session": beat.session_before,
        "seen.beat": beat.beat_before,
    }
    if beat.begins_run is not None:
        guard.update(status=WorkerStatus.RESERVED, run=beat.begins_run)
    if beat.idle_epoch is not None:
        guard.update(run=None, epoch=beat.idle_epoch)
    return guard


def _beat_fields(beat: Beat) -> dict[str, Any]:
    fields = dict(beat.fields)
    if beat.begins_run is not None:
        fields["status"] = WorkerStatus.RUNNING
    return fields
