"""Events: what happened that people may want to be told of.

Called by: api/events.py, pages. Owns nothing: events are insert-only, by every service (shared.mongo.events).
"""

from __future__ import annotations

from services.console.core.access import Viewer
from services.console.store.context import Context
from services.console.store.listing import Listed, list_page


async def list_events(
    context: Context,
    viewer: Viewer,
    *,
    account: str | None = None,
    kind: str | None = None,
    severity: str | None = None,
    target: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Listed:
    """Events that match, newest first; those of no account are for users of all accounts."""
    wanted = {"kind": kind, "severity": severity, "target": target}
    query = {**viewer.account_filter(account), **{name: value for name, value in wanted.items() if value is not None}}
    return await list_page(context, "events", query, by="at", limit=limit, cursor=cursor)
