"""Adaptive waits: what is learned at each place of a workflow, and the requests that forget or freeze it.

Called by: api/pacing.py. Owns nothing: `paces_learned` is the executor's. Change also:
services/executor/store_pacing.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.console.core.access import Viewer
from services.console.store.commands import Asked, ask
from services.console.store.context import Context
from services.console.store.listing import QUERY_TIME_MS_MAX
from services.console.store.workflows import get_workflow
from shared.domain import pacing, pacing_find
from shared.domain.pacing_pause import Pause

PLACES_MAX = 1000


async def get_pacing(context: Context, viewer: Viewer, account: str, name: str) -> dict[str, Any]:
    """What is learned of a workflow's waits.

    Raises: PermanentError NOT_FOUND.
    """
    workflow = await get_workflow(context, viewer, account, name)
    key, settings = str(workflow["_id"]), (workflow.get("settings") or {}).get("pacing") or {}
    found = context.mongo["paces_learned"]
    head = await found.find_one({"_id": key}) or {}
    cursor = found.find({"key": key}).sort("place", 1).limit(PLACES_MAX).max_time_ms(QUERY_TIME_MS_MAX)
    frozen = bool(head.get("frozen")) or settings.get("mode") == "frozen"
    places = [_place(one) async for one in cursor]
    hours = round(float(head.get("hours", 0.0)), 3)
    return {"mode": settings.get("mode") or "learn", "frozen": frozen, "robot_hours": hours, "places": places}


async def reset(context: Context, viewer: Viewer, account: str, name: str, place: str | None) -> Asked:
    """Ask for what was learned to be forgotten, at one place or everywhere.

    Raises: PermanentError NOT_FOUND.
    """
    return await _ask(context, viewer, account, name, "reset", {"place": place})


async def freeze(context: Context, viewer: Viewer, account: str, name: str, place: str | None, on: bool) -> Asked:
    """Ask for waits to stay as they are (or to be learned again), at one place or everywhere.

    Raises: PermanentError NOT_FOUND.
    """
    return await _ask(context, viewer, account, name, "freeze", {"place": place, "on": on})


async def _ask(context: Context, viewer: Viewer, account: str, name: str, action: str, args: dict[str, Any]) -> Asked:
    target = str((await get_workflow(context, viewer, account, name))["_id"])
    return await ask(context, viewer, kind=f"pacing.{action}", to="executor", target=target, account=account, args=args)


def _place(document: Mapping[str, Any]) -> dict[str, Any]:
    """One place for people: counts and the waits in force, without the state of the tests behind them."""
    state = pacing.from_document(document)
    pause = state.pause
    return {
        "place": document["place"],
        **_pause(pause),
        "floor_until_hours": pause.floor_until_h if pause.floor_s is not None else None,
        **_counts(state.counts),
        **_found(state.found),
        "frozen": state.frozen,
        "seen_at": document.get("seen_at"),
        "robots": [{"robot": id, **_pause(one.pause), **_counts(one.counts)} for id, one in state.robots.items()],
        "objects": [{"object": id, **_found(one.found), **_counts(one.counts)} for id, one in state.objects.items()],
    }


def _pause(pause: Pause) -> dict[str, Any]:
    return {"pause_s": round(pause.pause_s, 3), "trend": pause.trend.value, "floor_s": pause.floor_s}


def _found(found: pacing_find.Found) -> dict[str, Any]:
    """Within which time nearly all came."""
    return {"found_nearly_all_s": round(pacing_find.percentile_s(found), 3) if found.came else None}


def _counts(counts: pacing.Counts) -> dict[str, Any]:
    mean = counts.found_sum_s / counts.found if counts.found else None
    return {
        "samples": counts.samples,
        "failures": counts.failures,
        "found": counts.found,
        "missed": counts.missed,
        "found_mean_s": None if mean is None else round(mean, 3),
        "found_max_s": round(counts.found_max_s, 3) if counts.found else None,
    }
