"""Decisions: questions of scripts that wait for people, answered here; below them, the newest that were answered."""

from __future__ import annotations

from typing import Any

from services.console.core.access import Role
from services.console.pages.answering import answer_in_words, answer_with, due, who
from services.console.pages.frame import DECISIONS, add_page, card, heading
from services.console.pages.markup import Html, age, button, link, mono, table, tag
from services.console.pages.texts import state
from services.console.pages.visit import Live, Visit, keep_fresh
from services.console.store.context import Context
from services.console.store.decisions import get_decision, list_decisions
from shared.domain.decision import DecisionState, address_of
from shared.obs.clock import now

ROWS = 50
BUTTONS_MAX = 4
BUTTON_LENGTH_MAX = 40


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, DECISIONS, DECISIONS, build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text

    async def clicked(action: str, key: str) -> None:
        address, __, number = key.partition("#")
        decision = await get_decision(visit.context, visit.viewer, address)
        options = decision.get("options") or []
        if action == "option" and number.isdigit() and int(number) < len(options):
            await answer_with(visit, decision, str(options[int(number)]))
        elif action == "words":
            await answer_in_words(visit, decision)

    heading(_("Decisions"))
    with card(_("Waiting for an answer")):
        waiting = Live(clicked)
    with card(_("Newest first")):
        ended = Live()

    async def refresh() -> None:
        open_ = await list_decisions(visit.context, visit.viewer, state=DecisionState.OPEN, limit=ROWS)
        newest = await list_decisions(visit.context, visit.viewer, limit=ROWS)
        waiting.show(_waiting(visit, open_.items))
        ended.show(_ended(visit, [one for one in newest.items if one["state"] != DecisionState.OPEN]))

    await keep_fresh(visit, refresh)


def _waiting(visit: Visit, decisions: list[dict[str, Any]]) -> Html:
    _ = visit.text
    at = now()
    rows = [
        (
            link(one["question"], _page_of(one), "wrap"),
            f"{one['account']}/{one['workflow']}",
            _work(one),
            age(one["asked_at"], at),
            due(visit, one, at),
            _buttons(visit, one),
        )
        for one in decisions
    ]
    columns = (_("Question"), _("Workflow"), _("Work"), _("Age"), _("Answer until"), "")
    return table(columns, rows, _("No script waits for an answer."), classes=("", "", "keep", "num", "keep", "acts"))


def _ended(visit: Visit, decisions: list[dict[str, Any]]) -> Html:
    _ = visit.text
    rows = [
        (
            link(one["question"], _page_of(one), "wrap"),
            f"{one['account']}/{one['workflow']}",
            _work(one),
            state(_, one["state"]),
            tag("span", one.get("answer") or "", class_="wrap"),
            who(visit, one),
            visit.moment(one.get("at")),
        )
        for one in decisions
    ]
    columns = (_("Question"), _("Workflow"), _("Work"), _("State"), _("Answer"), _("By"), _("When"))
    return table(columns, rows, _("Nothing yet."), classes=("", "", "keep", "", "", "", "keep"))


def _buttons(visit: Visit, decision: dict[str, Any]) -> Any:
    """The options, when they are few and short; else one button that leads to them. Nothing for viewers."""
    _ = visit.text
    if not visit.viewer.may(Role.OPERATOR):
        return ""
    options, address = decision.get("options") or [], address_of(str(decision["_id"]))
    if not options:
        return button(_("Answer now"), "words", address, "good")
    if len(options) > BUTTONS_MAX or any(len(one) > BUTTON_LENGTH_MAX for one in options):
        return link(_("Answer now"), _page_of(decision), "act good")
    return [button(one, "option", f"{address}#{number}") for number, one in enumerate(options)]


def _page_of(decision: dict[str, Any]) -> str:
    return f"{DECISIONS}/{address_of(str(decision['_id']))}"


def _work(decision: dict[str, Any]) -> list[Html]:
    """Its task and its run."""
    task, run = decision.get("task"), str(decision["run"])
    parts = [link(mono(f"task …{task[-8:]}"), f"/tasks/{task}"), Html(" ")] if task else []
    return [*parts, link(mono(f"run …{run[-8:]}"), f"/runs/{run}")]
