"""Circuits of workflows: held or not, and the requests that hold and release one.

Called by: api/circuits.py, pages. Owns nothing: circuits belong to the scheduler.
"""

from __future__ import annotations

from typing import Any

from services.console.core.access import Viewer
from services.console.store.commands import Asked, ask
from services.console.store.context import Context
from services.console.store.workflows import get_workflow

SHOWN = ("state", "reason", "text", "at", "by", "failures", "run")


async def get_circuit(context: Context, account: str, name: str) -> dict[str, Any] | None:
    """The circuit of a workflow that the caller has looked up; none: nothing ever went wrong with it."""
    document = await context.mongo["circuits"].find_one({"_id": f"{account}/{name}"})
    return None if document is None else {field: document.get(field) for field in SHOWN}


async def hold(context: Context, viewer: Viewer, account: str, name: str, text: str) -> Asked:
    """Ask for a workflow to take no more tasks until it is released; what runs goes on.

    Raises: PermanentError NOT_FOUND.
    """
    return await _ask(context, viewer, account, name, "hold", {"text": text})


async def release(context: Context, viewer: Viewer, account: str, name: str) -> Asked:
    """Ask for a held workflow to take tasks again.

    Raises: PermanentError NOT_FOUND.
    """
    return await _ask(context, viewer, account, name, "release", {})


async def _ask(context: Context, viewer: Viewer, account: str, name: str, action: str, args: dict[str, Any]) -> Asked:
    workflow = await get_workflow(context, viewer, account, name)
    target = str(workflow["_id"])
    return await ask(
        context, viewer, kind=f"workflow.{action}", to="scheduler", target=target, account=account, args=args
    )
