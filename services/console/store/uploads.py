"""Files of tasks: read once, previewed row by row, and handed in when somebody confirms.

Owns: uploads, upload_rows. Called by: api/uploads.py, pages (upload). Survives a crash: rows first, the upload last, so
one that exists is whole; a confirm is the request `tasks.add` under an id that follows from the upload's, so it may be
repeated. What nobody confirms goes by TTL. Change also: shared/mongo/uploads.py, services/collector/by_hand.py,
docs/adr/0024-tasks-by-hand.md.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from services.console.core.access import Viewer
from services.console.core.preview import Candidate, Examined, Verdict, examine, rows_of
from services.console.store.commands import Asked, ask
from services.console.store.context import Context
from services.console.store.listing import Listed, found, list_page, seen_accounts
from services.console.store.schemas import Current, current_schema, what_becomes
from shared.errors import ErrorCode, PermanentError
from shared.intake.schema import UnusableSchema
from shared.intake.source_settings import Columns
from shared.intake.tables import Table, Unreadable, read_table
from shared.mongo.audit import audit
from shared.mongo.guarded import guarded_update, insert_once
from shared.mongo.uploads import ROWS_MAX, keep_rows, put_rows, read_rows
from shared.obs.clock import now
from shared.obs.ids import new_id
from shared.runtime.commands import wait

KIND = "tasks.add"
FILE_BYTES_MAX = 16 * 1024 * 1024
OPEN_MAX = 20
"""Unconfirmed uploads of an account."""
OPEN_FOR = timedelta(days=1)
KEPT_FOR = timedelta(days=30)


@dataclass(frozen=True)
class File:
    """A file as it came."""

    name: str
    data: bytes


async def create_upload(
    context: Context, viewer: Viewer, account: str, workflow: str, file: File, columns: Columns | None, *, again: bool
) -> dict[str, Any]:
    """Read a file and say what would become of its rows; nothing is handed in.

    columns: which column is which field; none: by their names. again: rows without a reference are new tasks although
    the same file came before.
    Raises: PermanentError NOT_FOUND, CONFLICT, INVALID_INPUT for a file that can't be read, TOO_LARGE, TOO_MANY.
    """
    if len(file.data) > FILE_BYTES_MAX:
        raise PermanentError(ErrorCode.TOO_LARGE, f"a file has at most {FILE_BYTES_MAX} bytes; split it")
    current = await current_schema(context, viewer, account, workflow)
    await _check_count(context, account)
    id = new_id("upload_")
    prefix = id[-16:] if again else hashlib.sha256(file.data).hexdigest()[:16]
    async with context.parsing:
        table, rows, examined = await _read(file, current, columns, prefix)
    made = await what_becomes(context, account, workflow, rows, examined)
    expires_at = now() + OPEN_FOR
    chunks = await put_rows(context.mongo, id, made.rows, made.items, expires_at)
    document = {
        "_id": id,
        "schema_version": 1,
        "account": account,
        "workflow": workflow,
        "version": current.number,
        "name": file.name[-200:],
        "size_bytes": len(file.data),
        "by": viewer.name,
        "columns": table.columns,
        "mapping": columns.model_dump() if columns is not None else None,
        "again": again,
        "counts": made.counts(),
        "faults": made.faults(),
        "chunks": chunks,
        "confirmed_at": None,
        "confirmed_by": None,
        "created_at": now(),
        "expires_at": expires_at,
    }
    await insert_once(context.mongo["uploads"], document)
    details = {"name": file.name[-200:], **made.counts()}
    target = f"{account}/{workflow}"
    await audit(context.mongo, by=viewer.name, action="upload.create", target=target, account=account, details=details)
    return document


async def _read(
    file: File, current: Current, columns: Columns | None, prefix: str
) -> tuple[Table, list[Candidate], Examined]:
    """The file's rows as items, checked; in a thread, since ten thousand take seconds."""

    def work() -> tuple[Table, list[Candidate], Examined]:
        table = read_table(file.data, file.name, rows_max=ROWS_MAX)
        rows = rows_of(table, columns, current.input, prefix)
        return table, rows, examine(rows, schema=current.schema, now=now())

    try:
        return await asyncio.to_thread(work)
    except Unreadable as error:
        raise PermanentError(ErrorCode.INVALID_INPUT, str(error)) from error
    except UnusableSchema as error:
        raise PermanentError(ErrorCode.CONFLICT, str(error)) from error


