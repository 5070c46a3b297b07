"""One open page: who looks at it, in which language and time zone; and what all pages do alike.

Called by: every page. A page refreshes itself by a timer with bounded queries; whether its user may still see it is
asked again at every refresh, so a log-out or a lost role reaches open pages within seconds.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import Request
from nicegui import events, ui
from pymongo.errors import PyMongoError
from starlette.responses import RedirectResponse, Response

from services.console.core.access import Role, Viewer
from services.console.pages.language import choose_language, translate
from services.console.pages.markup import Html
from services.console.store.commands import Asked
from services.console.store.context import Context
from services.console.store.sessions import COOKIE, find_viewer, find_viewer_by_session
from shared.errors import PermanentError, TemporaryError
from shared.obs.logs import get_logger

ZONE_COOKIE = "regente_zone"
REFRESH_S = 1.0
CHECKED_EVERY_S = 3.0
CLICK = """(event) => {
  const target = event.target.closest('[data-action]');
  if (target) { event.preventDefault(); emit({action: target.dataset.action, key: target.dataset.key}); }
}"""

NO = object()
"""What a dialog with a field gives when its question was answered with no."""

log = get_logger(__name__)


@dataclass
class Visit:
    """A page that is open in somebody's browser."""

    context: Context
    viewer: Viewer
    language: str
    zone: tzinfo
    query: dict[str, str]
    path: dict[str, str]
    checked_at_s: float = 0.0

    @property
    def text(self) -> Callable[[str], str]:
        """The function that translates: pages call it `_`."""
        return translate(self.language)

    def moment(self, at: datetime | None, *, day: bool = True) -> str:
        """A time in the browser's time zone."""
        if at is None:
            return ""
        return at.astimezone(self.zone).strftime("%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S")

    async def admitted(self) -> bool:
        """Whether the session still stands; brings the user's role and accounts up to date."""
        if time.monotonic() - self.checked_at_s < CHECKED_EVERY_S:
            return True
        found = await find_viewer_by_session(self.context, self.viewer.session)
        if found is None:
            return False
        self.viewer, self.checked_at_s = found, time.monotonic()
        return True


async def enter(context: Context, request: Request) -> Visit | Response:
    """The visit behind a request, or the way to the log-in page."""
    viewer = await find_viewer(context, request.cookies.get(COOKIE))
    if viewer is None:
        target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return RedirectResponse(f"/login?next={quote(target, safe='')}", status_code=303)
    return Visit(
        context=context,
        viewer=viewer,
        language=choose_language(viewer.language, request.headers.get("accept-language")),
        zone=_zone(request.cookies.get(ZONE_COOKIE)),
        query=dict(request.query_params),
        path={name: str(value) for name, value in request.path_params.items()},
        checked_at_s=time.monotonic(),
    )


def _zone(name: str | None) -> tzinfo:
    try:
        return ZoneInfo((name or "UTC")[:64])
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


class Live:
    """A part of a page that is drawn from one text, again and again; sent only when the text changed."""

    def __init__(self, on_click: Callable[[str, str], Awaitable[None]] | None = None, classes: str = "") -> None:
        self._element = ui.html("", sanitize=False).classes(classes)
        if on_click is not None:

            async def clicked(event: events.GenericEventArguments) -> None:
                await on_click(str(event.args.get("action")), str(event.args.get("key")))

            self._element.on("click", clicked, js_handler=CLICK)

    def show(self, text: Html) -> None:
        """Draw this from now on."""
        if not isinstance(text, Html):
            raise TypeError("only escaped text is shown")
        if self._element.content != text:
            self._element.content = text


async def keep_fresh(visit: Visit, refresh: Callable[[], Awaitable[None]], interval_s: float = REFRESH_S) -> None:
    """Draw now, and again every `interval_s`. A database that is away becomes a line on the page, not in the log."""
    _ = visit.text
    trouble = ui.label().classes("trouble")
    trouble.set_visibility(False)

    async def tick() -> None:
        try:
            if not await visit.admitted():
                ui.navigate.to("/login")
                return
            await refresh()
            trouble.set_visibility(False)
        except (TemporaryError, PyMongoError):
            trouble.set_text(_("The database does not answer; trying again."))
            trouble.set_visibility(True)
        except PermanentError as error:
            trouble.set_text(str(error))
            trouble.set_visibility(True)

    await tick()
    ui.timer(interval_s, tick, immediate=False)


async def confirm(visit: Visit, question: str, yes: str, *, danger: bool = False) -> bool:
    """Ask before something is done."""
    _ = visit.text
    with ui.dialog() as dialog, ui.card().classes("ask"):
        ui.label(question)
        with ui.row().classes("asks"):
            ui.button(_("No"), on_click=lambda: dialog.submit(False)).props("flat dense")
            ui.button(yes, on_click=lambda: dialog.submit(True)).props(
                f"unelevated dense {'color=negative' if danger else ''}"
            )
    answer = await dialog
    dialog.delete()
    return bool(answer)


async def confirm_with(visit: Visit, question: str, yes: str, field: Any, *, danger: bool = False) -> Any:
    """Ask before something is done, with a field to fill in; what it holds, or NO.

    field: makes the field inside the dialog, such as a text or a choice.
    """
    _ = visit.text
    with ui.dialog() as dialog, ui.card().classes("ask"):
        ui.label(question)
        made = field()
        made.props("outlined dense").classes("full")
        with ui.row().classes("asks"):
            ui.button(_("No"), on_click=lambda: dialog.submit(False)).props("flat dense")
            ui.button(yes, on_click=lambda: dialog.submit(True)).props(
                f"unelevated dense {'color=negative' if danger else ''}"
            )
    said, value = await dialog, made.value
    dialog.delete()
    return value if said else NO


async def act(visit: Visit, role: Role, request: Callable[[], Awaitable[Any]], *, quiet: bool = False) -> bool:
    """Do something for the user, if it may, and say what came of it. Whether it was done or will be.

    quiet: what worked shows by itself and is not said.
    """
    _ = visit.text
    visit.checked_at_s = 0.0
    if not await visit.admitted():
        ui.navigate.to("/login")
        return False
    if not visit.viewer.may(role):
        ui.notify(_("Your role does not allow this."), type="warning")
        return False
    try:
        done = await request()
    except PermanentError as error:
        ui.notify(str(error), type="negative")
        return False
    except (TemporaryError, PyMongoError) as error:
        log.warning("page_action_failed", error=str(error))
        ui.notify(_("It could not be asked for: the database does not answer."), type="negative")
        return False
    return True if quiet else _say(visit, done)


def _say(visit: Visit, done: Any) -> bool:
    _ = visit.text
    if not isinstance(done, Asked):
        ui.notify(_("Done."), type="positive")
        return True
    if done.state == "refused":
        ui.notify(f"{_('Refused')}: {done.reason or ''}", type="negative")
        return False
    if done.state == "pending":
        ui.notify(_("Asked for; it is done as soon as its service answers."), type="info")
    else:
        ui.notify(_("Done."), type="positive")
    return True
