"""Tasks: reading; what people want done with them goes to their owners as commands.

Called by: api/tasks.py, pages. Owns nothing: tasks belong to the collector, the scheduler and the executor.
"""

from __future__ import annotations

from typing import Any

from services.console.core.access import Viewer
from services.console.store.commands import Asked, ask
from services.console.store.context import Context
from services.console.store.listing import Listed, found, list_page, seen_accounts
from services.console.store.workflows import list_workflows
from shared.domain.task_state import FINAL, TaskState
from shared.errors import ErrorCode, PermanentError

IN_LIST = {
    "input": 0,
    "result": 0,
    "history": 0,
    "evidence": 0,
    "events": 0,
    "input_digest": 0,
    "error.traceback": 0,
}
"""What a list leaves out."""


async def list_tasks(
    context: Context,
    viewer: Viewer,
    *,
    account: str | None = None,
    workflow: str | None = None,
    state: TaskState | None = None,
    reference: str | None = None,
    batch: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Listed:
    """Tasks that match, newest first."""
    query = await seen_accounts(context, viewer, account)
    if workflow is not None:
        query["workflow"] = workflow
    elif reference is not None:
        names = {one["name"] for one in await list_workflows(context, viewer, account)}
        query["workflow"] = {"$in": sorted(names)}
    wanted = {"state": state.value if state else None, "reference": reference, "batch": batch}
    query.update({name: value for name, value in wanted.items() if value is not None})
    return await list_page(context, "tasks", query, by="created_at", limit=limit, cursor=cursor, projection=IN_LIST)


async def get_task(context: Context, viewer: Viewer, task: str) -> dict[str, Any]:
    """One task, in the archive too.

    Raises: PermanentError NOT_FOUND.
    """
    document = await context.mongo["tasks"].find_one({"_id": task})
    document = document or await context.mongo["archive_tasks"].find_one({"_id": task})
    return found(document, viewer, f"task {task}")


async def cancel(context: Context, viewer: Viewer, task: str) -> Asked:
    """Ask for a task to be cancelled; a running one ends at its next instruction.

    Raises: PermanentError NOT_FOUND, FINAL.
    """
    document = await _open(context, viewer, task)
    return await ask(context, viewer, kind="task.cancel", to="scheduler", target=task, account=document["account"])


async def abort(context: Context, viewer: Viewer, task: str) -> Asked:
    """Ask for a task to be cancelled now: the instruction in flight is cut, and its run ends for it.

    Raises: PermanentError NOT_FOUND, FINAL.
    """
    account = (await _open(context, viewer, task))["account"]
    return await ask(
        context, viewer, kind="task.cancel", to="scheduler", target=task, account=account, args={"now": True}
    )


async def steer(context: Context, viewer: Viewer, task: str, action: str, args: dict[str, Any]) -> Asked:
    """Ask for a task to be held, released, put to the front of its list, or given a priority.

    action: hold {text}, release, front or priority {priority, or null for the workflow's}.
    Raises: PermanentError NOT_FOUND, FINAL.
    """
    document = await _open(context, viewer, task)
    account = document["account"]
    return await ask(context, viewer, kind=f"task.{action}", to="scheduler", target=task, account=account, args=args)


async def _open(context: Context, viewer: Viewer, task: str) -> dict[str, Any]:
    document = await get_task(context, viewer, task)
    if TaskState(document["state"]) in FINAL:
        raise PermanentError(ErrorCode.FINAL, f"the task is {document['state']}; nothing changes it any more")
    return document


async def settle(
    context: Context, viewer: Viewer, task: str, outcome: str, output: dict[str, Any] | None, note: str
) -> Asked:
    """Say what became of a held task: succeeded or failed, or that it shall be done again.

    Raises: PermanentError NOT_FOUND, CONFLICT when it is not held.
    """
    document = await get_task(context, viewer, task)
    if document["state"] != TaskState.HELD:
        code = ErrorCode.FINAL if TaskState(document["state"]) in FINAL else ErrorCode.CONFLICT
        raise PermanentError(code, f"the task is {document['state']}; only a held one can be settled")
    account = document["account"]
    if outcome == "again":
        return await ask(
            context, viewer, kind="task.requeue", to="scheduler", target=task, account=account, args={"note": note}
        )
    args = {"outcome": outcome, "output": output, "note": note}
    return await ask(context, viewer, kind="task.settle", to="executor", target=task, account=account, args=args)
