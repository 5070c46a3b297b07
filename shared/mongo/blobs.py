"""Reading bytes that are kept in GridFS: evidence by its hash, and whatever else has the id of a file there.

Called by: collector, console, delivery, executor (evidence), files.py. Evidence is written by the executor
(services/executor/evidence.py) and removed by delivery (services/delivery/keeping/evidence.py): who reads must expect
that it goes meanwhile. Survives a crash: nothing. Change also: section 'Data' of ARCHITECTURE.md.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from gridfs.asynchronous import AsyncGridFSBucket
from gridfs.errors import NoFile

from shared.mongo import Mongo

BUCKET = "blobs"


async def open_evidence(mongo: Mongo, sha256: str) -> AsyncIterator[bytes] | None:
    """The bytes of a piece of evidence, in chunks; none when they are not stored any more."""
    found = await mongo["evidence"].find_one({"_id": sha256}, {"file": 1})
    return None if found is None else await chunks_of(AsyncGridFSBucket(mongo.db, BUCKET), found["file"])


async def read_evidence(mongo: Mongo, sha256: str, size_bytes_max: int) -> bytes | None:
    """The bytes of a piece of evidence; none when they are not stored any more, or more than `size_bytes_max`."""
    found = await mongo["evidence"].find_one({"_id": sha256}, {"file": 1, "size_bytes": 1})
    if found is None or found["size_bytes"] > size_bytes_max:
        return None
    chunks = await chunks_of(AsyncGridFSBucket(mongo.db, BUCKET), found["file"])
    return None if chunks is None else b"".join([chunk async for chunk in chunks])


async def chunks_of(bucket: AsyncGridFSBucket, file: Any) -> AsyncIterator[bytes] | None:
    """A file's bytes in chunks; none when there is no such file. file: its id in the bucket."""
    try:
        stream = await bucket.open_download_stream(file)
    except NoFile:
        return None

    async def chunks() -> AsyncIterator[bytes]:
        try:
            while chunk := await stream.readchunk():
                yield chunk
        finally:
            await stream.close()

    return chunks()
