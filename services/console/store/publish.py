"""Publishing a workflow: check it, give it the next number, make that number current.

Owns: collection versions, workflows.current. Called by: api/workflows.py. Survives a crash: a version that was
inserted but did not become current is found by its digest and made current when the same files are published again.
Two who publish at once meet at the version's _id: the first insert wins, the other takes the next number (or the same
one, when its files are the same).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.console.core.access import Viewer
from services.console.core.settings import stored_settings, stored_version
from services.console.store.context import Context
from services.console.store.named import take_up
from shared.contracts.catalogue import CATALOGUE
from shared.contracts.workflow_file import WorkflowFile
from shared.errors import ErrorCode, PermanentError, TemporaryError
from shared.mongo import Session
from shared.mongo.audit import audit
from shared.mongo.guarded import guarded_update, in_transaction, insert_once
from shared.obs.clock import now
from shared.obs.ids import new_id
from shared.script.check import Checked, check_workflow

TRIES_MAX = 50
IN_FILE = "workflow.yaml: settings."


@dataclass(frozen=True)
class Published:
    """What became of a publication."""

    name: str
    number: int
    digest: str
    unchanged: bool
    """The current version has the same files already."""


async def check(context: Context, files: Mapping[str, str]) -> Checked:
    """Check the files; a few at a time, because Monty's checker is a process of its own."""
    async with context.checking:
        return await check_workflow(files)


async def publish(
    context: Context, viewer: Viewer, account: str, files: Mapping[str, str], checked: Checked, *, settings: bool
) -> Published:
    """Publish checked files in an account that the viewer sees. `settings`: overwrite the settings with the file's.

    Raises: PermanentError NOT_FOUND (account), INVALID_INPUT when the settings are taken and name a calendar or portal
    that does not exist (nothing is published then), TemporaryError when too many publish at once.
    """
    definition = checked.definition
    if definition is None or checked.errors:
        raise ValueError("only checked files are published")
    if not viewer.sees(account) or await context.mongo["accounts"].find_one({"_id": account}) is None:
        raise PermanentError(ErrorCode.NOT_FOUND, f"account {account} does not exist")
    if settings:
        await take_up(context, account, stored_settings(definition.settings), where=IN_FILE)
    await _make_workflow(context, account, definition)
    number, unchanged = await _number(context, viewer, account, definition, files, checked)
    if not unchanged:
        await _make_current(context, account, definition, number)
    if settings:
        await _overwrite_settings(context, viewer, account, definition)
    if not unchanged:
        details = {"number": number, "digest": checked.digest}
        target = f"{account}/{definition.name}"
        await audit(
            context.mongo, by=viewer.name, action="workflow.publish", target=target, account=account, details=details
        )
    return Published(definition.name, number, checked.digest, unchanged)


async def _make_workflow(context: Context, account: str, definition: WorkflowFile) -> None:
    """Insert the workflow unless it exists; the first publication takes the settings from the file."""
    workflow = f"{account}/{definition.name}"
    if await context.mongo["workflows"].find_one({"_id": workflow}, {"_id": 1}) is not None:
        return
    settings = stored_settings(definition.settings)
    document = {
        "schema_version": 1,
        "account": account,
        "name": definition.name,
        "title": definition.title,
        "current": None,
        "settings": settings,
        "updated_at": now(),
    }

    async def insert(session: Session) -> None:
        await take_up(context, account, settings, where=IN_FILE, session=session)
        await context.mongo["workflows"].update_one(
            {"_id": workflow}, {"$setOnInsert": document}, upsert=True, session=session
        )

    await in_transaction(context.mongo, insert)


async def _number(
    context: Context,
    viewer: Viewer,
    account: str,
    definition: WorkflowFile,
    files: Mapping[str, str],
    checked: Checked,
) -> tuple[int, bool]:
    """The number of the version with these files, inserted if need be, and whether it is current already."""
    workflow = f"{account}/{definition.name}"
    for _ in range(TRIES_MAX):
        document = await context.mongo["workflows"].find_one({"_id": workflow})
        newest = await _newest(context, account, definition.name)
        if newest is not None and newest["digest"] == checked.digest:
            number = int(newest["number"])
            return number, document is not None and document["current"] == number
        number = int(newest["number"]) + 1 if newest else 1
        version = _version(viewer, account, definition, files, checked, number)
        if await insert_once(context.mongo["versions"], version):
            return number, False
    raise TemporaryError(f"too many publish {workflow} at once; try again")


async def _newest(context: Context, account: str, name: str) -> dict[str, Any] | None:
    return await context.mongo["versions"].find_one(
        {"account": account, "workflow": name, "number": {"$gt": 0}},  # one-off versions have none
        {"number": 1, "digest": 1},
        sort=[("number", -1)],
    )


def _version(
    viewer: Viewer, account: str, definition: WorkflowFile, files: Mapping[str, str], checked: Checked, number: int
) -> dict[str, Any]:
    return {
        "_id": f"{account}/{definition.name}/{number}",
        "schema_version": 1,
        "account": account,
        "workflow": definition.name,
        "number": number,
        "digest": checked.digest,
        "files": dict(files),
        **stored_version(definition),
        "objects": {name: one.model_dump(mode="json") for name, one in checked.objects.items()},
        "catalogue": CATALOGUE,
        "published_at": now(),
        "published_by": viewer.name,
    }


async def _make_current(context: Context, account: str, definition: WorkflowFile, number: int) -> None:
    """Let new runs take `number`, unless a higher one is current already."""
    workflow = f"{account}/{definition.name}"
    for _ in range(TRIES_MAX):
        document = await context.mongo["workflows"].find_one({"_id": workflow})
        current = document["current"] if document else None
        if current is not None and current >= number:
            return
        change = {"current": number, "title": definition.title, "updated_at": now()}
        done = await guarded_update(
            context.mongo["workflows"], workflow, {"current": current}, {"$set": change}, op=new_id("op_")
        )
        if done.applied:
            return
    raise TemporaryError(f"too many publish {workflow} at once; try again")


async def _overwrite_settings(context: Context, viewer: Viewer, account: str, definition: WorkflowFile) -> None:
    workflow = f"{account}/{definition.name}"
    settings, at = stored_settings(definition.settings), now()

    async def overwrite(session: Session) -> dict[str, Any] | None:
        await take_up(context, account, settings, where=IN_FILE, session=session)
        return await context.mongo["workflows"].find_one_and_update(
            {"_id": workflow}, {"$set": {"settings": settings, "updated_at": at}}, session=session
        )

    before = await in_transaction(context.mongo, overwrite)
    details = {"from": before["settings"] if before else None, "to": settings}
    if before and before["settings"] != settings:
        await audit(
            context.mongo, by=viewer.name, action="workflow.settings", target=workflow, account=account, details=details
        )
