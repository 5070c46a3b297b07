"""Workflows and their versions: reading, and the settings that may be edited at any time.

Owns: workflows.settings (publish.py owns the rest). Called by: api/workflows.py, pages. Change also: core/settings.py.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from services.console.core.access import Viewer
from services.console.core.settings import change_settings
from services.console.store.context import Context
from services.console.store.listing import Listed, found, list_page, seen_accounts
from services.console.store.named import take_up
from shared.errors import ErrorCode, PermanentError, TemporaryError
from shared.mongo import Session
from shared.mongo.audit import audit
from shared.mongo.guarded import Guarded, guarded_update, in_transaction
from shared.obs.clock import now
from shared.obs.ids import new_id

WORKFLOWS_MAX = 500
CHANGES_TRIED_MAX = 5


async def list_workflows(context: Context, viewer: Viewer, account: str | None) -> list[dict[str, Any]]:
    """The workflows that the viewer sees, by account and name."""
    query = await seen_accounts(context, viewer, account)
    cursor = context.mongo["workflows"].find(query).sort([("account", 1), ("name", 1)]).limit(WORKFLOWS_MAX)
    return [dict(one) async for one in cursor]


async def get_workflow(context: Context, viewer: Viewer, account: str, name: str) -> dict[str, Any]:
    """One workflow.

    Raises: PermanentError NOT_FOUND.
    """
    document = await context.mongo["workflows"].find_one({"_id": f"{account}/{name}"})
    return found(document, viewer, f"workflow {account}/{name}")


async def list_versions(
    context: Context, viewer: Viewer, account: str, name: str, limit: int, cursor: str | None
) -> Listed:
    """Its versions, newest first, without their files."""
    await get_workflow(context, viewer, account, name)
    query = {"account": account, "workflow": name, "number": {"$gt": 0}}  # those of one-off runs have none
    projection = {"files": 0, "objects": 0, "input": 0}
    return await list_page(context, "versions", query, by="number", limit=limit, cursor=cursor, projection=projection)


async def get_version(context: Context, viewer: Viewer, account: str, name: str, number: int) -> dict[str, Any]:
    """One version with its files.

    Raises: PermanentError NOT_FOUND.
    """
    document = await context.mongo["versions"].find_one({"_id": f"{account}/{name}/{number}"})
    return found(document, viewer, f"version {number} of {account}/{name}")


async def patch_settings(
    context: Context, viewer: Viewer, account: str, name: str, change: dict[str, Any]
) -> dict[str, Any]:
    """Change some settings; the ones that are not named stay.

    Raises: PermanentError NOT_FOUND, INVALID_INPUT (with the field), TemporaryError when others change them all the
    time.
    """
    for _ in range(CHANGES_TRIED_MAX):
        workflow = await get_workflow(context, viewer, account, name)
        try:
            settings = change_settings(workflow["settings"], change)
        except ValidationError as error:
            raise not_allowed(error) from error
        done = await _write_settings(context, workflow, settings)
        if done.applied:
            await audit(
                context.mongo,
                by=viewer.name,
                action="workflow.settings",
                target=str(workflow["_id"]),
                account=account,
                details={"from": workflow["settings"], "to": settings},
            )
            return dict(done.document or {})
    raise TemporaryError(f"the settings of {account}/{name} are being changed by others; try again")


async def _write_settings(context: Context, workflow: dict[str, Any], settings: dict[str, Any]) -> Guarded:
    """Put settings in place of those that were read, and keep what they name from being removed meanwhile."""
    op, at = new_id("op_"), now()

    async def write(session: Session) -> Guarded:
        await take_up(context, workflow["account"], settings, session=session)
        return await guarded_update(
            context.mongo["workflows"],
            workflow["_id"],
            {"settings": workflow["settings"]},
            {"$set": {"settings": settings, "updated_at": at}},
            op=op,
            session=session,
        )

    return await in_transaction(context.mongo, write)


def not_allowed(error: ValidationError) -> PermanentError:
    """The error to raise for settings that do not fit their model: it names the field."""
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return PermanentError(ErrorCode.INVALID_INPUT, f"{where}: {first['msg']}" if where else str(first["msg"]))
