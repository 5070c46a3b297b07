"""What stands around every page: the menu on the left, the user at its foot, and the registration of a page.

Called by: every page. Change also: texts.py (names of the pages), static/console.css.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import Request
from nicegui import ui
from pymongo.errors import PyMongoError
from starlette.responses import Response

from services.console.pages.language import LANGUAGES
from services.console.pages.markup import tag
from services.console.pages.visit import Visit, enter
from services.console.store.context import Context
from services.console.store.decisions import COUNTED_MAX, count_open
from services.console.store.users import set_preferences
from services.console.store.watch import count_firing, silent_s
from shared.errors import TemporaryError

RESPONSE_TIMEOUT_S = 15.0
RECONNECT_TIMEOUT_S = 30.0
COUNT_EVERY_S = 5.0
DECISIONS = "/decisions"
ALERTS = "/alerts"
Build = Callable[[Visit], Awaitable[None]]
_ZONE_SCRIPT = (
    "<script>document.cookie='regente_zone='+Intl.DateTimeFormat().resolvedOptions().timeZone+"
    "';path=/;max-age=31536000;samesite=lax'</script>"
)


def menu(_: Callable[[str], str]) -> list[tuple[str, str, str]]:
    """The menu's entries: address, icon, name."""
    return [
        ("/", "dashboard", _("Overview")),
        ("/fleet", "smart_toy", _("Robots")),
        ("/tasks", "checklist", _("Tasks")),
        ("/runs", "play_circle", _("Runs")),
        (DECISIONS, "contact_support", _("Decisions")),
        (ALERTS, "notification_important", _("Alerts")),
        ("/workflows", "account_tree", _("Workflows")),
        ("/endpoints", "outbox", _("Endpoints")),
        ("/sources", "input", _("Sources")),
        ("/events", "notifications", _("Events")),
        ("/logs", "notes", _("Logs")),
    ]


def add_page(context: Context, path: str, section: str, build: Build) -> None:
    """Register a page: who is not logged in is sent to the log-in, for everybody else `build` fills the frame."""

    async def show(request: Request) -> Response | None:
        visit = await enter(context, request)
        if isinstance(visit, Response):
            return visit
        draw_frame(visit, section)
        with ui.element("main").classes("content"):
            _draw_silence(visit)
            await build(visit)
        return None

    ui.page(path, response_timeout=RESPONSE_TIMEOUT_S, reconnect_timeout=RECONNECT_TIMEOUT_S)(show)


def draw_frame(visit: Visit, section: str) -> None:
    """The menu and the page's settings."""
    _ = visit.text
    ui.page_title("Regente")
    ui.add_head_html('<link rel="stylesheet" href="/static/console.css">' + _ZONE_SCRIPT)
    ui.colors(primary="#0f766e", positive="#15803d", negative="#b91c1c", warning="#a15c07", info="#1d5fa8")
    dark = ui.dark_mode(visit.viewer.dark)
    with ui.left_drawer(value=True, fixed=True, bordered=False).props("width=200 breakpoint=700").classes("menu"):
        ui.html(tag("a", tag("span", class_="mark"), "Regente", href="/", class_="brand"), sanitize=False)
        for path, icon, name in menu(_):
            with ui.link(target=path).classes("entry" + (" here" if path == section else "")):
                ui.icon(icon)
                ui.label(name)
                if path in (DECISIONS, ALERTS):
                    _draw_count(visit, path)
        ui.element("div").classes("grow")
        _draw_user(visit, dark)


def _draw_count(visit: Visit, path: str) -> None:
    """How many decisions wait, or alerts fire that nobody looks at, behind the menu's entry; nothing when there are
    none."""
    _ = visit.text
    label = ui.label().classes("count")
    label.set_visibility(False)
    said = _("decisions wait") if path == DECISIONS else _("alerts that nobody looks at")

    async def count() -> None:
        with contextlib.suppress(TemporaryError, PyMongoError):  # the page itself says so
            number = await (count_open if path == DECISIONS else count_firing)(visit.context, visit.viewer)
            label.set_text(f"{number}+" if number >= COUNTED_MAX else str(number))
            label.props(f'aria-label="{number} {said}"')
            label.set_visibility(number > 0)

    ui.timer(COUNT_EVERY_S, count, immediate=True)


def _draw_silence(visit: Visit) -> None:
    """Above every page, for as long as it is so: nobody looks for what is wrong, so nobody will be told."""
    _ = visit.text
    bar = ui.label().classes("unwatched")
    bar.set_visibility(False)

    async def look() -> None:
        with contextlib.suppress(TemporaryError, PyMongoError):  # the page itself says so
            still_s = await silent_s(visit.context)
            bar.set_text(_("The service alerts is not at work: nobody is told when something is wrong."))
            bar.set_visibility(still_s is not None)

    ui.timer(COUNT_EVERY_S, look, immediate=True)


def _draw_user(visit: Visit, dark: Any) -> None:
    """Language, light or dark, log-out."""
    _ = visit.text

    async def choose(**preferences: Any) -> None:
        await set_preferences(visit.context, visit.viewer, preferences)

    async def change_language(language: str) -> None:
        await choose(language=language)
        ui.navigate.reload()

    async def change_light() -> None:
        wanted = not dark.value
        dark.set_value(wanted)
        await choose(dark=wanted)

    with ui.column().classes("user"):
        with ui.row().classes("tools"):
            ui.button(icon="contrast", color=None, on_click=change_light).props("flat round dense size=sm").tooltip(
                _("Light or dark")
            )
            button = ui.button(icon="translate", color=None).props("flat round dense size=sm").tooltip(_("Language"))
            with button, ui.menu():
                for code, name in LANGUAGES.items():
                    ui.menu_item(name, on_click=lambda code=code: change_language(code))
            form = tag(
                "form",
                tag("button", tag("i", "logout", class_="q-icon material-icons"), title=_("Log out"), class_="out"),
                method="post",
                action="/logout",
            )
            ui.html(form, sanitize=False)
        ui.label(visit.viewer.name).classes("name")
        ui.label(visit.viewer.role.value).classes("role")


def heading(title: str, *more: Any) -> None:
    """The page's title, with what stands behind it."""
    ui.html(tag("h1", title, *more), sanitize=False).classes("heading")


def card(title: str) -> ui.element:
    """A framed part of the page with a title; to be used in `with`."""
    element = ui.element("section").classes("part")
    with element:
        ui.html(tag("h2", title), sanitize=False)
    return element
