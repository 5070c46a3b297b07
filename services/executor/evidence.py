"""Evidence: bytes by their hash, each stored once, and links that say which instruction they prove.

Owns: `evidence`, `evidence_links` and the GridFS bucket `blobs`. Called by: runner.py (replies), api.py (blobs that
robots PUT), handlers.py (late replies). Survives a crash: bytes are uploaded under a random file id first and become
evidence by the insert of their hash; whoever inserts second deletes its own file. A crash between the two leaves an
orphan file, which `sweep` removes."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Any

from bson import ObjectId
from gridfs.asynchronous import AsyncGridFSBucket

from shared.contracts.messages import Evidence
from shared.mongo import Mongo
from shared.mongo.blobs import BUCKET
from shared.mongo.files import Files
from shared.mongo.guarded import insert_once
from shared.obs.clock import now

CHUNK_BYTES = 255 * 1024
ORPHAN_AGE_S = 3600.0


class BadBlob(Exception):
    """The bytes are not what their hash says, or there are too many of them."""


class EvidenceStore:
    """Evidence in MongoDB."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self._bucket = AsyncGridFSBucket(mongo.db, BUCKET)
        self._files = Files(mongo)

    async def put(self, sha256: str, chunks: AsyncIterator[bytes], *, media_type: str, size_bytes_max: int) -> int:
        """Store bytes under their hash, unless they are there already; gives their size.

        Raises: BadBlob when they don't hash to `sha256`, or are larger than `size_bytes_max`.
        """
        found = await self._standing(sha256)
        if found is not None:
            return int(found["size_bytes"])
        file_id = ObjectId()
        stream = self._bucket.open_upload_stream_with_id(file_id, sha256, chunk_size_bytes=CHUNK_BYTES)
        size, digest = 0, hashlib.sha256()
        try:
            async for chunk in chunks:
                size += len(chunk)
                if size > size_bytes_max:
                    raise BadBlob(f"larger than {size_bytes_max} bytes")
                digest.update(chunk)
                await stream.write(chunk)
            if digest.hexdigest() != sha256:
                raise BadBlob(f"the bytes hash to {digest.hexdigest()}")
        except BaseException:
            await stream.abort()
            raise
        await stream.close()
        document = {
            "_id": sha256, "schema_version": 1, "file": file_id, "size_bytes": size, "media_type": media_type,
            "created_at": now(),
        }  # fmt: skip
        if not await insert_once(self._mongo["evidence"], document):
            await self._bucket.delete(file_id)
        return size

    async def keep(self, proofs: Sequence[Evidence], *, link: dict[str, Any]) -> list[dict[str, Any]]:
        """Store the proofs of one reply, and their links; gives the links as the journal and the task show them.

        `link` holds account, workflow, task, run, seq and worker. Repeating it changes nothing.
        """
        kept = []
        for n, proof in enumerate(proofs):
            dropped = proof.dropped or not await self._bytes_of(proof)
            identity = hashlib.sha256(f"{link['run']}/{link['seq']}/{n}/{proof.sha256}".encode()).hexdigest()[:32]
            document = {
                "_id": f"ev_{identity}", "schema_version": 1, **link, "name": proof.name, "sha256": proof.sha256,
                "media_type": proof.media_type, "size_bytes": proof.size_bytes, "dropped": dropped, "at": now(),
            }  # fmt: skip
            await insert_once(self._mongo["evidence_links"], document)
            kept.append(shown(document))
        return kept

    async def of_task(self, run: str, task: str, attempt_from_seq: int) -> list[dict[str, Any]]:
        """Links of one attempt at a task, oldest first, the newest 100."""
        query = {"run": run, "task": task, "seq": {"$gte": attempt_from_seq}}
        found = self._mongo["evidence_links"].find(query).sort([("run", -1), ("seq", -1)]).limit(100)
        return [shown(document) async for document in found][::-1]

    async def read(self, account: str, proof: str, *, size_bytes_max: int) -> tuple[dict[str, Any], bytes] | None:
        """A proof of an account with its bytes, by its id or the hash of its bytes, or a file that was handed in, by
        its id; none when there is no such one.

        Raises: BadBlob when it is larger than `size_bytes_max`.
        """
        if proof.startswith("file_"):
            return await self._file(account, proof, size_bytes_max)
        by = "_id" if proof.startswith("ev_") else "sha256"
        query = {by: proof, "account": account, "dropped": False}
        link = await self._mongo["evidence_links"].find_one(query, sort=[("at", -1)])
        stored = await self._mongo["evidence"].find_one({"_id": link["sha256"]}) if link else None
        if link is None or stored is None:
            return None
        if stored["size_bytes"] > size_bytes_max:
            raise BadBlob(f"larger than {size_bytes_max} bytes")
        stream = await self._bucket.open_download_stream(stored["file"])
        return shown(link), await stream.read()

    async def _file(self, account: str, id: str, size_bytes_max: int) -> tuple[dict[str, Any], bytes] | None:
        opened = await self._files.open(account, id)
        if opened is None:
            return None
        document, chunks = opened
        if document["size_bytes"] > size_bytes_max:
            raise BadBlob(f"larger than {size_bytes_max} bytes")
        return shown({**document, "dropped": False}), b"".join([chunk async for chunk in chunks])

    async def sweep(self) -> int:
        """Remove files that never became evidence; gives how many."""
        removed = 0
        before = now() - timedelta(seconds=ORPHAN_AGE_S)
        cursor = self._mongo[f"{BUCKET}.files"].find({"uploadDate": {"$lt": before}, "checked": None}).limit(200)
        async for file in cursor:
            kept = await self._mongo["evidence"].find_one({"_id": file["filename"], "file": file["_id"]})
            if kept is None:
                await self._bucket.delete(file["_id"])
                removed += 1
            else:
                await self._mongo[f"{BUCKET}.files"].update_one({"_id": file["_id"]}, {"$set": {"checked": now()}})
        return removed

    async def _standing(self, sha256: str) -> dict[str, Any] | None:
        """Bytes that are there, and stay for long enough to link to them: of bytes that are to be deleted because no
        link refers to them, the mark is moved first (services/delivery/keeping/evidence.py)."""
        found: dict[str, Any] | None = await self._mongo["evidence"].find_one({"_id": sha256})
        if found is None or found.get("unused_since") is None:
            return found
        marked = {"_id": sha256, "unused_since": {"$ne": None}}
        await self._mongo["evidence"].update_one(marked, {"$set": {"unused_since": now()}})
        return await self._mongo["evidence"].find_one({"_id": sha256})

    async def _bytes_of(self, proof: Evidence) -> bool:
        """Store the bytes that came with a proof, or see whether they were PUT before; whether they are there."""
        if proof.data is None:
            return await self._standing(proof.sha256) is not None
        try:
            data = base64.b64decode(proof.data, validate=True)
            await self.put(proof.sha256, _once(data), media_type=proof.media_type, size_bytes_max=8 * 1024 * 1024)
        except (binascii.Error, BadBlob):
            return False
        return True


def shown(document: dict[str, Any]) -> dict[str, Any]:
    """A link as the journal, the task and the partner see it."""
    return {
        "id": document["_id"],
        "name": document["name"],
        "sha256": document["sha256"],
        "media_type": document["media_type"],
        "size_bytes": document["size_bytes"],
        "dropped": document["dropped"],
    }


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
