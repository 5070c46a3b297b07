"""The objects of a workflow: what its version says, how often each selector matched, and which have gone stale.

Called by: api/objects.py, pages/workflow.py. Owns nothing: `object_matches` is the executor's.
"""

from __future__ import annotations

from typing import Any

from services.console.core.access import Viewer
from services.console.core.objects import view_objects
from services.console.store.context import Context
from services.console.store.workflows import get_version, get_workflow
from shared.domain.objects import environment_of, environments_in

MATCHES_MAX = 5000


async def workflow_objects(
    context: Context, viewer: Viewer, account: str, name: str, environment: str | None = None
) -> dict[str, Any]:
    """Objects of the current version in an environment: the one asked for (`-`: none), else the one in force.

    Raises: PermanentError NOT_FOUND.
    """
    workflow = await get_workflow(context, viewer, account, name)
    number = workflow.get("current")
    version = await get_version(context, viewer, account, name, int(number)) if number else None
    objects = (version or {}).get("objects") or {}
    of_account = await context.mongo["accounts"].find_one({"_id": account}, {"settings": 1}) or {}
    in_force = environment_of(workflow.get("settings"), of_account.get("settings"))
    wanted = (None if environment == "-" else environment) if environment else in_force
    query = {"account": account, "workflow": name, "environment": wanted}
    cursor = context.mongo["object_matches"].find(query).sort("_id", 1).limit(MATCHES_MAX)
    return {
        "version": number,
        "environment": wanted,
        "in_force": in_force,
        "environments": environments_in(objects),
        "items": view_objects(objects, wanted, [dict(one) async for one in cursor]),
    }
