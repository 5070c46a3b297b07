"""The page behind a message's link: `/a/{notification}?t={token}`. It needs no log-in and shows that message's alerts.

Called by: main.py. The token is the right to say that somebody looks at them: compared in constant time before anything
is looked up, and a wrong one gets the same answer as an unknown message. A GET changes nothing, because mail scanners
follow links. Plain forms without a script, as decision_link.py. Survives a crash: what was said is a stored request
before the browser hears of it.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from services.console.pages.decision_html import AGAIN_S, Asked, link_page, message_page
from services.console.pages.language import LANGUAGES, choose_language
from services.console.pages.linked import HEADERS, answered, caller_of, field_of, form_of, too_many
from services.console.pages.markup import Html, tag
from services.console.pages.texts import words
from services.console.store import alert_links as store
from services.console.store.alert_links import Named
from services.console.store.context import Context
from shared.domain.alert_link import PREFIX
from shared.errors import TemporaryError

NOTE_MAX = 500
FIRST = 5
"""So many stand above the button, the others below it."""


def alert_router(context: Context) -> APIRouter:
    """GET and POST /a/{notification}."""
    router = APIRouter(prefix=PREFIX, include_in_schema=False)

    @router.get("/{id}")
    async def show(request: Request, id: str) -> Response:
        asked = _asked(request, id, request.query_params.get("t", ""), request.query_params.get("lang"))
        named = await _admit(context, request, asked, id)
        return named if isinstance(named, Response) else answered(_page(asked, named))

    @router.post("/{id}")
    async def take(request: Request, id: str) -> Response:
        form = await form_of(request)
        asked = _asked(request, id, field_of(form, "t"), field_of(form, "lang"))
        named = await _admit(context, request, asked, id)
        if isinstance(named, Response):
            return named
        if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            return answered(_page(asked, named), 403)
        return await _take(context, request, asked, named, field_of(form, "note").strip()[:NOTE_MAX])

    return router


def _asked(request: Request, id: str, token: str, language: str | None) -> Asked:
    """The language is the one that was switched to, else the browser's first."""
    chosen = language if language in LANGUAGES else None
    return Asked(choose_language(chosen, request.headers.get("accept-language")), token, f"{PREFIX}/{id}")


async def _admit(context: Context, request: Request, asked: Asked, id: str) -> Named | Response:
    """The message, when the token is its own; else the page that says no."""
    _ = asked.text
    right = store.opens(context, id, asked.token)
    if (refused := too_many(context, request, asked, right=right)) is not None:
        return refused
    named = await store.find_named(context, id) if right else None
    if named is None:
        text = _("The link is incomplete, or what it led to is gone. Open it again from the message that you got.")
        return answered(message_page(Asked(asked.language), _("Nothing here"), text), 404)
    return named


async def _take(context: Context, request: Request, asked: Asked, named: Named, note: str) -> Response:
    """Have alerts note it; then the browser is sent to see it, so that a reload sends nothing."""
    _ = asked.text
    if named.free:
        try:
            await store.take_named(context, named, note, caller_of(request))
        except TemporaryError:
            return answered(_page(asked, named, _("It could not be stored; please try again.")), 503)
    return RedirectResponse(asked.address(), status_code=303, headers=HEADERS)


def _page(asked: Asked, named: Named, complaint: str = "") -> str:
    """What fires of it, with the form while nobody looks at some of it."""
    _ = asked.text
    title = _("What you were told of")
    body: list[Any] = [tag("h1", title), tag("p", complaint, class_="said bad", role="alert") if complaint else None]
    if named.on_its_way and named.free:
        said = _("It was received, and is being noted.")
        return link_page(asked, title, *body, tag("p", said, class_="said good", role="status"), again_s=AGAIN_S)
    if not named.firing:
        body.append(tag("p", _("All of it is over."), class_="said good", role="status"))
    elif not named.free:
        said = _("Somebody looks at all of it. It is not told again until it is over.")
        body.append(tag("p", said, class_="said good", role="status"))
    else:
        body.append(tag("p", f"{_('Alerts that fire, and that nobody looks at')}: {named.free}", class_="from"))
    first = FIRST if named.free else len(named.firing)
    lines = _lines(asked, named)
    body += [lines[:first], _form(asked) if named.free else None, tag("div", lines[first:], class_="rest")]
    return link_page(asked, title, *body, foot=_("Only say so when it is true: others rely on it."))


def _form(asked: Asked) -> Html:
    _ = asked.text
    label = tag("label", _("What is being done about it (may stay empty)"), for_="note")
    box = tag("textarea", name="note", id="note", maxlength=NOTE_MAX)
    hidden = [tag("input", type="hidden", name="t", value=asked.token)]
    hidden += [tag("input", type="hidden", name="lang", value=asked.language)]
    button = tag("button", _("I look at it"), type="submit", class_="main")
    return tag("form", hidden, label, box, button, method="post", action=asked.path)


def _lines(asked: Asked, named: Named) -> list[Html]:
    """What fires, in words."""
    _ = asked.text
    lines = []
    for one in named.firing:
        acked = one.get("acked")
        by = f" ({acked['by']} {_('looks at it')})" if acked else ""
        account = f"{one['account']}: " if one.get("account") else ""
        severity = tag("b", words(_).get(one["severity"], one["severity"]))
        lines.append(tag("p", severity, f" {account}{one['text']}{by}"))
    return [*lines, tag("p", _("and more"))] if len(named.firing) >= store.SHOWN_MAX else lines
