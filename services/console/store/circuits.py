"""Circuits of workflows and scenarios: held or not, and the requests that hold and release a workflow.

Called by: api/circuits.py, queue.py, pages. Owns nothing: circuits belong to the scheduler.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.console.core.access import Viewer
from services.console.store.commands import Asked, ask
from services.console.store.context import Context
from services.console.store.workflows import get_workflow
from shared.domain.gates import HoldMode

SCENARIOS_MAX = 100
SHOWN = ("state", "reason", "text", "at", "by", "failures", "run", "mode")


async def get_circuit(context: Context, account: str, name: str) -> dict[str, Any] | None:
    """The circuit of a workflow that the caller has looked up; none: nothing ever went wrong with it."""
    document = await context.mongo["circuits"].find_one({"_id": f"{account}/{name}"})
    return None if document is None else {field: document.get(field) for field in SHOWN}


async def held_scenarios(context: Context, account: str, name: str) -> list[dict[str, Any]]:
    """The scenarios of a workflow that are held because their setup failed again and again, by name."""
    query = {"account": account, "state": "open", "workflow": name, "scenario": {"$gt": ""}}
    cursor = context.mongo["circuits"].find(query).sort("scenario", 1).limit(SCENARIOS_MAX)
    return [shown_scenario(one) async for one in cursor]


def shown_scenario(circuit: Mapping[str, Any]) -> dict[str, Any]:
    """A held scenario as people see it: {scenario, text, at, failures, run}."""
    return {field: circuit.get(field) for field in ("scenario", "text", "at", "failures", "run")}


async def hold(
    context: Context, viewer: Viewer, account: str, name: str, text: str, mode: HoldMode = HoldMode.STOP
) -> Asked:
    """Ask for a workflow to take no more tasks until it is released. mode: what becomes of the runs at work.

    Raises: PermanentError NOT_FOUND.
    """
    args = {"text": text, **({} if mode is HoldMode.STOP else {"mode": mode.value})}
    return await _ask(context, viewer, account, name, "hold", args)


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
