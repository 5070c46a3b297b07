"""The bytes of evidence, from GridFS, for those who see its account.

Called by: api/evidence.py, pages/decision_link.py. Owns nothing: evidence belongs to the executor.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.console.core.access import Viewer
from services.console.store.context import Context
from services.console.store.listing import found
from shared.errors import ErrorCode, PermanentError
from shared.mongo import blobs


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
    link = await context.mongo["evidence_links"].find_one({"_id": link_id})
    return await _open(context, found(link, viewer, f"evidence {link_id}"))


async def open_evidence_of_run(context: Context, run: str, link_id: str) -> Blob:
    """As open_evidence, for who may see this one piece of evidence of this run and nothing else.

    Raises: PermanentError NOT_FOUND.
    """
    link = await context.mongo["evidence_links"].find_one({"_id": link_id, "run": run})
    if link is None:
        raise PermanentError(ErrorCode.NOT_FOUND, f"evidence {link_id} does not exist")
    return await _open(context, link)


async def _open(context: Context, link: Mapping[str, Any]) -> Blob:
    what = f"evidence {link['_id']}"
    chunks = None if link.get("dropped") else await blobs.open_evidence(context.mongo, link["sha256"])
    if chunks is None:
        raise PermanentError(ErrorCode.NOT_FOUND, f"the bytes of {what} were dropped")
    return Blob(link["name"], link["media_type"], link["size_bytes"], link["sha256"], chunks)
