"""One decision: the question with its picture, and the answer."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from services.console.core.access import Role
from services.console.pages.answering import answer_in_words, answer_with, copy_link, due, who
from services.console.pages.frame import DECISIONS, add_page, card, heading
from services.console.pages.markup import Html, facts, link, mono, tag
from services.console.pages.texts import state
from services.console.pages.visit import Live, Visit, keep_fresh
from services.console.store.context import Context
from services.console.store.decisions import get_decision
from shared.domain.decision import DecisionState
from shared.errors import PermanentError
from shared.obs.clock import now


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, f"{DECISIONS}/{{decision}}", DECISIONS, build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    address = visit.path["decision"]
    try:
        decision = await get_decision(visit.context, visit.viewer, address)
    except PermanentError as error:
        heading(_("Decision"))
        ui.label(str(error)).classes("empty")
        return
    heading(_("Decision"), tag("small", f"{decision['account']}/{decision['workflow']}"))
    with ui.element("div").classes("split"):
        with card(_("Question")):
            ui.html(tag("div", decision["question"], class_="question"), sanitize=False)
            buttons = _draw_buttons(visit, decision)
            ui.html(_picture(visit, decision), sanitize=False).classes("asked")
        with card(_("Where it stands")):
            standing = Live()

    async def refresh() -> None:
        found = await get_decision(visit.context, visit.viewer, address)
        buttons.set_visibility(found["state"] == DecisionState.OPEN and visit.viewer.may(Role.OPERATOR))
        standing.show(_standing(visit, found))

    await keep_fresh(visit, refresh)


def _draw_buttons(visit: Visit, decision: dict[str, Any]) -> ui.element:
    _ = visit.text
    with ui.row().classes("choices") as row:
        for option in decision.get("options") or []:
            ui.button(option, on_click=lambda option=option: answer_with(visit, decision, option)).props(
                "unelevated dense"
            )
        if not decision.get("options"):
            ui.button(_("Answer now"), on_click=lambda: answer_in_words(visit, decision)).props("unelevated dense")
        ui.button(_("Copy link"), icon="link", on_click=lambda: copy_link(visit, decision)).props("outline dense")
    return row


def _picture(visit: Visit, decision: dict[str, Any]) -> Html:
    _ = visit.text
    if not decision.get("image"):
        return Html("")
    source = f"/api/v1/evidence/{decision['image']}"
    picture = tag("img", src=source, alt=_("Picture that goes with the question"))
    return tag("p", tag("a", picture, href=source, target="_blank"))


def _standing(visit: Visit, decision: dict[str, Any]) -> Html:
    _ = visit.text
    task, run = decision.get("task"), str(decision["run"])
    return facts(
        [
            (_("State"), state(_, decision["state"])),
            (_("Answer"), decision.get("answer")),
            (_("By"), who(visit, decision)),
            (_("When"), visit.moment(decision.get("at"))),
            (_("Asked at"), visit.moment(decision["asked_at"])),
            (_("Answer until"), due(visit, decision, now())),
            (_("Without an answer"), decision.get("default")),
            (_("Task"), link(mono(task), f"/tasks/{task}") if task else ""),
            (_("Run"), link(mono(run), f"/runs/{run}")),
            (_("Robot"), mono(decision["worker"]) if decision.get("worker") else ""),
        ]
    )
