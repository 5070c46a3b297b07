"""One alert: what is wrong since when, its facts and evidence, what to do, who looks at it, and who was told.

Called by: pages/__init__.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from services.console.core.access import Role
from services.console.pages.alerting import (
    RULES,
    about,
    draw_tabs,
    give_back,
    rule_names,
    severities,
    silence,
    take,
    who_looks,
)
from services.console.pages.evidence import Lightbox, thumbnails
from services.console.pages.frame import ALERTS, add_page, card, heading
from services.console.pages.markup import Html, badge, facts, join, link, mono, seconds, strip, table, tag
from services.console.pages.texts import state, words
from services.console.pages.visit import Live, Visit, keep_fresh
from services.console.store.alerts import get_alert, told
from services.console.store.context import Context
from services.console.store.runs import list_evidence
from services.console.store.silences import with_silence
from shared.domain.alert_rules import RUNBOOK_PAGE
from shared.domain.alert_state import AlertState
from shared.obs.clock import now

REFRESH_S = 2.0
PICTURES_MAX = 12


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, f"{ALERTS}/{{alert}}", ALERTS, build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    id = visit.path["alert"]
    heading(_("Alert"))
    draw_tabs(visit, "")
    with card(_("What is wrong")):
        head = Live()
        buttons = _draw_buttons(visit, id)
    with ui.element("div").classes("split"):
        with ui.element("div"):
            with card(_("History")):
                history = Live()
            with card(_("Who was told")):
                messages = Live()
        with ui.element("div").classes("side"):
            with card(_("Facts")):
                known = Live()
            with card(_("Evidence")):
                pictures = Live(Lightbox(visit).on_click)

    async def refresh() -> None:
        alert = (await with_silence(visit.context, [await get_alert(visit.context, visit.viewer, id)]))[0]
        head.show(_head(visit, alert))
        firing = alert["state"] == AlertState.FIRING and visit.viewer.may(Role.OPERATOR)
        wanted = {"take": firing and not alert.get("acked"), "back": firing and bool(alert.get("acked"))}
        for name, one in buttons.items():
            one.set_visibility(wanted.get(name, firing))
        history.show(_history(visit, alert))
        messages.show(_messages(visit, await told(visit.context, visit.viewer, id)))
        known.show(_facts(alert))
        pictures.show(thumbnails(visit, await _pictures(visit, alert)))

    await keep_fresh(visit, refresh, REFRESH_S)


def _draw_buttons(visit: Visit, id: str) -> dict[str, Any]:
    """All of them, of which refresh shows what is possible."""
    _ = visit.text
    with ui.row().classes("filters"):
        return {
            "take": ui.button(_("Acknowledge"), icon="pan_tool", on_click=lambda: take(visit, id)).props(
                "unelevated dense size=sm"
            ),
            "back": ui.button(_("Take back"), icon="undo", on_click=lambda: give_back(visit, id)).props(
                "outline dense size=sm"
            ),
            "silence": ui.button(_("Silence"), icon="notifications_off", on_click=lambda: silence(visit, id)).props(
                "outline dense size=sm"
            ),
        }


def _head(visit: Visit, alert: dict[str, Any]) -> Html:
    _ = visit.text
    at = now()
    rule = str(alert["rule"])
    named = severities(visit).get(alert["severity"], alert["severity"])
    end = alert.get("resolved_at") or at
    lasting = strip(
        [
            ("", [badge(alert["severity"], named), state(_, alert["state"])]),
            (_("About"), about(alert)),
            (_("Account"), alert.get("account")),
            (_("Rule"), link(rule_names(visit).get(alert["kind"], rule), f"{RULES}/edit?rule={rule}")),
            (_("Since"), visit.moment(alert["since"])),
            (_("For"), seconds((end - alert["since"]).total_seconds())),
            (_("Events"), alert.get("count") or ""),
            (_("Looked at by"), who_looks(visit, alert, at)),
        ]
    )
    return join([tag("p", alert["text"], class_="why wrap"), lasting, _what_to_do(visit, alert)])


def _what_to_do(visit: Visit, alert: Mapping[str, Any]) -> Html:
    _ = visit.text
    kind = str(alert["kind"])
    where = visit.context.settings.alerts_runbook_url.replace("{kind}", kind)
    if not where:
        shown = link(_("the page for this kind of alert"), RUNBOOK_PAGE.replace("{kind}", kind))
    elif where.startswith(("http://", "https://")):
        shown = tag("a", where, href=where, target="_blank", rel="noopener noreferrer")
    else:
        shown = mono(where)
    return tag("p", f"{_('What to do')}: ", shown)


def _history(visit: Visit, alert: Mapping[str, Any]) -> Html:
    """What happened to it, the oldest first."""
    _ = visit.text
    acked = alert.get("acked") or {}
    why = {"over": _("it is over"), "rule": _("its rule no longer asks for it")}
    held = (alert.get("notify") or {}).get("held") if alert["state"] == AlertState.FIRING else None
    reasons = {"silence": _("a silence"), "nobody": _("there is nobody to tell")}
    steps: list[tuple[Any, str, Any]] = [
        (alert["since"], _("it began"), ""),
        (alert.get("created_at"), _("it was found"), ""),
        (alert.get("fired_at"), _("people are told"), f"{_('held back')}: {reasons.get(held, held)}" if held else ""),
        (acked.get("at"), f"{acked.get('by')} {_('looks at it')}", acked.get("note") or ""),
        (alert.get("resolved_at"), _("it ended"), why.get(str(alert.get("resolved_why")), "")),
    ]
    rows = [(visit.moment(at), text, tag("span", more, class_="wrap")) for at, text, more in steps if at is not None]
    return table((_("When"), _("What"), ""), rows, "", classes=("keep", "", ""))


def _messages(visit: Visit, found: list[dict[str, Any]]) -> Html:
    _ = visit.text
    said = {
        "firing": _("fires"), "more": _("more of it"), "repeat": _("still so"), "resolved": _("over"),
        "test": words(_)["test"],
    }  # fmt: skip
    rows = [
        (
            visit.moment(one.get("sent_at") or one["opened_at"]),
            one["recipient"],
            one["kind"],
            ", ".join(said.get(what, what) for what in one["what"]),
            state(_, one["state"]),
            tag("span", one.get("reason") or _trouble(one), class_="wrap"),
        )
        for one in found
    ]
    columns = (_("When"), _("Recipient"), _("By"), _("What"), _("State"), _("Why"))
    return table(columns, rows, _("Nobody was told yet."), classes=("keep", "", "", "", "", ""))


def _trouble(message: Mapping[str, Any]) -> str:
    """Why the last attempt failed, while it is tried again."""
    attempts = message.get("attempts") or [{}]
    return str(attempts[-1].get("error") or "") if message["state"] == "retrying" else ""


def _facts(alert: Mapping[str, Any]) -> Html:
    shown = []
    for name, value in (alert.get("facts") or {}).items():
        if name == "task" and isinstance(value, str):
            value = link(mono(value), f"/tasks/{value}")
        elif name == "run" and isinstance(value, str):
            value = link(mono(value), f"/runs/{value}")
        elif name == "worker" and isinstance(value, str):
            value = link(mono(value), f"/fleet#{value}")
        elif isinstance(value, list):
            value = ", ".join(str(one) for one in value[:20])
        shown.append((name, value if isinstance(value, Html) else str(value)))
    return facts(shown) if shown else Html("")


async def _pictures(visit: Visit, alert: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The newest evidence of the task or the run that it is about."""
    known = alert.get("facts") or {}
    kind, __, name = str(alert["target"]).partition("/")
    task = known.get("task") or (name if kind == "task" else None)
    run = known.get("run") or (name if kind == "run" else None)
    if not task and not run:
        return []
    found = await list_evidence(visit.context, visit.viewer, task, run=run)
    return found[-PICTURES_MAX:]
