"""The page behind a decision's link: `/d/{id}?t={token}`. It needs no log-in, so it shows this one decision only.

Called by: main.py. The token is the right to answer: it is compared in constant time before anything is looked up, a
wrong one gets the same answer as an unknown decision, and it is never logged (request lines are logged without their
query). A GET changes nothing, because mail scanners follow links. No cookie takes part, so another site can't make a
browser answer: it would have to know the token. Plain forms, not NiceGUI: whoever opens it needs no socket and no
session, and no script. Survives a crash: an answer is a stored request before the browser hears of it.
"""

from __future__ import annotations

import time
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse

from services.console.pages.decision_html import (
    POLICY,
    Asked,
    decision_page,
    message_page,
    on_its_way_page,
    thanks_page,
)
from services.console.pages.evidence import PICTURES
from services.console.pages.language import LANGUAGES, choose_language
from services.console.store import decisions as store
from services.console.store.context import Context
from services.console.store.evidence import open_evidence_of_run
from shared.domain.decision import ANSWER_LENGTH_MAX, DecisionState, id_of
from shared.errors import ErrorCode, PermanentError, TemporaryError
from shared.obs.clock import now

PREFIX = "/d"
FORM_FIELDS_MAX = 8
FORM_SIZE_BYTES_MAX = 16 * 1024
_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
    "Content-Security-Policy": POLICY,
    "Vary": "Accept-Language",
}


def decision_router(context: Context) -> APIRouter:
    """GET and POST /d/{id}, GET /d/{id}/image."""
    router = APIRouter(prefix=PREFIX, include_in_schema=False)

    @router.get("/{address}")
    async def show(request: Request, address: str) -> Response:
        asked = _asked(request, address, request.query_params.get("t", ""), request.query_params.get("lang"))
        decision = await _admit(context, request, asked, address)
        if isinstance(decision, Response):
            return decision
        return await _show(context, asked, decision, thanks=request.query_params.get("done") == "1")

    @router.post("/{address}")
    async def answer(request: Request, address: str) -> Response:
        form = await _form(request)
        asked = _asked(request, address, _field(form, "t"), _field(form, "lang"))
        decision = await _admit(context, request, asked, address)
        if isinstance(decision, Response):
            return decision
        if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return _html(decision_page(asked, decision, now()), 403)
        return await _answer(context, request, asked, decision, _field(form, "answer"))

    @router.get("/{address}/image")
    async def image(request: Request, address: str) -> Response:
        asked = _asked(request, address, request.query_params.get("t", ""), request.query_params.get("lang"))
        decision = await _admit(context, request, asked, address)
        return decision if isinstance(decision, Response) else await _image(context, asked, decision)

    return router


def _asked(request: Request, address: str, token: str, language: str | None) -> Asked:
    """The language is the one that was switched to, else the browser's first."""
    chosen = language if language in LANGUAGES else None
    return Asked(choose_language(chosen, request.headers.get("accept-language")), token, f"{PREFIX}/{address}")


async def _form(request: Request) -> FormData:
    """The fields that were sent; nothing where it is no form of ours, whose fields are few and short."""
    length = request.headers.get("content-length", "")
    plain = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    if not plain or not length.isascii() or not length.isdigit() or int(length) > FORM_SIZE_BYTES_MAX:
        return FormData()
    return await request.form(max_files=0, max_fields=FORM_FIELDS_MAX)


def _field(form: FormData, name: str) -> str:
    value = form.get(name)
    return value if isinstance(value, str) else ""


async def _admit(context: Context, request: Request, asked: Asked, address: str) -> dict[str, Any] | Response:
    """The decision, when the token is its own; else the page that says no."""
    _ = asked.text
    caller, at_s = request.client.host if request.client else "unknown", time.monotonic()
    id = id_of(address)
    right = store.opens(context, id, asked.token)
    wait_s = context.link_limit.wait_s(caller, at_s)
    context.link_limit.count(caller, at_s)
    if not right:
        wait_s = max(wait_s, context.link_misses.wait_s(caller, at_s))
        context.link_misses.count(caller, at_s)
    nowhere = Asked(asked.language)
    if wait_s > 0:
        page = message_page(nowhere, _("Too many requests"), _("Wait some minutes, then open the link again."))
        return _html(page, 429, {"Retry-After": str(round(wait_s) + 1)})
    decision = await store.find_by_link(context, id) if right and id is not None else None
    if decision is None:
        text = _("The link is incomplete, or what it led to is gone. Open it again from the message that you got.")
        return _html(message_page(nowhere, _("Nothing here"), text), 404)
    return decision


async def _show(context: Context, asked: Asked, decision: dict[str, Any], *, thanks: bool) -> Response:
    if thanks and decision["state"] == DecisionState.ANSWERED:
        return _html(thanks_page(asked, decision))
    if decision["state"] == DecisionState.OPEN:
        sent = await store.answer_on_its_way(context, decision["_id"])
        if sent is not None:
            return _html(on_its_way_page(asked, decision, str(sent["args"].get("answer") or "")))
    return _html(decision_page(asked, decision, now()))


async def _answer(context: Context, request: Request, asked: Asked, decision: dict[str, Any], text: str) -> Response:
    """Have the executor take an answer; then the browser is sent to see it, so that a reload sends nothing."""
    _ = asked.text
    text = _chosen(decision, text)
    caller = request.client.host if request.client else "unknown"
    try:
        done = await store.answer_by_link(context, decision, text, caller)
    except PermanentError as error:
        if error.code == ErrorCode.FINAL:
            return _html(decision_page(asked, decision, now(), _("Your answer came too late for this.")), 409)
        complaint = _("Please give an answer of at most {most} characters.").format(most=ANSWER_LENGTH_MAX)
        return _html(decision_page(asked, decision, now(), complaint), 422)
    except TemporaryError:
        return _html(decision_page(asked, decision, now(), _("It could not be stored; please try again.")), 503)
    if done.state == "refused":
        fresh = await store.find_by_link(context, decision["_id"]) or decision
        return _html(decision_page(asked, fresh, now(), _("Your answer was not taken.")), 409)
    return RedirectResponse(asked.address(done="1"), status_code=303, headers=_HEADERS)


def _chosen(decision: dict[str, Any], text: str) -> str:
    """What was answered: browsers change line ends on the way, and an option is meant as it is written."""
    plain = text.replace("\r\n", "\n").strip()
    options = (str(one) for one in decision.get("options") or [])
    return next((one for one in options if one.replace("\r\n", "\n").strip() == plain), plain)


async def _image(context: Context, asked: Asked, decision: dict[str, Any]) -> Response:
    """The bytes of this decision's picture, and of no other."""
    _ = asked.text
    try:
        blob = await open_evidence_of_run(context, decision["run"], str(decision.get("image")))
    except PermanentError:
        return _html(message_page(Asked(asked.language), _("Nothing here"), _("The picture is gone.")), 404)
    media_type = blob.media_type if blob.media_type in PICTURES else "application/octet-stream"
    headers = {**_HEADERS, "Content-Length": str(blob.size_bytes), "Content-Disposition": "inline"}
    headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return StreamingResponse(blob.chunks, media_type=media_type, headers=headers)


def _html(text: str, status: int = 200, headers: dict[str, str] | None = None) -> HTMLResponse:
    return HTMLResponse(text, status_code=status, headers={**_HEADERS, **(headers or {})})
