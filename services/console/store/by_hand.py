"""Tasks that somebody typed: checked here by the collector's rules, then asked for.

Called by: api/by_hand.py, pages (new task). Owns nothing: the collector inserts the tasks of the request `tasks.add`.
Survives a crash: the request is a document, whose id follows from the caller's key, so asking again is the same
request. Change also: services/collector/by_hand.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.console.core.access import Viewer
from services.console.core.preview import Candidate, Verdict, examine
from services.console.store.commands import Asked, ask
from services.console.store.context import Context
from services.console.store.schemas import current_schema, what_becomes
from shared.errors import ErrorCode, PermanentError
from shared.intake.schema import UnusableSchema
from shared.obs.clock import now
from shared.obs.ids import uuid7
from shared.runtime.http import Problem

KIND = "tasks.add"
TASKS_MAX = 200
SIZE_BYTES_MAX = 1024 * 1024


@dataclass(frozen=True)
class Added:
    """A request for tasks."""

    asked: Asked
    batch: str
    """Their batch; it is there once the request is done."""


async def add_tasks(
    context: Context, viewer: Viewer, account: str, workflow: str, tasks: Sequence[Mapping[str, Any]],
    key: str | None = None,
) -> Added:  # fmt: skip
    """Hand tasks in, all of them or none.

    tasks: items as in a push; one without a reference gets one. key: the caller's own; the same key is the same
    request.
    Raises: Problem 422 with `errors` {index, code, message, path}; PermanentError NOT_FOUND, CONFLICT, TOO_MANY,
    TOO_LARGE.
    """
    if not 0 < len(tasks) <= TASKS_MAX:
        raise PermanentError(
            ErrorCode.TOO_MANY, f"from 1 to {TASKS_MAX} tasks are taken at once, these are {len(tasks)}; upload a file"
        )
    number = _number(viewer, account, key)
    items = [_with_reference(task, f"hand-{number[-12:]}-{place}") for place, task in enumerate(tasks, start=1)]
    size = len(json.dumps(items, ensure_ascii=False).encode("utf-8", "replace"))
    if size > SIZE_BYTES_MAX:
        raise PermanentError(
            ErrorCode.TOO_LARGE, f"at most {SIZE_BYTES_MAX} bytes of tasks are taken at once; upload a file"
        )
    args = {"account": account, "workflow": workflow, "tasks": items}
    id = f"cmd_{number}"
    if key is None or not await _asked_before(context, viewer, id, args):
        await _check(context, viewer, account, workflow, items)
    asked = await ask(
        context, viewer, kind=KIND, to="collector", target=f"{account}/{workflow}", account=account, args=args, id=id
    )
    return Added(asked, f"batch_{number}")


def _number(viewer: Viewer, account: str, key: str | None) -> str:
    """32 hex digits that the request's id is made of."""
    if key is None:
        return uuid7()
    return hashlib.sha256(f"{viewer.name}\x00{account}\x00{key}".encode("utf-8", "replace")).hexdigest()[:32]


def _with_reference(task: Mapping[str, Any], reference: str) -> dict[str, Any]:
    given = task.get("reference")
    return {**task, "reference": reference if given in (None, "") else given}


async def _check(
    context: Context, viewer: Viewer, account: str, workflow: str, items: Sequence[Mapping[str, Any]]
) -> None:
    """Refuse what the collector would refuse."""
    current = await current_schema(context, viewer, account, workflow)
    rows = [Candidate(place, item) for place, item in enumerate(items)]
    try:
        examined = await asyncio.to_thread(examine, rows, schema=current.schema, now=now())
    except UnusableSchema as error:
        raise PermanentError(ErrorCode.CONFLICT, str(error)) from error
    found = await what_becomes(context, account, workflow, rows, examined)
    errors = [
        {"index": row["row"], **error}
        for row in found.rows
        if row["verdict"] == Verdict.REFUSED
        for error in row["errors"]
    ]
    if errors:
        raise Problem(422, ErrorCode.INVALID_INPUT, errors[0]["message"], errors=errors)


async def _asked_before(context: Context, viewer: Viewer, id: str, args: Mapping[str, Any]) -> bool:
    """Whether this very request was made before; the same key with other tasks is a slip of the caller's."""
    found = await context.mongo["commands"].find_one({"_id": id}, {"args": 1})
    if found is None or not viewer.sees(str(args["account"])):
        return False
    if found["args"] != args:
        raise Problem(422, ErrorCode.CONFLICT, "this Idempotency-Key was used for other tasks; use a new one")
    return True
