"""Pages behind links that need no log-in: what they take, what they answer with, and how often one may ask.

Called by: decision_link.py, alert_link.py. A link's token is the right; it is never logged (request lines are logged
without their query). A GET changes nothing, because mail scanners follow links.
"""

from __future__ import annotations

import time

from fastapi import Request
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, Response

from services.console.pages.decision_html import POLICY, Asked, message_page
from services.console.store.context import Context

FORM_FIELDS_MAX = 8
FORM_SIZE_BYTES_MAX = 16 * 1024
HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
    "Content-Security-Policy": POLICY,
    "Vary": "Accept-Language",
}


async def form_of(request: Request) -> FormData:
    """The fields that were sent; nothing where it is no form of ours, whose fields are few and short."""
    length = request.headers.get("content-length", "")
    plain = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    if not plain or not length.isascii() or not length.isdigit() or int(length) > FORM_SIZE_BYTES_MAX:
        return FormData()
    return await request.form(max_files=0, max_fields=FORM_FIELDS_MAX)


def field_of(form: FormData, name: str) -> str:
    """A field's text; empty when it was not sent."""
    value = form.get(name)
    return value if isinstance(value, str) else ""


def caller_of(request: Request) -> str:
    """The network address that asks."""
    return request.client.host if request.client else "unknown"


def too_many(context: Context, request: Request, asked: Asked, *, right: bool) -> Response | None:
    """Count a request, and the page that says to wait when there were too many; right: whether its token was."""
    _ = asked.text
    caller, at_s = caller_of(request), time.monotonic()
    wait_s = context.link_limit.wait_s(caller, at_s)
    context.link_limit.count(caller, at_s)
    if not right:
        wait_s = max(wait_s, context.link_misses.wait_s(caller, at_s))
        context.link_misses.count(caller, at_s)
    if wait_s <= 0:
        return None
    nowhere = Asked(asked.language)
    page = message_page(nowhere, _("Too many requests"), _("Wait some minutes, then open the link again."))
    return answered(page, 429, {"Retry-After": str(round(wait_s) + 1)})


def answered(text: str, status: int = 200, headers: dict[str, str] | None = None) -> HTMLResponse:
    """A page, which no cache keeps and nothing shows in a frame."""
    return HTMLResponse(text, status_code=status, headers={**HEADERS, **(headers or {})})
