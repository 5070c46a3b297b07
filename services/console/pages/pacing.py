"""What is learned of a workflow's waits, with the buttons that forget or freeze it.

Called by: workflow.py. Change also: store/pacing.py.
"""

from __future__ import annotations

from typing import Any

from nicegui import ui

from services.console.core.access import Role
from services.console.pages.markup import Html, age, badge, button, mono, seconds, table, tag
from services.console.pages.visit import Live, Visit, act, confirm, keep_fresh
from services.console.store.pacing import freeze, get_pacing, reset
from shared.obs.clock import now

REFRESH_S = 5.0
PLACES_SHOWN = 50
EVERYWHERE = ""


async def draw_pacing(visit: Visit, account: str, name: str) -> None:
    """The places, those with the most acts first, and the buttons for all of them."""
    _ = visit.text

    async def clicked(action: str, key: str) -> None:
        await _do(visit, account, name, action, key or None)
        await refresh()

    shown = Live(clicked)
    ui.label(_("How long instructions pause and wait is learned by place, within the bounds of the settings.")).classes(
        "hint"
    )

    async def refresh() -> None:
        shown.show(_view(visit, await get_pacing(visit.context, visit.viewer, account, name)))

    await keep_fresh(visit, refresh, REFRESH_S)


async def _do(visit: Visit, account: str, name: str, action: str, place: str | None) -> None:
    _ = visit.text
    where = place or _("every place of this workflow")
    if action == "reset":
        question = f"{_('Forget what was learned?')} {where}"
        if await confirm(visit, question, _("Forget"), danger=True):
            await act(visit, Role.OPERATOR, lambda: reset(visit.context, visit.viewer, account, name, place))
    elif action in ("freeze", "thaw"):
        on = action == "freeze"
        await act(visit, Role.OPERATOR, lambda: freeze(visit.context, visit.viewer, account, name, place, on))


def _view(visit: Visit, pacing: dict[str, Any]) -> Html:
    _ = visit.text
    modes = {"learn": _("learns"), "frozen": _("frozen"), "off": _("off")}
    mode = "frozen" if pacing["frozen"] else str(pacing["mode"])
    head = [
        badge("held" if pacing["frozen"] else "done", modes.get(mode, mode)),
        f"{pacing['robot_hours']:g} {_('robot hours')}",
    ]
    places = sorted(pacing["places"], key=lambda one: -one["samples"])
    more = len(places) - PLACES_SHOWN
    rest = tag("div", f"{more} {_('more; see the API')}", class_="hint") if more > 0 else None
    buttons = _buttons(visit, EVERYWHERE, pacing["frozen"]) if places else None
    return tag("div", tag("div", *head, " ", buttons), _table(visit, places[:PLACES_SHOWN]), rest)


def _table(visit: Visit, places: list[dict[str, Any]]) -> Html:
    _ = visit.text
    at = now()
    rows = [
        (
            mono(one["place"]),
            seconds(one["pause_s"]),
            seconds(one["found_nearly_all_s"]),
            f"{one['samples']:,}",
            f"{one['failures']:,}",
            age(one["seen_at"], at),
            badge("held", _("frozen")) if one["frozen"] else "",
            _buttons(visit, one["place"], one["frozen"]),
        )
        for one in places
    ]
    columns = (_("Place"), _("Pause"), _("Nearly all found within"), _("Acts"), _("Failures"), _("Seen"), "", "")
    return table(
        columns, rows, _("Nothing is learned yet."), classes=("", "num", "num", "num", "num", "num", "", "acts")
    )


def _buttons(visit: Visit, place: str, frozen: bool) -> Any:
    _ = visit.text
    if not visit.viewer.may(Role.OPERATOR):
        return ""
    hold = button(_("Learn again"), "thaw", place) if frozen else button(_("Freeze"), "freeze", place)
    return [hold, button(_("Forget"), "reset", place)]
