"""All of the collector's queries: workflows and versions (read), tasks and batches (insert, read), evidence (read).

Called by: intake.py, api.py. Survives a crash: a task is one insert whose unique index (account, workflow, reference)
decides; an insert whose answer was lost is repeated with the same ids, and what stands is read afterwards. Change
also: shared/mongo/indexes.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from shared.intake.verdicts import Standing
from shared.mongo import Mongo, blobs, tombstones
from shared.mongo.guarded import insert_new, insert_once

INSERT_BATCH = 1000
FIND_BATCH = 2000
READ_TIME_MS_MAX = 8_000
_STANDING = {"_id": 1, "reference": 1, "input_digest": 1, "batch": 1}


class CollectorStore:
    """The collector's view of the database."""

    def __init__(self, mongo: Mongo) -> None:
        self.mongo = mongo

    # workflows

    async def workflow(self, account: str, name: str) -> dict[str, Any] | None:
        """A workflow: which version is current."""
        found: dict[str, Any] | None = await self.mongo["workflows"].find_one(
            {"_id": f"{account}/{name}"}, {"current": 1}
        )
        return found

    async def version(self, account: str, workflow: str, number: int) -> dict[str, Any] | None:
        """Input schema and scenarios of a version; none when there is no such version."""
        fields = {"input": 1, "scenarios": 1}
        found: dict[str, Any] | None = await self.mongo["versions"].find_one(
            {"_id": f"{account}/{workflow}/{number}"}, fields
        )
        return found

    async def workflow_names(self, account: str) -> list[str]:
        """Names of an account's workflows."""
        cursor = self.mongo["workflows"].find({"account": account}, {"name": 1}).limit(10_000)
        return [document["name"] async for document in cursor]

    # a push

    async def add_batch(self, document: Mapping[str, Any]) -> bool:
        """Store a batch, before its tasks; false: it was there, and this push carries on with it."""
        return await insert_once(self.mongo["batches"], document)

    async def correct_batch(self, batch: str, figures: Mapping[str, Any]) -> None:
        """Note what became of a batch's items so far; figures for people, so a crash before this harms nothing."""
        await self.mongo["batches"].update_one({"_id": batch}, {"$set": dict(figures)})

    async def add_tasks(self, documents: Sequence[Mapping[str, Any]]) -> bool:
        """Insert tasks, in chunks; true: all are new; false: some references were taken meanwhile.

        Raises: TemporaryError when the database gave no clear answer in time; some may be stored then, and a repeated
        push finds them.
        """
        clean = True
        for start in range(0, len(documents), INSERT_BATCH):
            clean = await insert_new(self.mongo["tasks"], documents[start : start + INSERT_BATCH]) and clean
        return clean

    async def standing(self, account: str, workflow: str, references: Sequence[str]) -> dict[str, Standing]:
        """Who the references belong to that were ever used. Tasks are looked at first, then tombstones: a task that is
        deleted meanwhile has its tombstone before it goes (shared.mongo.tombstones)."""
        found: dict[str, Standing] = {}
        for start in range(0, len(references), FIND_BATCH):
            chunk = list(references[start : start + FIND_BATCH])
            query = {"account": account, "workflow": workflow, "reference": {"$in": chunk}}
            async for document in self.mongo["tasks"].find(query, _STANDING):
                found[document["reference"]] = Standing(
                    document["_id"], document["input_digest"], document.get("batch")
                )
        rest = [reference for reference in references if reference not in found]
        for reference, (task, digest) in (await tombstones.standing(self.mongo, account, workflow, rest)).items():
            found[reference] = Standing(task, digest)
        return found

    # what partners ask

    async def task(self, account: str, id: str) -> dict[str, Any] | None:
        """A task of this account, in the archive too."""
        query = {"_id": id, "account": account, "once": None}  # one-off runs are no partner's
        found: dict[str, Any] | None = await self.mongo["tasks"].find_one(query)
        return found or await self.mongo["archive_tasks"].find_one(query)

    async def gone(self, account: str, id: str) -> dict[str, Any] | None:
        """The tombstone of a task of this account that was deleted."""
        return await tombstones.of_task(self.mongo, account, id)

    async def tasks(
        self, account: str, filters: Mapping[str, Any], *, before: tuple[datetime, str] | None, limit: int
    ) -> list[dict[str, Any]]:
        """A page of an account's tasks, newest first. before: created_at and id of the last one of the page before."""
        query: dict[str, Any] = {"account": account, "once": None, **filters}
        if before is not None:
            at, id = before
            query["$or"] = [{"created_at": {"$lt": at}}, {"created_at": at, "_id": {"$lt": id}}]
            query["created_at"] = {"$lte": at}
        cursor = self.mongo["tasks"].find(query).sort([("created_at", -1), ("_id", -1)])
        return list(await cursor.limit(limit).max_time_ms(READ_TIME_MS_MAX).to_list(limit))

    async def batch(self, account: str, id: str) -> dict[str, Any] | None:
        """A batch of this account."""
        found: dict[str, Any] | None = await self.mongo["batches"].find_one({"_id": id, "account": account})
        return found

    async def batches(
        self, account: str, workflow: str | None, *, before: tuple[datetime, str] | None, limit: int
    ) -> list[dict[str, Any]]:
        """A page of an account's batches, newest first."""
        query: dict[str, Any] = {"account": account, **({"workflow": workflow} if workflow is not None else {})}
        if before is not None:
            at, id = before
            query["$or"] = [{"created_at": {"$lt": at}}, {"created_at": at, "_id": {"$lt": id}}]
            query["created_at"] = {"$lte": at}
        cursor = self.mongo["batches"].find(query).sort([("created_at", -1), ("_id", -1)])
        return list(await cursor.limit(limit).max_time_ms(READ_TIME_MS_MAX).to_list(limit))

    async def batch_states(self, batches: Sequence[str]) -> dict[str, dict[str, int]]:
        """Of each of these batches: how many of its tasks are in each state."""
        pipeline: list[dict[str, Any]] = [
            {"$match": {"batch": {"$in": list(batches)}}},
            {"$group": {"_id": {"batch": "$batch", "state": "$state"}, "n": {"$sum": 1}}},
        ]
        cursor = await self.mongo["tasks"].aggregate(pipeline, maxTimeMS=READ_TIME_MS_MAX)
        found: dict[str, dict[str, int]] = {}
        async for document in cursor:
            found.setdefault(document["_id"]["batch"], {})[document["_id"]["state"]] = document["n"]
        return found

    async def batch_buried(self, batches: Sequence[str]) -> dict[str, int]:
        """Of each of these batches: how many of its tasks were deleted."""
        return await tombstones.of_batches(self.mongo, batches)

    async def evidence_link(self, account: str | None, id: str) -> dict[str, Any] | None:
        """What is known about a piece of evidence; account: only of this one."""
        query = {"_id": id} if account is None else {"_id": id, "account": account}
        found: dict[str, Any] | None = await self.mongo["evidence_links"].find_one(query)
        return found

    async def open_evidence(self, sha256: str) -> AsyncIterator[bytes] | None:
        """The bytes of a piece of evidence, in chunks; none when they are not stored."""
        return await blobs.open_evidence(self.mongo, sha256)
