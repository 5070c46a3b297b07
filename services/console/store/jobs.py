"""Commands that scripts may run on the server.

Owns: collection jobs. Called by: api/jobs.py. Read by: executor (services/executor/server/job.py), at every job.run;
a change counts from the next one on. Change also: section 'Data' of ARCHITECTURE.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.console.core.access import ALL_ACCOUNTS, Viewer
from services.console.store.context import Context
from services.console.store.listing import Listed, found, list_page, seen_accounts
from shared.errors import ErrorCode, PermanentError
from shared.mongo.audit import audit
from shared.obs.clock import now

JOBS_MAX = 1000


async def list_jobs(context: Context, viewer: Viewer, account: str | None, limit: int, cursor: str | None) -> Listed:
    """Registrations, the last changed first; those for all accounts only for who sees all accounts."""
    query = await seen_accounts(context, viewer, account) if account or not viewer.everywhere else {}
    return await list_page(context, "jobs", query, by="updated_at", limit=limit, cursor=cursor)


async def get_job(context: Context, viewer: Viewer, account: str, name: str) -> dict[str, Any]:
    """One registration.

    Raises: PermanentError NOT_FOUND.
    """
    document = await context.mongo["jobs"].find_one({"_id": f"{account}/{name}"})
    return found(document, viewer, f"job {account}/{name}")


async def put_job(
    context: Context, viewer: Viewer, account: str, name: str, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """Register, in place of what was there.

    Raises: PermanentError FORBIDDEN, NOT_FOUND (account), TOO_MANY.
    """
    _check(viewer)
    if account != ALL_ACCOUNTS and await context.mongo["accounts"].find_one({"_id": account}, {"_id": 1}) is None:
        raise PermanentError(ErrorCode.NOT_FOUND, f"account {account} does not exist")
    id, jobs = f"{account}/{name}", context.mongo["jobs"]
    if await jobs.find_one({"_id": id}, {"_id": 1}) is None and await jobs.count_documents({}) >= JOBS_MAX:
        raise PermanentError(ErrorCode.TOO_MANY, f"at most {JOBS_MAX} jobs are registered")
    document = {
        "_id": id, "schema_version": 1, "account": account, "name": name, **fields,
        "updated_at": now(), "updated_by": viewer.name,
    }  # fmt: skip
    await jobs.replace_one({"_id": id}, document, upsert=True)
    details = {"command": fields["command"], "enabled": fields["enabled"]}
    await audit(context.mongo, by=viewer.name, action="job.put", target=id, account=account, details=details)
    return document


async def delete_job(context: Context, viewer: Viewer, account: str, name: str) -> None:
    """Remove a registration.

    Raises: PermanentError FORBIDDEN, NOT_FOUND.
    """
    _check(viewer)
    document = await get_job(context, viewer, account, name)
    await context.mongo["jobs"].delete_one({"_id": document["_id"]})
    target = str(document["_id"])
    await audit(context.mongo, by=viewer.name, action="job.delete", target=target, account=account)


def _check(viewer: Viewer) -> None:
    if not viewer.everywhere:
        raise PermanentError(
            ErrorCode.FORBIDDEN, "only an administrator of all accounts registers commands: they run on the server"
        )
