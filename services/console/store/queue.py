"""The queue as people see it: how much waits per workflow, and why one task does.

Called by: api/queue.py, pages. Owns nothing. Every count is an index range with a limit: beyond it the figure says
'or more'.
"""

from __future__ import annotations

from typing import Any

from services.console.core.access import Viewer
from services.console.store.context import Context
from services.console.store.tasks import get_task
from services.console.store.workflows import WORKFLOWS_MAX
from shared.domain.priority import list_keys
from shared.domain.task_state import TaskState
from shared.mongo.waiting import why_waiting
from shared.obs.clock import now

COUNTED_MAX = 10_000
"""Tasks counted per workflow and state; a figure that reaches it means 'or more'."""


async def queue_depths(context: Context, viewer: Viewer, account: str | None = None) -> list[dict[str, Any]]:
    """Per workflow: {account, workflow, title, priority, waiting, running, held, oldest_age_s}, by account and name."""

    async def ask() -> list[dict[str, Any]]:
        cursor = context.mongo["workflows"].find().sort([("account", 1), ("name", 1)]).limit(WORKFLOWS_MAX)
        return [await _depth(context, workflow) async for workflow in cursor]

    rows: list[dict[str, Any]] = await context.moment.get("queue", ask)
    return [row for row in rows if viewer.sees(row["account"]) and account in (None, row["account"])]


async def _depth(context: Context, workflow: dict[str, Any]) -> dict[str, Any]:
    account, name = workflow["account"], workflow["name"]

    async def count(state: TaskState) -> int:
        query = {"account": account, "workflow": name, "state": state.value}
        return int(await context.mongo["tasks"].count_documents(query, limit=COUNTED_MAX))

    waiting = await count(TaskState.QUEUED)
    return {
        "account": account,
        "workflow": name,
        "title": workflow.get("title") or "",
        "priority": int((workflow.get("settings") or {}).get("priority", 1)),
        "waiting": waiting,
        "running": await count(TaskState.RUNNING),
        "held": await count(TaskState.HELD),
        "oldest_age_s": await _oldest_age_s(context, account, name) if waiting else None,
    }


async def _oldest_age_s(context: Context, account: str, name: str) -> float | None:
    """Age of the oldest task at the head of one of the workflow's lists, seconds."""
    oldest = None
    for key in list_keys(account, name):
        head = await context.mongo["tasks"].find_one(
            {"queue.list": str(key)}, {"created_at": 1}, sort=[("queue.rank", 1), ("_id", 1)]
        )
        if head is not None and (oldest is None or head["created_at"] < oldest):
            oldest = head["created_at"]
    return None if oldest is None else max(0.0, (now() - oldest).total_seconds())


async def why(context: Context, viewer: Viewer, task: str) -> tuple[dict[str, Any], str]:
    """A task and why it is not running, in a sentence.

    Raises: PermanentError NOT_FOUND.
    """
    document = await get_task(context, viewer, task)
    return document, await why_waiting(context.mongo, document)
