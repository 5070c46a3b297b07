"""Alerts: what is wrong now, and what was, newest first. One alert: alert.py. Called by: pages/__init__.py."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from services.console.core.access import Role
from services.console.pages.alerting import (
    about,
    draw_tabs,
    give_back,
    rule_names,
    severities,
    silence,
    take,
    who_looks,
)
from services.console.pages.frame import ALERTS, add_page, card, heading
from services.console.pages.markup import Html, age, badge, button, link, table, tag
from services.console.pages.texts import state, words
from services.console.pages.visit import Live, Visit, keep_fresh
from services.console.store.alerts import list_alerts
from services.console.store.context import Context
from services.console.store.listing import account_names
from services.console.store.silences import with_silence
from shared.domain.alert_state import AlertState
from shared.obs.clock import now

ROWS = 50
EVERY = "all"
"""In any state; without a choice, what fires is shown."""
FILTERS = ("state", "severity", "rule", "account", "acked")


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, ALERTS, ALERTS, build)


async def build(visit: Visit) -> None:
    """Draw the page; its filters stand in its address."""
    _ = visit.text

    async def clicked(action: str, key: str) -> None:
        await {"take": take, "back": give_back, "silence": silence}[action](visit, key)
        await refresh()

    heading(_("Alerts"))
    draw_tabs(visit, ALERTS)
    wanted = {name: visit.query.get(name, "") for name in FILTERS}
    await _draw_filters(visit, wanted)
    with card(_("Newest first")):
        rows = Live(clicked, classes="stack")
        more = Live()

    async def refresh() -> None:
        listed = await list_alerts(
            visit.context, visit.viewer, account=wanted["account"] or None, state=_state(wanted["state"]),
            rule=wanted["rule"] or None, severity=wanted["severity"] or None,
            acked={"yes": True, "no": False}.get(wanted["acked"]), limit=ROWS, cursor=visit.query.get("cursor"),
        )  # fmt: skip
        rows.show(_table(visit, await with_silence(visit.context, listed.items)))
        more.show(_pager(visit, wanted, listed.next))

    await keep_fresh(visit, refresh, 2.0)


def _state(wanted: str) -> str | None:
    if wanted == EVERY:
        return None
    return wanted if wanted in set(AlertState) else AlertState.FIRING.value


async def _draw_filters(visit: Visit, wanted: dict[str, str]) -> None:
    """A change opens the list anew, so that every list has an address of its own."""
    _ = visit.text

    def reopen(name: str, value: Any) -> None:
        ui.navigate.to(_address({**wanted, name: value or ""}))

    named = words(_)
    accounts = await account_names(visit.context) if visit.viewer.everywhere else list(visit.viewer.accounts)
    choices: dict[str, tuple[str, dict[str, str]]] = {
        "state": (
            _("State"),
            {"": named["firing"], "pending": named["pending"], "resolved": named["resolved"], EVERY: _("every state")},
        ),
        "severity": (_("Severity"), {"": _("every severity"), **severities(visit)}),
        "rule": (_("Rule"), {"": _("every rule"), **rule_names(visit)}),
        "account": (_("Account"), {"": _("every account"), **{one: one for one in accounts}}),
        "acked": (_("Looked at"), {"": _("all"), "no": _("no"), "yes": _("yes")}),
    }
    if wanted["rule"]:
        choices["rule"][1].setdefault(wanted["rule"], wanted["rule"])
    with ui.row().classes("filters"):
        for name, (label, options) in choices.items():
            ui.select(
                {str(key): text for key, text in options.items()},
                label=label,
                value=wanted[name] if wanted[name] in options else "",
                on_change=lambda event, name=name: reopen(name, event.value),
            ).props("outlined dense options-dense")


def _address(wanted: dict[str, str], **more: str) -> str:
    query = {name: value for name, value in {**wanted, **more}.items() if value}
    return f"{ALERTS}?{urlencode(query)}" if query else ALERTS


def _table(visit: Visit, alerts: list[dict[str, Any]]) -> Html:
    _ = visit.text
    at, named = now(), severities(visit)
    rows = [
        (
            badge(one["severity"], named.get(one["severity"], one["severity"])),
            state(_, one["state"]),
            link(one["text"], f"{ALERTS}/{one['_id']}", "wrap"),
            one.get("account") or "",
            about(one),
            age(one["since"], at),
            who_looks(visit, one, at),
            _buttons(visit, one),
        )
        for one in alerts
    ]
    columns = (
        _("Severity"), _("State"), _("What"), _("Account"), _("About"), _("Since"), _("Looked at by"), "",
    )  # fmt: skip
    empty = _("Nothing is wrong.") if not any(visit.query.values()) else _("No alert matches.")
    return table(columns, rows, empty, classes=("", "", "", "", "keep", "num", "", "acts"))


def _buttons(visit: Visit, alert: dict[str, Any]) -> Any:
    """For operators, of what fires."""
    _ = visit.text
    if alert["state"] != AlertState.FIRING or not visit.viewer.may(Role.OPERATOR):
        return ""
    id = str(alert["_id"])
    taken = alert.get("acked")
    return [
        button(_("Take back"), "back", id) if taken else button(_("Acknowledge"), "take", id, "good"),
        button(_("Silence"), "silence", id),
    ]


def _pager(visit: Visit, wanted: dict[str, str], cursor: str | None) -> Html:
    _ = visit.text
    first = link(_("Newest"), _address(wanted), "act") if visit.query.get("cursor") else None
    older = link(_("Older"), _address(wanted, cursor=cursor), "act") if cursor else None
    return tag("div", first, older, class_="pager")
