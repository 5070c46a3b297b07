"""The page behind a decision's link: `/d/{id}?t={token}`. It needs no log-in, so it shows this one decision only.

Called by: main.py. The token is the right to answer: it is compared in constant time before anything is looked up, a
wrong one gets the same answer as an unknown decision, and it is never logged (request lines are logged without their
query). A GET changes nothing, because mail scanners follow links. No cookie takes part, so another site can't make a
browser answer: it would have to know the token. Plain forms, not NiceGUI: whoever opens it needs no socket and no
session, and no script. Survives a crash: an answer is a stored request before the browser hears of it.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response, StreamingResponse

from services.console.pages.decision_html import (
    Asked,
    decision_page,
    message_page,
    on_its_way_page,
    thanks_page,
)
from services.console.pages.evidence import PICTURES
from services.console.pages.language import LANGUAGES, choose_language
from services.console.pages.linked import HEADERS, answered, caller_of, field_of, form_of, too_many
from services.console.store import decisions as store
from services.console.store.context import Context
from services.console.store.evidence import open_evidence_of_run
from shared.domain.decision import ANSWER_LENGTH_MAX, DecisionState, id_of
from shared.errors import ErrorCode, PermanentError, TemporaryError
from shared.obs.clock import now

PREFIX = "/d"


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
        form = await form_of(request)
        asked = _asked(request, address, field_of(form, "t"), field_of(form, "lang"))
        decision = await _admit(context, request, asked, address)
        if isinstance(decision, Response):
            return decision
        if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return answered(decision_page(asked, decision, now()), 403)
        return await _answer(context, request, asked, decision, field_of(form, "answer"))

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


async def _admit(context: Context, request: Request, asked: Asked, address: str) -> dict[str, Any] | Response:
    """The decision, when the token is its own; else the page that says no."""
    _ = asked.text
    id = id_of(address)
    right = store.opens(context, id, asked.token)
    if (refused := too_many(context, request, asked, right=right)) is not None:
        return refused
    nowhere = Asked(asked.language)
    decision = await store.find_by_link(context, id) if right and id is not None else None
    if decision is None:
        text = _("The link is incomplete, or what it led to is gone. Open it again from the message that you got.")
        return answered(message_page(nowhere, _("Nothing here"), text), 404)
    return decision


async def _show(context: Context, asked: Asked, decision: dict[str, Any], *, thanks: bool) -> Response:
    if thanks and decision["state"] == DecisionState.ANSWERED:
        return answered(thanks_page(asked, decision))
    if decision["state"] == DecisionState.OPEN:
        sent = await store.answer_on_its_way(context, decision["_id"])
        if sent is not None:
            return answered(on_its_way_page(asked, decision, str(sent["args"].get("answer") or "")))
    return answered(decision_page(asked, decision, now()))


async def _answer(context: Context, request: Request, asked: Asked, decision: dict[str, Any], text: str) -> Response:
    """Have the executor take an answer; then the browser is sent to see it, so that a reload sends nothing."""
    _ = asked.text
    text = _chosen(decision, text)
    try:
        done = await store.answer_by_link(context, decision, text, caller_of(request))
    except PermanentError as error:
        if error.code == ErrorCode.FINAL:
            return answered(decision_page(asked, decision, now(), _("Your answer came too late for this.")), 409)
        complaint = _("Please give an answer of at most {most} characters.").format(most=ANSWER_LENGTH_MAX)
        return answered(decision_page(asked, decision, now(), complaint), 422)
    except TemporaryError:
        return answered(decision_page(asked, decision, now(), _("It could not be stored; please try again.")), 503)
    if done.state == "refused":
        fresh = await store.find_by_link(context, decision["_id"]) or decision
        return answered(decision_page(asked, fresh, now(), _("Your answer was not taken.")), 409)
    return RedirectResponse(asked.address(done="1"), status_code=303, headers=HEADERS)


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
        return answered(message_page(Asked(asked.language), _("Nothing here"), _("The picture is gone.")), 404)
    media_type = blob.media_type if blob.media_type in PICTURES else "application/octet-stream"
    headers = {**HEADERS, "Content-Length": str(blob.size_bytes), "Content-Disposition": "inline"}
    headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return StreamingResponse(blob.chunks, media_type=media_type, headers=headers)
