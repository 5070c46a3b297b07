"""The questions that a task or a run waits for, with the way to answer them.

Called by: task.py, run.py.
"""

from __future__ import annotations

from typing import Any

from nicegui import ui

from services.console.core.access import Role
from services.console.pages.answering import due
from services.console.pages.frame import DECISIONS
from services.console.pages.markup import Html, link, tag
from services.console.pages.visit import Live, Visit
from services.console.store.decisions import list_decisions
from shared.domain.decision import DecisionState, address_of
from shared.obs.clock import now

SHOWN_MAX = 5


class OpenDecisions:
    """A part of the page that is there while a question is open."""

    def __init__(self, visit: Visit) -> None:
        _ = visit.text
        self._visit = visit
        with ui.element("section").classes("part decision asking") as self._part:
            ui.html(tag("h2", _("A script waits for an answer")), sanitize=False)
            self._shown = Live()
        self._part.set_visibility(False)

    async def refresh(self, *, task: str | None = None, run: str | None = None) -> None:
        """Ask again for the open ones of a task, or of a run."""
        listed = await list_decisions(
            self._visit.context, self._visit.viewer, task=task, run=run, state=DecisionState.OPEN, limit=SHOWN_MAX
        )
        self._part.set_visibility(bool(listed.items))
        self._shown.show(tag("div", [_one(self._visit, one) for one in listed.items]))


def _one(visit: Visit, decision: dict[str, Any]) -> Html:
    _ = visit.text
    address = f"{DECISIONS}/{address_of(str(decision['_id']))}"
    until = due(visit, decision, now())
    may = visit.viewer.may(Role.OPERATOR)
    parts = [
        tag("div", link(decision["question"], address, "wrap"), class_="question"),
        tag("div", _("Answer until"), " ", until) if until else None,
        tag("div", link(_("Answer now") if may else _("Look at it"), address, "act good")),
    ]
    return tag("div", parts, class_="ask-here")
