"""Files that partners and people hand in beside tasks: bytes by their hash, once per account.

Owns: the collections `files` and `file_marks` and the GridFS bucket `files` (files.files, files.chunks). Called by:
collector (POST and GET /v1/files, `touch` at every push, `sweep`), console (uploads by hand), delivery (erasures and
retention), executor (what a script sends on). Survives a crash: while it is open whether bytes belong to a document
(from before the first chunk to the insert of the document; from before the document's deletion to the bytes') their id
stands in `file_marks`, and `sweep` comes to every mark that is an hour old. It says so in the mark (`doomed`) before
it deletes bytes, and an upload that finds its mark doomed gives up: no document names bytes that are gone.

A file stays while a task names it in `files`, and else for a time after it was last handed in or named. Deleting is
safe beside a push that names it at that moment: the push touches the file before it inserts its tasks, and the deletion
takes only a document whose `touched_at` is still the one at which nothing named it. Erasures and retention don't wait
for that time: what they let go (`unwanted`) goes as soon as no push can be about to name it. Change also: section
'Data' of ARCHITECTURE.md; shared/intake/schema.py (`format: file`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import timedelta
from functools import cached_property
from typing import Any

from bson import ObjectId
from gridfs.asynchronous import AsyncGridFSBucket
from pymongo import ReturnDocument

from shared.errors import TemporaryError
from shared.mongo import Mongo
from shared.mongo.blobs import chunks_of
from shared.mongo.guarded import insert_once
from shared.obs.clock import now

BUCKET = "files"
SIZE_BYTES_MAX = 50 * 1024 * 1024
ACCOUNT_BYTES_MAX = 20 * 1024**3
NAME_LENGTH_MAX = 200
CHUNK_BYTES = 255 * 1024
MARK_AGE_S = 3600.0
"""An upload takes less: the requests that bring one are limited in time."""
PUSH_S = 900.0
"""A push that touched a file has made its tasks after this."""
UNWANTED_DAYS = 2
SWEEP_COUNT_MAX = 200
DEFAULT_TYPE = "application/octet-stream"
_TYPE = re.compile(r"^[A-Za-z0-9!#$&^_.+-]{1,60}/[A-Za-z0-9!#$&^_.+-]{1,60}$")
_UNFIT = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class BadFile(ValueError):
    """A file that can't be taken; the text says why. too_large: for its size."""

    def __init__(self, message: str, *, too_large: bool = False) -> None:
        super().__init__(message)
        self.too_large = too_large


def file_id(account: str, sha256: str) -> str:
    """The id of these bytes in this account."""
    return f"file_{hashlib.sha256(f'{account}/{sha256}'.encode()).hexdigest()[:32]}"


def clean_name(name: str) -> str:
    """A file's name, without the folders that some clients send.

    Raises: BadFile.
    """
    last = name.replace("\\", "/").rpartition("/")[2].strip()
    if not last or len(last) > NAME_LENGTH_MAX or _UNFIT.search(last):
        raise BadFile(f"a file's name has 1 to {NAME_LENGTH_MAX} characters without control characters")
    return last


def clean_type(media_type: str | None) -> str:
    """A media type without parameters. Raises: BadFile."""
    bare = (media_type or DEFAULT_TYPE).split(";")[0].strip().lower()
    if not _TYPE.match(bare):
        raise BadFile("the media type is none, such as application/pdf")
    return bare