async def _check_count(context: Context, account: str) -> None:
    query = {"account": account, "confirmed_at": None, "expires_at": {"$gt": now()}}
    if await context.mongo["uploads"].count_documents(query, limit=OPEN_MAX) >= OPEN_MAX:
        raise PermanentError(
            ErrorCode.TOO_MANY, f"{OPEN_MAX} uploads of this account wait; confirm or discard some of them first"
        )


async def get_upload(context: Context, viewer: Viewer, upload: str) -> dict[str, Any]:
    """One upload, with what came of its request (`request`; none: it is not confirmed).

    Raises: PermanentError NOT_FOUND.
    """
    document = found(await context.mongo["uploads"].find_one({"_id": upload}), viewer, f"upload {upload}")
    request = await context.mongo["commands"].find_one(
        {"_id": _command(upload)}, {"state": 1, "reason": 1, "progress": 1}
    )
    if request is None and document["expires_at"] <= now():
        raise PermanentError(ErrorCode.NOT_FOUND, f"upload {upload} does not exist")
    return {**document, "request": request}


async def list_uploads(context: Context, viewer: Viewer, account: str | None, limit: int, cursor: str | None) -> Listed:
    """Uploads, newest first."""
    query = await seen_accounts(context, viewer, account)
    query["expires_at"] = {"$gt": now()}
    return await list_page(context, "uploads", query, by="created_at", limit=limit, cursor=cursor)


async def upload_rows(
    context: Context, viewer: Viewer, upload: str, *, after: int, limit: int, verdict: Verdict | None
) -> list[tuple[int, dict[str, Any]]]:
    """Rows of an upload, with their places, from a place on.

    Raises: PermanentError NOT_FOUND.
    """
    await get_upload(context, viewer, upload)
    return await read_rows(
        context.mongo, upload, after=after, limit=limit, verdict=verdict.value if verdict is not None else None
    )


async def confirm_upload(context: Context, viewer: Viewer, upload: str) -> Asked:
    """Hand in the rows that are not refused. Twice is once.

    Raises: PermanentError NOT_FOUND, CONFLICT when there is nothing to hand in.
    """
    document = await get_upload(context, viewer, upload)
    if document["request"] is not None:
        ended = await wait(context.mongo, _command(upload), context.settings.command_wait_s)
        return Asked(ended["_id"], str(ended["state"]), ended.get("reason"), ended.get("progress"))
    if document["counts"][Verdict.NEW.value] + document["counts"][Verdict.DUPLICATE.value] == 0:
        raise PermanentError(ErrorCode.CONFLICT, "every row is refused; correct the file and upload it again")
    keep = now() + KEPT_FOR
    await keep_rows(context.mongo, upload, keep)
    args = {"account": document["account"], "workflow": document["workflow"], "upload": upload}
    asked = await ask(
        context,
        viewer,
        kind=KIND,
        to="collector",
        target=f"{document['account']}/{document['workflow']}",
        account=document["account"],
        args=args,
        id=_command(upload),
    )
    change = {"confirmed_at": now(), "confirmed_by": viewer.name, "expires_at": keep}
    await guarded_update(
        context.mongo["uploads"], upload, {"confirmed_at": None}, {"$set": change}, op=f"confirm/{upload}"
    )
    return asked


async def discard_upload(context: Context, viewer: Viewer, upload: str) -> None:
    """Forget an upload that nobody confirmed.

    Raises: PermanentError NOT_FOUND, CONFLICT when it is confirmed.
    """
    document = await get_upload(context, viewer, upload)
    if document["request"] is not None or document["confirmed_at"] is not None:
        raise PermanentError(ErrorCode.CONFLICT, "its tasks are handed in; call those off instead")
    await context.mongo["uploads"].delete_one({"_id": upload, "confirmed_at": None})
    await audit(
        context.mongo,
        by=viewer.name,
        action="upload.discard",
        target=f"{document['account']}/{document['workflow']}",
        account=document["account"],
        details={"upload": upload, "name": document["name"]},
    )


def _command(upload: str) -> str:
    """The id of the request that hands it in."""
    return f"cmd_{upload.removeprefix('upload_')}"
