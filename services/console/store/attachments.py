"""Files that go with a task typed by hand: where a workflow's schema says `format: file`.

Called by: pages (new task). Owns nothing: `files` is kept by shared/mongo/files.py, for collector and console alike;
one that no task names goes by itself. Survives a crash: as there.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from services.console.core.access import Viewer
from services.console.store.context import Context
from shared.errors import ErrorCode, PermanentError
from shared.mongo.audit import audit
from shared.mongo.files import BadFile, Files

CHUNK_BYTES = 256 * 1024


async def attach(context: Context, viewer: Viewer, account: str, name: str, media_type: str, data: bytes) -> str:
    """Keep a file of an account; its id, which stands in the input.

    Raises: PermanentError NOT_FOUND (account), INVALID_INPUT, TOO_LARGE.
    """
    if not viewer.sees(account):
        raise PermanentError(ErrorCode.NOT_FOUND, f"account {account} does not exist")

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(data), CHUNK_BYTES):
            yield data[start : start + CHUNK_BYTES]

    try:
        kept = await Files(context.mongo).put(account, name, media_type, chunks(), by=viewer.name)
    except BadFile as error:
        raise PermanentError(ErrorCode.TOO_LARGE if error.too_large else ErrorCode.INVALID_INPUT, str(error)) from error
    details = {"name": kept["name"], "size_bytes": kept["size_bytes"]}
    await audit(context.mongo, by=viewer.name, action="file.put", target=kept["_id"], account=account, details=details)
    return str(kept["_id"])