class Files:
    """Files of accounts."""

    def __init__(self, mongo: Mongo, *, account_bytes_max: int = ACCOUNT_BYTES_MAX) -> None:
        """account_bytes_max: what an account may hold; uploads at the same moment may pass it by what they bring."""
        self._mongo = mongo
        self._account_bytes_max = account_bytes_max

    @cached_property
    def _bucket(self) -> AsyncGridFSBucket:
        """Made when bytes are asked for: most processes that know of files never see one."""
        return AsyncGridFSBucket(self._mongo.db, BUCKET)

    async def put(
        self,
        account: str,
        name: str,
        media_type: str | None,
        chunks: AsyncIterator[bytes],
        *,
        by: str = "",
        size_bytes_max: int = SIZE_BYTES_MAX,
    ) -> dict[str, Any]:
        """Store a file. The same bytes again are the same file, under its first name.

        by: who hands it in. Returns: its document, and `duplicate`: whether it was there.
        Raises: BadFile (name, type, empty, larger than size_bytes_max, no room in the account).
        """
        name, media_type = clean_name(name), clean_type(media_type)
        await self._check_room(account)
        bytes_id = ObjectId()
        await self._mark(bytes_id)
        stream = self._bucket.open_upload_stream_with_id(bytes_id, name, chunk_size_bytes=CHUNK_BYTES)
        size, digest = 0, hashlib.sha256()
        try:
            async for chunk in chunks:
                size += len(chunk)
                if size > size_bytes_max:
                    raise BadFile(f"the file has more than {size_bytes_max} bytes", too_large=True)
                digest.update(chunk)
                await stream.write(chunk)
            if not size:
                raise BadFile("the file is empty")
            await stream.close()
            await self._still_mine(bytes_id)
        except BaseException:
            await stream.abort()
            await self._unmark(bytes_id)
            raise
        sha256, at = digest.hexdigest(), now()
        document = {
            "_id": file_id(account, sha256), "schema_version": 1, "account": account, "name": name,
            "media_type": media_type, "size_bytes": size, "sha256": sha256, "bytes": bytes_id, "by": by,
            "created_at": at, "touched_at": at,
        }  # fmt: skip
        kept = await self._keep(document)
        await self._unmark(bytes_id)
        return kept

    async def _mark(self, bytes_id: ObjectId) -> None:
        """Say that it is open whether these bytes belong to a document."""
        mark = {"at": now(), "doomed": False}
        await self._mongo["file_marks"].update_one({"_id": bytes_id}, {"$set": mark}, upsert=True)

    async def _unmark(self, bytes_id: ObjectId) -> None:
        await self._mongo["file_marks"].delete_one({"_id": bytes_id})

    async def _still_mine(self, bytes_id: ObjectId) -> None:
        """From here on there is an hour for the document. Raises: TemporaryError when a sweep took the bytes."""
        mine = {"_id": bytes_id, "doomed": False}
        if not (await self._mongo["file_marks"].update_one(mine, {"$set": {"at": now()}})).matched_count:
            raise TemporaryError("the upload took longer than an hour; hand the file in again")

    async def _check_room(self, account: str) -> None:
        """Raises: BadFile when the account holds as much as it may."""
        pipeline: list[dict[str, Any]] = [
            {"$match": {"account": account}},
            {"$group": {"_id": None, "held": {"$sum": "$size_bytes"}}},
        ]
        async for found in await self._mongo["files"].aggregate(pipeline):
            if found["held"] >= self._account_bytes_max:
                text = f"the account holds {found['held']} bytes of files; at most {self._account_bytes_max} are kept"
                raise BadFile(f"{text}. Files go some days after the last task that names them", too_large=True)

    async def _keep(self, document: dict[str, Any]) -> dict[str, Any]:
        """Insert a file's document, or give the one that is there; as often as a sweep takes it away in between."""
        while not await insert_once(self._mongo["files"], document):
            found = await self._mongo["files"].find_one_and_update(
                {"_id": document["_id"]}, {"$set": {"touched_at": now()}}, return_document=ReturnDocument.AFTER
            )
            if found is not None:
                if found["bytes"] != document["bytes"]:
                    await self._delete_bytes(document["bytes"])
                return {**found, "duplicate": found["bytes"] != document["bytes"]}
        return {**document, "duplicate": False}

    async def find(self, account: str, id: str) -> dict[str, Any] | None:
        """A file's document, when the account has it."""
        return await self._mongo["files"].find_one({"_id": id, "account": account})

    async def open(self, account: str, id: str) -> tuple[dict[str, Any], AsyncIterator[bytes]] | None:
        """A file's document and its bytes in chunks; none when the account has no such file."""
        found = await self.find(account, id)
        if found is None:
            return None
        chunks = await chunks_of(self._bucket, found["bytes"])
        return None if chunks is None else (found, chunks)

    async def touch(self, account: str, ids: Iterable[str]) -> set[str]:
        """Of these ids, those that the account has; from now on they stay long enough for a task to name them."""
        wanted = sorted(set(ids))
        if not wanted:
            return set()
        query = {"_id": {"$in": wanted}, "account": account}
        await self._mongo["files"].update_many(query, {"$set": {"touched_at": now()}})
        return {document["_id"] async for document in self._mongo["files"].find(query, {"_id": 1})}

    async def let_go(self, account: str, ids: Iterable[str]) -> None:
        """These files are to go as soon as no task names them: noted, so that a crash leaves none of them behind."""
        query = {"_id": {"$in": sorted(set(ids))}, "account": account}
        await self._mongo["files"].update_many(query, {"$set": {"unwanted": {"since": now(), "look_at": now()}}})

    async def drop_unused(self, account: str, ids: Iterable[str]) -> int:
        """Let files go, and delete at once those that no task names any more and no push can be about to name; how
        many. `sweep` comes back to the others."""
        wanted = sorted(set(ids))
        if not wanted:
            return 0
        await self.let_go(account, wanted)
        at_rest = {"touched_at": {"$lt": now() - timedelta(seconds=PUSH_S)}}
        cursor = self._mongo["files"].find({"_id": {"$in": wanted}, "account": account, **at_rest})
        return sum([await self._drop(document) async for document in cursor])

    async def sweep(self, unused_s: float) -> int:
        """Delete what no task names and nobody touched for so long, or was let go; and bytes without a document; how
        many."""
        before = now() - timedelta(seconds=unused_s)
        cursor = self._mongo["files"].find({"touched_at": {"$lt": before}}).sort("touched_at", 1).limit(SWEEP_COUNT_MAX)
        removed = 0
        async for document in cursor:
            if await self._drop(document):
                removed += 1
            else:  # looked at again after another such time
                unchanged = {"_id": document["_id"], "touched_at": document["touched_at"]}
                await self._mongo["files"].update_one(unchanged, {"$set": {"touched_at": now()}})
        return removed + await self._sweep_unwanted() + await self._sweep_marks()

    async def _sweep_unwanted(self) -> int:
        """What was let go. A file that tasks name for days after that is wanted by them."""
        at, removed = now(), 0
        at_rest, long_ago = at - timedelta(seconds=PUSH_S), at - timedelta(days=UNWANTED_DAYS)
        query = {"unwanted.look_at": {"$lte": at}, "touched_at": {"$lt": at_rest}}
        cursor = self._mongo["files"].find(query).sort("unwanted.look_at", 1).limit(SWEEP_COUNT_MAX)
        async for document in cursor:
            if await self._drop(document):
                removed += 1
                continue
            later = {"$set": {"unwanted.look_at": at + timedelta(seconds=PUSH_S)}}
            change = {"$unset": {"unwanted": ""}} if document["unwanted"]["since"] < long_ago else later
            unchanged = {"_id": document["_id"], "unwanted": document["unwanted"]}
            await self._mongo["files"].update_one(unchanged, change)
        return removed

    async def _drop(self, document: Mapping[str, Any]) -> bool:
        """Delete a file, as it was read, unless a task names it, in the archive too (there a task is before it leaves
        `tasks`)."""
        for tasks in ("tasks", "archive_tasks"):
            if await self._mongo[tasks].find_one({"files": document["_id"]}, {"_id": 1}) is not None:
                return False
        await self._mark(document["bytes"])
        unchanged = {"_id": document["_id"], "touched_at": document["touched_at"]}
        if not (await self._mongo["files"].delete_one(unchanged)).deleted_count:
            return False  # the mark stays for the sweep: somebody else may be between this line and the next
        await self._delete_bytes(document["bytes"])
        await self._unmark(document["bytes"])
        return True

    async def _sweep_marks(self) -> int:
        """What an upload or a deletion that died left undecided."""
        removed, before = 0, now() - timedelta(seconds=MARK_AGE_S)
        async for mark in self._mongo["file_marks"].find({"at": {"$lt": before}}).sort("at", 1).limit(SWEEP_COUNT_MAX):
            if await self._mongo["files"].find_one({"bytes": mark["_id"]}, {"_id": 1}) is None:
                as_read = {"_id": mark["_id"], "at": mark["at"]}
                doomed = await self._mongo["file_marks"].update_one(as_read, {"$set": {"doomed": True}})
                if not doomed.matched_count:
                    continue  # its upload goes on
                await self._delete_bytes(mark["_id"])
                removed += 1
            await self._mongo["file_marks"].delete_one({"_id": mark["_id"], "at": mark["at"]})
        return removed

    async def _delete_bytes(self, bytes_id: ObjectId) -> None:
        """Delete chunks and their entry, whichever of them are there."""
        await self._mongo[f"{BUCKET}.files"].delete_one({"_id": bytes_id})
        await self._mongo[f"{BUCKET}.chunks"].delete_many({"files_id": bytes_id})
