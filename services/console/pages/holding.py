"""Whether a workflow takes tasks, how much of its limits is used, and the buttons that hold and release it.

Called by: overview.py, workflow.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nicegui import ui

from services.console.core.access import Role
from services.console.pages.markup import Html, age, badge, button, tag
from services.console.pages.texts import words
from services.console.pages.visit import NO, Visit, act, confirm, confirm_with
from services.console.store.circuits import hold, release
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
    return tag("span", badge(word, named.get(word, word)), " " if since else None, since, why, class_="stands")


def hold_buttons(visit: Visit, key: str, held: bool) -> Any:
    """Hold or release; nothing for those who may not."""
    _ = visit.text
    if not visit.viewer.may(Role.OPERATOR):
        return ""
    return button(_("Release"), "release", key, "good") if held else button(_("Hold"), "hold", key)


async def hold_or_release(visit: Visit, action: str, key: str) -> None:
    """A click on one of these buttons. key: account/name."""
    _ = visit.text
    account, _slash, name = key.partition("/")
    if action == "hold":
        question = f"{key}: {_('Take no more tasks of this workflow? What runs goes on.')}"
        text = await confirm_with(visit, question, _("Hold"), lambda: ui.input(label=_("Why (shown with its tasks)")))
        if text is not NO:
            await act(visit, Role.OPERATOR, lambda: hold(visit.context, visit.viewer, account, name, text or ""))
    elif action == "release":
        question = f"{key}: {_('Take tasks of this workflow again? See first that what it was held for is gone.')}"
        if await confirm(visit, question, _("Release")):
            await act(visit, Role.OPERATOR, lambda: release(visit.context, visit.viewer, account, name))
