"""Whether a workflow takes tasks, how much of its limits is used, and the buttons that hold and release it.

Called by: overview.py, workflow.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import ui

from services.console.core.access import Role
from services.console.pages.markup import Html, age, badge, button, join, tag
from services.console.pages.texts import words
from services.console.pages.visit import NO, Visit, act, confirm, confirm_with
from services.console.store.circuits import hold, release
from shared.domain.gates import HoldMode
from shared.obs.clock import now

FULL_PERCENT = 100
NEARLY_PERCENT = 80


def limit_bars(visit: Visit, limits: Sequence[Mapping[str, Any]]) -> Html:
    """Each limit as a bar with its figures."""
    _ = visit.text
    names = {"hour": _("per hour"), "day": _("per day"), "month": _("per month")}
    return tag("div", [_limit(names.get(one["per"], one["per"]), one) for one in limits], class_="limits")


def _limit(name: str, limit: Mapping[str, Any]) -> Html:
    percent = min(FULL_PERCENT, FULL_PERCENT * limit["used"] / limit["max"])
    css = "full" if percent >= FULL_PERCENT else "nearly" if percent >= NEARLY_PERCENT else ""
    figures = tag("span", f"{limit['used']:,} / {limit['max']:,} {name}")
    return tag("div", tag("span", tag("i", style=f"width:{percent:.0f}%"), class_=f"bar {css}".strip()), figures)


def standing(visit: Visit, row: Mapping[str, Any]) -> Html:
    """Open, or why not and since when."""
    word = "open" if row["open"] else str(row["reason"] or "closed")
    _ = visit.text
    named = {**words(_), "held": _("on hold")}
    since = age(row["held_since"], now()) if row["held_since"] else None
    why = tag("span", row["why"], class_="said") if row["why"] else None
    held = [_held_scenario(visit, one) for one in row["held_scenarios"]]
    return tag("span", badge(word, named.get(word, word)), " " if since else None, since, why, *held, class_="stands")


def _held_scenario(visit: Visit, circuit: Mapping[str, Any]) -> Html:
    """A scenario that is held while the others of its workflow go on."""
    _ = visit.text
    text = f"{_('scenario')} {circuit['scenario']}: {circuit['text'] or ''}"
    return tag("span", badge("held", _("on hold")), " ", text, class_="said")


def hold_buttons(visit: Visit, key: str, row: Mapping[str, Any]) -> Any:
    """Hold or release, both where only scenarios are held; nothing for those who may not."""
    _ = visit.text
    if not visit.viewer.may(Role.OPERATOR):
        return ""
    hold_it, release_it = button(_("Hold"), "hold", key), button(_("Release"), "release", key, "good")
    if row["held_since"] is not None:
        return release_it
    return join([release_it, " ", hold_it]) if row["held_scenarios"] else hold_it


def _mode_field(visit: Visit) -> ui.select:
    """What becomes of the runs at work."""
    _ = visit.text
    modes = {
        HoldMode.PAUSE.value: _("go on to their end"),
        HoldMode.STOP.value: _("finish the task in hand"),
        HoldMode.ABORT.value: _("end now; instructions in flight are cut"),
    }
    field = ui.select(modes, label=_("Its runs"), value=HoldMode.STOP.value)
    return field.props("outlined dense options-dense").classes("full")


async def hold_or_release(visit: Visit, action: str, key: str) -> None:
    """A click on one of these buttons. key: account/name."""
    _ = visit.text
    account, _slash, name = key.partition("/")
    if action == "hold":
        question = f"{key}: {_('Take no more tasks of this workflow?')}"
        modes: list[ui.select] = []

        def fields() -> ui.input:
            modes.append(_mode_field(visit))
            return ui.input(label=_("Why (shown with its tasks)"))

        text = await confirm_with(visit, question, _("Hold"), fields)
        if text is not NO:
            mode = HoldMode(modes[0].value)
            await act(visit, Role.OPERATOR, lambda: hold(visit.context, visit.viewer, account, name, text or "", mode))
    elif action == "release":
        question = f"{key}: {_('Take tasks of this workflow again? See first that what it was held for is gone.')}"
        if await confirm(visit, question, _("Release")):
            await act(visit, Role.OPERATOR, lambda: release(visit.context, visit.viewer, account, name))
