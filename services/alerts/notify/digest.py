"""The whole list behind a message: `GET /v1/notifications/{id}?t=<token>`, as a page or as CSV.

Called by: main.py. The token is the right to read: it follows from the installation's master key and the id, is
compared in constant time before anything is looked up, and a wrong one gets the same answer as an unknown id. A GET
changes nothing, because mail scanners follow links. Survives a crash: nothing; all of it is read from the notification.
"""

from __future__ import annotations

import hmac
from zoneinfo import ZoneInfo

from fastapi import APIRouter
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from services.alerts.core.bundles import contents
from services.alerts.notify.message import Links, Message
from services.alerts.notify.render import digest_page, listing
from services.alerts.notify.store import NotifyStore
from shared.seal import Sealer

PURPOSE = "notification-link"
PATH = "/v1/notifications"
HEADERS = {
    "Cache-Control": "no-store", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff", "X-Robots-Tag": "noindex",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
}  # fmt: skip


def token_of(sealer: Sealer, id: str) -> str:
    """What gives the right to read the list of a notification."""
    return sealer.derive(PURPOSE, id)


def digest_router(store: NotifyStore, sealer: Sealer) -> APIRouter:
    """The route."""
    router = APIRouter(prefix=PATH, include_in_schema=False)

    @router.get("/{id}")
    async def show(id: str, t: str = "", format: str = "html") -> Response:
        allowed = hmac.compare_digest(t.encode(), token_of(sealer, id).encode())
        found = await store.notification(id) if allowed else None
        if found is None or not found.get("closed_at"):
            return PlainTextResponse("There is no such list.\n", 404, headers=HEADERS)
        message = Message(
            id=id, at=found["closed_at"], contents=contents(found["items"]), language=found["language"],
            zone=ZoneInfo("UTC"), links=Links(),
        )  # fmt: skip
        if format == "csv":
            return Response(listing(message), media_type="text/csv; charset=utf-8", headers=HEADERS)
        return HTMLResponse(digest_page(message), headers=HEADERS)

    return router
