"""Answering decisions, and copying their links: what the list and the page of one decision do alike.

Called by: decisions.py, decision.py.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from nicegui import ui

from services.console.core.access import Role
from services.console.pages.markup import Html, tag
from services.console.pages.visit import NO, Visit, act, confirm, confirm_with
from services.console.store.decisions import answer, link_of
from shared.domain.decision import ANSWER_LENGTH_MAX, LINK, address_of
from shared.errors import PermanentError

SOON = timedelta(minutes=10)


async def answer_with(visit: Visit, decision: dict[str, Any], option: str) -> None:
    """One of the options was chosen: ask, and answer."""
    _ = visit.text
    question = f"{decision['question']}\n\n{_('Answer')}: {option}"
    if await confirm(visit, question, _("Answer now")):
        await _send(visit, decision, option)


async def answer_in_words(visit: Visit, decision: dict[str, Any]) -> None:
    """Ask for a text, and answer with it."""
    _ = visit.text

    def field() -> Any:
        return ui.textarea(label=_("Your answer")).props(f"autogrow autofocus maxlength={ANSWER_LENGTH_MAX}")

    text = await confirm_with(visit, decision["question"], _("Answer now"), field)
    if text is not NO and (text or "").strip():
        await _send(visit, decision, str(text).strip())


async def _send(visit: Visit, decision: dict[str, Any], text: str) -> None:
    await act(visit, Role.OPERATOR, lambda: answer(visit.context, visit.viewer, address_of(str(decision["_id"])), text))


async def copy_link(visit: Visit, decision: dict[str, Any]) -> None:
    """Show the link under which anybody may answer, and put it on the clipboard where the browser lets us."""
    _ = visit.text
    if not await visit.admitted() or not visit.viewer.may(Role.OPERATOR):
        ui.notify(_("Your role does not allow this."), type="warning")
        return
    try:
        url = await link_of(visit.context, visit.viewer, address_of(str(decision["_id"])))
    except PermanentError as error:
        ui.notify(str(error), type="negative")
        return
    with ui.dialog(value=True) as dialog, ui.card().classes("ask"):
        ui.label(_("Whoever has this link can answer, without a log-in."))
        ui.input(value=url).props("outlined dense readonly").classes("full mono link")
        with ui.row().classes("asks"):
            ui.button(_("Close"), on_click=dialog.close).props("flat dense")
            copy = ui.button(_("Copy")).props("unelevated dense")
            # in the browser, within the click: else it may not; the field is there for where it may not at all
            write = f"navigator.clipboard.writeText({json.dumps(url)})"
            copy.on("click", js_handler=f"() => navigator.clipboard && {write}")
    dialog.on("hide", dialog.delete)


def due(visit: Visit, decision: dict[str, Any], at: datetime) -> Html:
    """The deadline, marked when it is near."""
    due_at = decision.get("due_at")
    if due_at is None:
        return Html("")
    return tag("span", visit.moment(due_at), class_="soon" if due_at - at < SOON else None)


def who(visit: Visit, decision: dict[str, Any]) -> str:
    """Who answered."""
    _ = visit.text
    by = decision.get("by")
    return _("somebody with the link") if by == LINK else str(by or "")
