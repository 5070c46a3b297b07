"""All of the collector's queries: workflows and versions (read), tasks and batches (insert, read), evidence (read).

Called by: intake.py, api.py. Survives a crash: a task is one insert whose unique index (account, workflow, reference)
decides; an insert whose answer was lost is repeated with the same ids, and what stands is read afterwards. Change
also: shared/mongo/indexes.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from gridfs.asynchronous import AsyncGridFSBucket
from gridfs.errors import NoFile
from pymongo.errors import BulkWriteError, PyMongoError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_delay, wait_exponential_jitter

from services.collector.core.verdicts import Standing
from shared.errors import TemporaryError
from shared.mongo import Mongo, first_line
from shared.mongo.guarded import FAILOVER_CODES, insert_once, is_transient

INSERT_BATCH = 1000
FIND_BATCH = 2000
RETRY_S = 8.0
READ_TIME_MS_MAX = 8_000
DUPLICATE_KEY = 11000
_STANDING = {"_id": 1, "reference": 1, "input_digest": 1}


class _Unclear(Exception):
    """An insert whose answer says nothing certain; repeating it with the same ids is safe."""


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

    async def add_batch(self, document: Mapping[str, Any]) -> None:
        """Store a batch, before its tasks."""
        await insert_once(self.mongo["batches"], document)

    async def correct_batch(self, batch: str, *, rejected: int, duplicates: int) -> None:
        """Note what the database said about a batch's items; figures for people, so a crash before this harms
        nothing."""
        await self.mongo["batches"].update_one(
            {"_id": batch}, {"$set": {"rejected": rejected, "duplicates": duplicates}}
        )

    async def add_tasks(self, documents: Sequence[Mapping[str, Any]]) -> bool:
        """Insert tasks, in chunks; true: all are new; false: some references were taken.

        Raises: TemporaryError when the database gave no clear answer for RETRY_S; some may be stored then, and a
        repeated push finds them.
        """
        clean = True
        for start in range(0, len(documents), INSERT_BATCH):
            clean = await self._insert(documents[start : start + INSERT_BATCH]) and clean
        return clean

    async def _insert(self, documents: Sequence[Mapping[str, Any]]) -> bool:
        try:
            async for attempt in AsyncRetrying(
                retry=retry_if_exception_type(_Unclear),
                wait=wait_exponential_jitter(initial=0.05, max=1.0),
                stop=stop_after_delay(RETRY_S),
                reraise=True,
            ):
                with attempt:
                    return await self._insert_once(documents)
        except _Unclear as error:
            raise TemporaryError(f"the database takes no tasks at the moment ({error}); push again") from error
        raise AssertionError("unreachable: the loop returns or raises")

    async def _insert_once(self, documents: Sequence[Mapping[str, Any]]) -> bool:
        """One attempt: true all new, false some were there.

        Raises: _Unclear when it is to be repeated.
        """
        try:
            await self.mongo["tasks"].insert_many([dict(document) for document in documents], ordered=False)
        except BulkWriteError as error:
            details = error.details or {}
            codes = {entry.get("code") for entry in details.get("writeErrors", ())} - {DUPLICATE_KEY}
            if codes - FAILOVER_CODES:
                raise
            if codes or details.get("writeConcernErrors"):
                raise _Unclear("change of the primary") from error
            return False
        except PyMongoError as error:
            if is_transient(error):
                raise _Unclear(first_line(error)) from error
            raise
        return True

    async def standing(self, account: str, workflow: str, references: Sequence[str]) -> dict[str, Standing]:
        """The tasks that stand under these references."""
        found: dict[str, Standing] = {}
        for start in range(0, len(references), FIND_BATCH):
            chunk = list(references[start : start + FIND_BATCH])
            query = {"account": account, "workflow": workflow, "reference": {"$in": chunk}}
            async for document in self.mongo["tasks"].find(query, _STANDING):
                found[document["reference"]] = Standing(document["_id"], document["input_digest"])
        return found

    # what partners ask

    async def task(self, account: str, id: str) -> dict[str, Any] | None:
        """A task of this account."""
        found: dict[str, Any] | None = await self.mongo["tasks"].find_one({"_id": id, "account": account})
        return found

    async def tasks(
        self, account: str, filters: Mapping[str, Any], *, before: tuple[datetime, str] | None, limit: int
    ) -> list[dict[str, Any]]:
        """A page of an account's tasks, newest first. before: created_at and id of the last one of the page before."""
        query: dict[str, Any] = {"account": account, **filters}
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

    async def batch_states(self, batch: str) -> dict[str, int]:
        """How many of a batch's tasks are in each state."""
        pipeline: list[dict[str, Any]] = [{"$match": {"batch": batch}}, {"$group": {"_id": "$state", "n": {"$sum": 1}}}]
        cursor = await self.mongo["tasks"].aggregate(pipeline, maxTimeMS=READ_TIME_MS_MAX)
        return {document["_id"]: document["n"] async for document in cursor}

    async def evidence_link(self, account: str, id: str) -> dict[str, Any] | None:
        """What is known about a piece of evidence of this account."""
        found: dict[str, Any] | None = await self.mongo["evidence_links"].find_one({"_id": id, "account": account})
        return found

    async def open_evidence(self, sha256: str) -> AsyncIterator[bytes] | None:
        """The bytes of a piece of evidence, in chunks; none when they are not stored."""
        found = await self.mongo["evidence"].find_one({"_id": sha256}, {"file": 1})
        if found is None:
            return None
        try:
            stream = await AsyncGridFSBucket(self.mongo.db, bucket_name="blobs").open_download_stream(found["file"])
        except NoFile:
            return None

        async def chunks() -> AsyncIterator[bytes]:
            try:
                while chunk := await stream.readchunk():
                    yield chunk
            finally:
                await stream.close()

        return chunks()
