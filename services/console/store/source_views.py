"""What the pages show of sources: all of them by name, and what came of their looks since a moment.

Called by: pages (sources, source). Reads only; store/sources.py has the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from services.console.core.access import Viewer
from services.console.store.context import Context
from services.console.store.listing import QUERY_TIME_MS_MAX, seen_accounts
from services.console.store.sources import HIDDEN

SOURCES_MAX = 500
FIGURES = ("came", "taken", "duplicates", "refused")


async def shown_sources(context: Context, viewer: Viewer, account: str | None) -> list[dict[str, Any]]:
    """The sources that the viewer sees, by account and name; at most SOURCES_MAX."""
    query = await seen_accounts(context, viewer, account)
    cursor = (
        context.mongo["sources"]
        .find(query, {"settings": 0, **HIDDEN})
        .sort("_id", 1)
        .limit(SOURCES_MAX)
        .max_time_ms(QUERY_TIME_MS_MAX)
    )
    return [dict(one) async for one in cursor]


async def figures_since(context: Context, sources: Sequence[str], since: datetime) -> dict[str, dict[str, int]]:
    """What came of the looks since a moment, by source: {looks, failed, came, taken, duplicates, refused}."""
    match = {"source": {"$in": list(sources)}, "at": {"$gte": since}}
    failed = {"$sum": {"$cond": [{"$eq": ["$outcome", "failed"]}, 1, 0]}}
    sums: dict[str, Any] = {name: {"$sum": f"${name}"} for name in FIGURES}
    group = {"$group": {"_id": "$source", "looks": {"$sum": 1}, "failed": failed, **sums}}
    cursor = await context.mongo["source_log"].aggregate([{"$match": match}, group], maxTimeMS=QUERY_TIME_MS_MAX)
    return {one["_id"]: {name: int(one[name]) for name in ("looks", "failed", *FIGURES)} async for one in cursor}
