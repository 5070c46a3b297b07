"""The queue as people see it: how much waits per workflow, whether it is open, and why one task waits.

Called by: api/queue.py, pages. Owns nothing. Every count is an index range with a limit: beyond it the figure says
'or more'. Whether a workflow is open is read by shared.mongo.gates, as the scheduler reads it.
"""

from __future__ import annotations

from typing import Any

from services.console.core.access import Viewer
from services.console.store.circuits import shown_scenario
from services.console.store.context import Context
from services.console.store.tasks import get_task
from services.console.store.workflows import WORKFLOWS_MAX
from shared.domain.priority import list_keys
from shared.domain.task_state import TaskState
from shared.mongo.gates import WorkflowGate, read_situation
from shared.mongo.waiting import Explanation, explain
from shared.obs.clock import now

COUNTED_MAX = 10_000
"""Tasks counted per workflow and state; a figure that reaches it means 'or more'."""


async def queue_depths(context: Context, viewer: Viewer, account: str | None = None) -> list[dict[str, Any]]:
    """Per workflow, by account and name: {account, workflow, title, priority, waiting, running, held, oldest_age_s,
    open, why, reason, limits, held_since, held_scenarios}.
    """

    async def ask() -> list[dict[str, Any]]:
        cursor = context.mongo["workflows"].find().sort([("account", 1), ("name", 1)]).limit(WORKFLOWS_MAX)
        workflows = await cursor.to_list(None)
        situation = await read_situation(context.mongo, [one["_id"] for one in workflows], now())
        return [
            {**await _depth(context, workflow), **_standing(situation.gates[workflow["_id"]])}
            for workflow in workflows
            if workflow["_id"] in situation.gates
        ]

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


def _standing(found: WorkflowGate) -> dict[str, Any]:
    """Whether a workflow takes tasks now, why not, since when it is held, and how much of its limits is used."""
    circuit = found.standing.circuit or {}
    used = {one.limit.per: one.used for one in found.standing.used if not one.of_account}
    limits = (found.document.get("settings") or {}).get("limits") or []
    return {
        "open": found.gate.open,
        "why": found.gate.text or None,
        "reason": None if found.gate.reason is None else found.gate.reason.value,
        "held_since": circuit.get("at") if circuit.get("state") == "open" else None,
        "held_scenarios": [shown_scenario(one) for one in found.standing.scenarios.values()],
        "limits": [
            {
                "per": one["per"],
                "max": one["max"],
                "used": used.get(one["per"], 0),
                "on_limit": one.get("on_limit", "block"),
            }
            for one in limits
        ],
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


async def why(context: Context, viewer: Viewer, task: str) -> tuple[dict[str, Any], Explanation]:
    """A task, why it is not running, and when it may.

    Raises: PermanentError NOT_FOUND.
    """
    document = await get_task(context, viewer, task)
    return document, await explain(context.mongo, document)
