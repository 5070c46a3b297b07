"""What fires, and whether anybody looks: for who watches instead of being told.

Called by: api/alerts.py (`GET watch`), pages (frame, alerts), cli (`regente watch`). Owns nothing. alerts notices when
another service is silent; that alerts is silent is noticed here: the lease of the one that leads it stands still, as
this process sees it by its own clock. Survives a crash: nothing; a new process looks anew. Change also:
shared/mongo/leading.py (its lease).
"""

from __future__ import annotations

from typing import Any

from services.console.core.access import Viewer
from services.console.store.context import Context
from services.console.store.listing import QUERY_TIME_MS_MAX, seen_accounts
from services.console.store.silences import with_silence
from shared.domain.alert_rules import AlertSeverity
from shared.mongo.leading import EVALUATION
from shared.obs.clock import monotonic_s

LEADER = f"{EVALUATION}/leader"
"""The lease of the instance of alerts that evaluates the rules."""
LOOKED_AT_EVERY_S = 1.0
WATCHED_MAX = 500
COUNTED_MAX = 100


async def silent_s(context: Context) -> float | None:
    """For how long nobody has looked at what is wrong; none: somebody does. Raises: PyMongoError."""

    async def ask() -> float:
        lease = await context.mongo["leases"].find_one({"_id": LEADER}) or {}  # none: nobody ever led
        mark = int(lease.get("token") or 0), int(lease.get("counter") or 0)
        return context.still.look(LEADER, *mark, monotonic_s())

    still_s: float = await context.moment.get("pulse", ask, LOOKED_AT_EVERY_S)
    return round(still_s, 1) if still_s >= context.settings.alerts_silent_s else None


async def watched(context: Context, viewer: Viewer, account: str | None, least: AlertSeverity) -> dict[str, Any]:
    """{silent_s, alerts, more}: what fires and is at least that severe, in the viewer's accounts, newest first."""
    query = {**viewer.account_filter(account), "state": "firing", "severity": {"$in": at_least(least)}}
    found = (
        context.mongo["alerts"]
        .find(query, {"events": 0})
        .sort([("since", -1), ("_id", -1)])
        .limit(WATCHED_MAX + 1)
        .max_time_ms(QUERY_TIME_MS_MAX)
    )
    alerts = [dict(one) async for one in found]
    shown = await with_silence(context, alerts[:WATCHED_MAX])
    return {"silent_s": await silent_s(context), "alerts": shown, "more": len(alerts) > WATCHED_MAX}


async def count_firing(context: Context, viewer: Viewer) -> int:
    """Alerts that fire and that nobody looks at, in the viewer's accounts; at most COUNTED_MAX: 'or more'."""
    accounts = {} if viewer.everywhere else await seen_accounts(context, viewer)

    async def count() -> int:
        query = {**accounts, "state": "firing", "acked": None}
        return int(await context.mongo["alerts"].count_documents(query, limit=COUNTED_MAX))

    number: int = await context.moment.get(f"alerts/{','.join(sorted(viewer.accounts))}", count, 2.0)
    return number


def at_least(severity: AlertSeverity) -> list[str]:
    """That severity and those above it."""
    return [one.value for one in AlertSeverity if one.rank >= severity.rank]
