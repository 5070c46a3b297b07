"""Actions on all tasks that match a filter: asked for as one durable request, whose document shows how far it is.

Called by: api/bulk.py, pages/tasks.py. Owns nothing: the scheduler works a request in slices and ends it. Survives a
crash: see store/commands.py. Change also: the scheduler's handler of queue.bulk.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.console.core.access import Viewer
from services.console.store.commands import ask
from services.console.store.context import Context
from services.console.store.listing import QUERY_TIME_MS_MAX, Listed, list_page, seen_accounts
from services.console.store.workflows import get_workflow
from shared.domain.task_state import TaskState
from shared.errors import ErrorCode, PermanentError

KIND = "queue.bulk"
COUNTED_MAX = 10_000
"""Tasks counted before an action; a figure that reaches it means 'or more'."""
NO_PROGRESS = {"done": 0, "skipped": 0, "refused": 0, "finished": False}
STATES: Mapping[str, tuple[TaskState, ...]] = {
    "hold": (TaskState.QUEUED,),
    "release": (TaskState.HELD,),
    "front": (TaskState.QUEUED,),
    "priority": (TaskState.QUEUED, TaskState.HELD),
    "cancel": (TaskState.QUEUED, TaskState.HELD, TaskState.RUNNING),
}
"""In which states an action finds something to do, when the filter names none."""


async def ask_bulk(
    context: Context, viewer: Viewer, action: str, wanted: Mapping[str, Any], more: Mapping[str, Any]
) -> dict[str, Any]:
    """Ask for an action on all tasks that match; the request's document after a moment.

    action: hold, release, front, priority or cancel. wanted: the filter, with its account. more: text, priority.
    Raises: PermanentError NOT_FOUND (account or workflow).
    """
    account = await _check(context, viewer, wanted)
    args = {"action": action, "filter": dict(wanted), **more}
    asked = await ask(context, viewer, kind=KIND, to="scheduler", target=account, account=account, args=args)
    return await get_bulk(context, viewer, asked.command)


async def get_bulk(context: Context, viewer: Viewer, command: str) -> dict[str, Any]:
    """One request and how far it is.

    Raises: PermanentError NOT_FOUND.
    """
    document = await context.mongo["commands"].find_one({"_id": command, "kind": KIND})
    if document is None or not viewer.sees(document["target"]):
        raise PermanentError(ErrorCode.NOT_FOUND, f"there is no action {command}; ended ones are kept for 30 days")
    return _view(document)


async def list_bulk(context: Context, viewer: Viewer, account: str | None, limit: int, cursor: str | None) -> Listed:
    """The requests of the viewer's accounts, newest first."""
    seen = await seen_accounts(context, viewer, account)
    query = {"kind": KIND, "target": seen["account"]}
    listed = await list_page(context, "commands", query, by="created_at", limit=limit, cursor=cursor)
    return Listed([_view(one) for one in listed.items], listed.next)


async def count_matching(context: Context, viewer: Viewer, action: str, wanted: Mapping[str, Any]) -> int:
    """How many tasks an action would find now, counted up to COUNTED_MAX.

    Raises: PermanentError NOT_FOUND (account or workflow).
    """
    await _check(context, viewer, wanted)
    states = [one.value for one in STATES[action] if wanted.get("state") in (None, one)]
    query: dict[str, Any] = {"account": wanted["account"], "state": {"$in": states}}
    query.update({name: wanted[name] for name in ("workflow", "batch", "priority") if name in wanted})
    if "references" in wanted:
        query["reference"] = {"$in": list(wanted["references"])}
    if "created_before" in wanted:
        query["created_at"] = {"$lt": wanted["created_before"]}
    return int(await context.mongo["tasks"].count_documents(query, limit=COUNTED_MAX, maxTimeMS=QUERY_TIME_MS_MAX))


async def _check(context: Context, viewer: Viewer, wanted: Mapping[str, Any]) -> str:
    """The filter's account, when the viewer sees it and the workflow (if one is named) is there."""
    account = str(wanted["account"])
    if not viewer.sees(account) or await context.mongo["accounts"].find_one({"_id": account}) is None:
        raise PermanentError(ErrorCode.NOT_FOUND, f"account {account} does not exist")
    if "workflow" in wanted:
        await get_workflow(context, viewer, account, str(wanted["workflow"]))
    return account


def _view(document: Mapping[str, Any]) -> dict[str, Any]:
    args = document.get("args") or {}
    return {
        "command": document["_id"],
        "kind": document["kind"],
        "action": args.get("action"),
        "filter": args.get("filter") or {},
        "text": args.get("text"),
        "priority": args.get("priority"),
        "state": document["state"],
        "reason": document.get("reason"),
        "progress": {**NO_PROGRESS, **(document.get("progress") or {})},
        "by": document["by"],
        "created_at": document["created_at"],
        "ended_at": document.get("ended_at"),
    }
