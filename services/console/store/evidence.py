"""The bytes of evidence, from GridFS, for those who see its account.

Called by: api/evidence.py. Owns nothing: evidence belongs to the executor.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from gridfs import NoFile
from gridfs.asynchronous import AsyncGridFSBucket, AsyncGridOut

from services.console.core.access import Viewer
from services.console.store.context import Context
from services.console.store.listing import found
from shared.errors import ErrorCode, PermanentError

BUCKET = "blobs"
CHUNK_SIZE_BYTES = 256 * 1024


@dataclass(frozen=True)
class Blob:
    """One piece of evidence, ready to be read."""

    name: str
    media_type: str
    size_bytes: int
    sha256: str
    chunks: AsyncIterator[bytes]


async def open_evidence(context: Context, viewer: Viewer, link_id: str) -> Blob:
    """Find evidence by the id of its link.

    Raises: PermanentError NOT_FOUND, also when the bytes were dropped.
    """
    what = f"evidence {link_id}"
    link = found(await context.mongo["evidence_links"].find_one({"_id": link_id}), viewer, what)
    stored = await context.mongo["evidence"].find_one({"_id": link["sha256"]})
    if link.get("dropped") or stored is None:
        raise PermanentError(ErrorCode.NOT_FOUND, f"the bytes of {what} were dropped")
    bucket = AsyncGridFSBucket(context.mongo.db, bucket_name=BUCKET)
    try:
        file = await bucket.open_download_stream(stored["file"])
    except NoFile as error:
        raise PermanentError(ErrorCode.NOT_FOUND, f"the bytes of {what} are missing") from error
    return Blob(link["name"], link["media_type"], link["size_bytes"], link["sha256"], _chunks(file))


async def _chunks(file: AsyncGridOut) -> AsyncIterator[bytes]:
    try:
        while chunk := await file.read(CHUNK_SIZE_BYTES):
            yield chunk
    finally:
        await file.close()
