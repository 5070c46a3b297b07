"""The log-in page: plain HTML and one form, so that nothing is kept for somebody who is nobody yet.

Owns: the cookie of the pages. Called by: pages/__init__.py. The cookie holds the session's token, can't be read by
scripts, and isn't sent along by other sites' forms.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from services.console.pages.language import choose_language, translate
from services.console.pages.markup import Html, tag
from services.console.store import sessions
from services.console.store.context import Context
from services.console.store.passwords import PASSWORD_LENGTH_MAX
from services.console.store.sessions import COOKIE
from shared.errors import PermanentError

_ZONE = Html(
    "document.cookie='regente_zone='+Intl.DateTimeFormat().resolvedOptions().timeZone+"
    "';path=/;max-age=31536000;samesite=lax'"
)
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'self'; script-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "same-origin",
}


def login_router(context: Context) -> APIRouter:
    """GET and POST /login, POST /logout."""
    router = APIRouter(include_in_schema=False)

    @router.get("/login")
    async def show(request: Request, next: str = "/") -> Response:
        return _page(request, safe_target(next))

    @router.post("/login")
    async def log_in(
        request: Request,
        user: Annotated[str, Form(max_length=63)] = "",
        password: Annotated[str, Form(max_length=PASSWORD_LENGTH_MAX)] = "",
        next: Annotated[str, Form(max_length=2000)] = "/",
    ) -> Response:
        if _foreign(request):
            return _page(request, "/", status=403)
        _ = translate(choose_language(None, request.headers.get("accept-language")))
        address = request.client.host if request.client else "unknown"
        try:
            opened = await sessions.open_session(context, user, password, address)
        except sessions.TooManyLogins:
            return _page(request, safe_target(next), _("Too many failed log-ins; wait some minutes."), user, 429)
        except PermanentError:
            return _page(request, safe_target(next), _("User or password is wrong."), user, 401)
        response = RedirectResponse(safe_target(next), status_code=303)
        response.set_cookie(
            COOKIE,
            opened.token,
            max_age=int(context.settings.session_hours * 3600),
            httponly=True,
            samesite="lax",
            secure=context.settings.cookie_secure or request.url.scheme == "https",
        )
        return response

    @router.post("/logout")
    async def log_out(request: Request) -> Response:
        viewer = await sessions.find_viewer(context, request.cookies.get(COOKIE))
        if viewer is not None and not _foreign(request):
            await sessions.close_session(context, viewer)
        response = RedirectResponse("/login", status_code=303)
        response.delete_cookie(COOKIE)
        return response

    return router


def safe_target(target: str) -> str:
    """Where to go after the log-in: a path of ours, never another site."""
    if not target.startswith("/") or target.startswith(("//", "/\\")) or any(ord(one) < 32 for one in target):
        return "/"
    return target


def _foreign(request: Request) -> bool:
    """Whether another site's page made the browser send this."""
    return request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}


def _page(request: Request, target: str, complaint: str = "", user: str = "", status: int = 200) -> HTMLResponse:
    language = choose_language(None, request.headers.get("accept-language"))
    _ = translate(language)
    form = tag(
        "form",
        tag("div", tag("span", class_="mark"), "Regente", class_="brand"),
        tag("p", _("Fleets of desktop robots, watched over."), class_="motto"),
        tag("div", complaint, class_="complaint", role="alert") if complaint else None,
        tag(
            "label",
            _("User"),
            tag("input", name="user", value=user, autocomplete="username", required=True, autofocus=not user),
        ),
        tag(
            "label",
            _("Password"),
            tag(
                "input",
                name="password",
                type="password",
                autocomplete="current-password",
                required=True,
                autofocus=bool(user),
            ),
        ),
        tag("input", type="hidden", name="next", value=target),
        tag("button", _("Log in"), type="submit"),
        method="post",
        action="/login",
        class_="login",
    )
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", "Regente"),
        tag("link", rel="stylesheet", href="/static/console.css"),
        tag("script", _ZONE),
    )
    page = tag("html", head, tag("body", form, class_="anonymous"), lang=language.replace("_", "-"))
    return HTMLResponse(f"<!doctype html>{page}", status_code=status, headers=_HEADERS)
