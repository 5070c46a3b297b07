"""Recipients: who is told of alerts. One recipient's form: recipient.py. Called by: pages/__init__.py."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from services.console.core.access import ALL_ACCOUNTS, Role
from services.console.pages.alerting import RECIPIENTS, draw_tabs, severities
from services.console.pages.frame import ALERTS, add_page, card, heading
from services.console.pages.language import LANGUAGES
from services.console.pages.markup import Html, badge, button, link, mono, table, tag
from services.console.pages.texts import words
from services.console.pages.visit import Live, Visit, act, confirm, keep_fresh
from services.console.store.context import Context
from services.console.store.recipients import delete_recipient, list_recipients, send_test
from shared.domain.recipients import RECIPIENTS_MAX

REFRESH_S = 3.0


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, RECIPIENTS, ALERTS, build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text

    async def clicked(action: str, key: str) -> None:
        account, __, name = key.partition("/")
        if action == "test":
            await act(visit, Role.OPERATOR, lambda: send_test(visit.context, visit.viewer, account, name, None))
        elif action == "remove":
            question = f"{key}: {_('Remove this recipient? Rules that name it tell the default ones then.')}"
            if await confirm(visit, question, _("Remove"), danger=True):
                await act(visit, Role.ADMIN, lambda: delete_recipient(visit.context, visit.viewer, account, name))
        await refresh()

    heading(_("Recipients"))
    draw_tabs(visit, RECIPIENTS)
    with card(_("Who is told of alerts")):
        rows = Live(clicked, classes="stack")
        if visit.viewer.may(Role.ADMIN):
            with ui.row().classes("asks"):
                ui.link(_("New recipient"), f"{RECIPIENTS}/edit").classes("act good")

    async def refresh() -> None:
        listed = await list_recipients(visit.context, visit.viewer, None, RECIPIENTS_MAX, None)
        rows.show(_table(visit, sorted(listed.items, key=lambda one: str(one["_id"]))))

    await keep_fresh(visit, refresh, REFRESH_S)


def _table(visit: Visit, recipients: list[dict[str, Any]]) -> Html:
    _ = visit.text
    rows = [
        (
            link(one["_id"], f"{RECIPIENTS}/edit?{urlencode({'recipient': one['_id']})}"),
            one.get("title") or "",
            LANGUAGES.get(one["language"], one["language"]),
            [_channel(visit, way) for way in one["channels"]],
            _("at certain hours") if one.get("hours") else _("always"),
            _("by rules that name nobody, too") if one["default"] else _("only by rules that name it"),
            badge("ready", words(_)["on"]) if one["enabled"] else badge("stopped", words(_)["off"]),
            _buttons(visit, one),
        )
        for one in recipients
    ]
    columns = (
        _("Recipient"), _("Title"), _("Language"), _("By"), _("When"), _("Is told"), _("State"), "",
    )  # fmt: skip
    empty = _("Nobody yet: whom the settings of alerts name is told.")
    return table(columns, rows, empty, classes=("keep", "", "", "", "", "", "", "acts"))


def _channel(visit: Visit, channel: dict[str, Any]) -> Html:
    _ = visit.text
    least = channel["min_severity"]
    parts: list[Any] = [channel["kind"], " ", mono(channel["address"])]
    if least != "info":
        parts += [" ", badge(least, f"{_('at least')} {severities(visit).get(least, least)}")]
    return tag("div", parts)


def _buttons(visit: Visit, recipient: dict[str, Any]) -> Any:
    _ = visit.text
    account = recipient.get("account") or ALL_ACCOUNTS
    key = f"{account}/{recipient['name']}"
    found: list[Html] = []
    if visit.viewer.may(Role.OPERATOR) and recipient["enabled"]:
        found.append(button(_("Send a test"), "test", key, "good"))
    if visit.viewer.may(Role.ADMIN):
        found.append(button(_("Remove"), "remove", key, "bad"))
    return found
