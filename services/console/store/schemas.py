"""The input schema of a workflow's current version, and the tasks that stand under references: what checks need.

Called by: store/by_hand.py, store/uploads.py, pages (the form). Reads only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from services.console.core.access import Viewer
from services.console.core.preview import Candidate, Examined, Preview, preview
from services.console.store.context import Context
from services.console.store.workflows import get_workflow
from shared.errors import ErrorCode, PermanentError
from shared.intake.schema import InputSchema, UnusableSchema
from shared.intake.verdicts import Standing
from shared.mongo import tombstones

FIND_BATCH = 2000
ANY: dict[str, Any] = {"type": "object"}


@dataclass(frozen=True)
class Current:
    """What a task of a workflow is checked against now."""

    number: int
    title: str
    input: dict[str, Any]
    """The JSON Schema as it was published."""
    schema: InputSchema


async def current_schema(context: Context, viewer: Viewer, account: str, workflow: str) -> Current:
    """The schema of the version that new tasks meet.

    Raises: PermanentError NOT_FOUND, CONFLICT when nothing is published or its schema can't be used.
    """
    found = await get_workflow(context, viewer, account, workflow)
    number = found.get("current")
    version = await context.mongo["versions"].find_one(
        {"_id": f"{account}/{workflow}/{number}"}, {"input": 1, "scenarios": 1}
    )
    if number is None or version is None:
        raise PermanentError(ErrorCode.CONFLICT, f"the workflow {account}/{workflow} has no published version yet")
    input_ = version.get("input") or ANY
    try:
        schema = await asyncio.to_thread(InputSchema, input_, version.get("scenarios") or ())
    except UnusableSchema as error:
        raise PermanentError(ErrorCode.CONFLICT, str(error)) from error
    return Current(int(number), str(found.get("title") or workflow), input_, schema)


async def what_becomes(
    context: Context, account: str, workflow: str, rows: Sequence[Candidate], examined: Examined
) -> Preview:
    """What would become of rows that were checked by themselves: with the files that there are, and the tasks that
    stand under the references, deleted ones too."""
    left = examined.without(examined.files - await _there(context, account, examined.files))
    standing = await _standing(context, account, workflow, left.references)
    return await asyncio.to_thread(preview, rows, left, standing)


async def _there(context: Context, account: str, files: Collection[str]) -> set[str]:
    """Those of the files that the account has."""
    found: set[str] = set()
    wanted = sorted(files)
    for start in range(0, len(wanted), FIND_BATCH):
        query = {"_id": {"$in": wanted[start : start + FIND_BATCH]}, "account": account}
        async for file in context.mongo["files"].find(query, {"_id": 1}):
            found.add(str(file["_id"]))
    return found


async def _standing(context: Context, account: str, workflow: str, references: Sequence[str]) -> dict[str, Standing]:
    """The tasks that stand under references; tasks are looked at first, then tombstones, as the collector does."""
    found: dict[str, Standing] = {}
    for start in range(0, len(references), FIND_BATCH):
        query = {
            "account": account,
            "workflow": workflow,
            "reference": {"$in": list(references[start : start + FIND_BATCH])},
        }
        async for task in context.mongo["tasks"].find(query, {"reference": 1, "input_digest": 1, "batch": 1}):
            digest, batch = str(task.get("input_digest")), task.get("batch") or ""
            found[task["reference"]] = Standing(task["_id"], digest, batch)
    rest = [reference for reference in references if reference not in found]
    for reference, (task_id, digest) in (await tombstones.standing(context.mongo, account, workflow, rest)).items():
        found[reference] = Standing(task_id, digest)
    return found
