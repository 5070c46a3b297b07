"""What the pages about alerts do alike: their tabs, names of rules, what an alert is about, acknowledging, silencing.

Called by: alerts.py, alert.py, rules.py, rule.py, recipients.py, recipient.py, silences.py. Change also:
shared/domain/alert_rules.py (kinds).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from nicegui import ui

from services.console.core.access import Role
from services.console.pages.frame import ALERTS
from services.console.pages.markup import Html, join, link, mono, tag
from services.console.pages.visit import NO, Visit, act, confirm_with
from services.console.store.alerts import acknowledge
from services.console.store.silences import silence_alert
from shared.domain.alert_rules import AlertSeverity, RuleKind
from shared.domain.decision import address_of

RULES, RECIPIENTS, SILENCES = "/rules", "/recipients", "/silences"
NOTE_MAX = 500
HOUR = 3600.0


def draw_tabs(visit: Visit, here: str) -> None:
    """The way between the pages about alerts."""
    _ = visit.text
    pages = [(ALERTS, _("Alerts")), (SILENCES, _("Silences")), (RECIPIENTS, _("Recipients")), (RULES, _("Rules"))]
    links = [link(name, path, "here" if path == here else None) for path, name in pages]
    ui.html(tag("nav", links, class_="tabs"), sanitize=False)


def severities(visit: Visit) -> dict[str, str]:
    """How bad, as people call it."""
    _ = visit.text
    names = {"info": _("info"), "warning": _("warning"), "error": _("error"), "critical": _("critical")}
    return {one.value: names[one.value] for one in AlertSeverity}


def rule_names(visit: Visit) -> dict[str, str]:
    """What rules of each kind look for, as people call it."""
    _ = visit.text
    return {
        RuleKind.WORKFLOW_IDLE: _("No new tasks"),
        RuleKind.TASK_WAITING: _("A task waits too long"),
        RuleKind.TASK_RUNNING: _("A task runs too long"),
        RuleKind.DEADLINE_DANGER: _("A deadline is in danger"),
        RuleKind.FAILURE_RATE: _("Too many tasks fail"),
        RuleKind.RUN_STUCK: _("A run makes no progress"),
        RuleKind.ROBOT_LOST: _("A robot is lost"),
        RuleKind.ROBOT_FROZEN: _("A robot is frozen"),
        RuleKind.ROBOT_QUARANTINED: _("A robot is in quarantine"),
        RuleKind.UNAUTHORISED_ATTEMPT: _("Somebody tried what is not allowed"),
        RuleKind.LIMIT_WARNING: _("A limit is nearly used up"),
        RuleKind.LIMIT_REACHED: _("A limit is reached"),
        RuleKind.DECISION_WAITING: _("A decision waits"),
        RuleKind.TASK_IN_DOUBT: _("A task is in doubt"),
        RuleKind.WORKFLOW_HELD: _("A workflow is held"),
        RuleKind.SCENARIO_HELD: _("A scenario is held"),
        RuleKind.DELIVERY_DEAD: _("Deliveries were given up"),
        RuleKind.ENDPOINT_DOWN: _("An endpoint is down"),
        RuleKind.ENDPOINT_DISABLED: _("An endpoint is disabled"),
        RuleKind.POLLER_FAILING: _("A source fails"),
        RuleKind.SERVICE_DOWN: _("A service is down"),
        RuleKind.BROKER_UNHEALTHY: _("The broker is not well"),
        RuleKind.QUEUE_DEEP: _("A queue is deep"),
        RuleKind.DATABASE_UNHEALTHY: _("The database is not well"),
        RuleKind.CANARY_FAILING: _("The canary does not come through"),
    }


def about(alert: Mapping[str, Any]) -> Html:
    """What an alert is about, as a link to its page."""
    target = str(alert["target"])
    kind, __, name = target.partition("/")
    match kind:
        case "worker":
            return link(mono(name), f"/fleet#{quote(name)}")
        case "task" | "run":
            return link(mono(f"{kind} …{name[-8:]}"), f"/{kind}s/{quote(name)}")
        case "workflow":
            return link(name, f"/workflows/{quote('/'.join(name.split('/')[:2]))}")
        case "endpoint":
            return link(name, f"/endpoints?{urlencode({'endpoint': name})}")
        case "source":
            return link(name, f"/sources/{quote(name)}")
        case "decision":
            return link(mono(f"{kind} …{name[-17:]}"), f"/decisions/{quote(address_of(name))}")
        case _:
            return link(target, "/") if kind in ("service", "queue", "broker", "database") else mono(target)


def who_looks(visit: Visit, alert: Mapping[str, Any], at: datetime) -> Html:
    """Who looks at it, and until when it is silenced."""
    _ = visit.text
    parts: list[Any] = []
    if acked := alert.get("acked"):
        parts.append(tag("span", acked["by"], title=acked.get("note") or None))
    until = alert.get("silenced_until")
    if until is not None and until > at:
        parts.append(tag("span", f"{_('silenced until')} {visit.moment(until)}", class_="badge"))
    return join([part for one in parts for part in (one, " ")])


async def take(visit: Visit, id: str) -> None:
    """Say that you look at it, with a note."""
    _ = visit.text

    def field() -> Any:
        return ui.input(label=_("What is being done about it (may stay empty)")).props(f"maxlength={NOTE_MAX}")

    note = await confirm_with(visit, _("Say that you look at it? It is not told again until it is over."),
                              _("Acknowledge"), field)  # fmt: skip
    if note is not NO:
        await act(visit, Role.OPERATOR, lambda: acknowledge(visit.context, visit.viewer, id, True, str(note or "")))


async def give_back(visit: Visit, id: str) -> None:
    """Nobody looks at it any more."""
    await act(visit, Role.OPERATOR, lambda: acknowledge(visit.context, visit.viewer, id, False, None))


async def silence(visit: Visit, id: str) -> None:
    """Let nobody be told of it for a time."""
    _ = visit.text
    made = await ask_silence(visit)
    if made is not None:
        for_s, reason, whole_rule = made

        async def ask() -> None:
            await silence_alert(
                visit.context, visit.viewer, id, for_s=for_s, reason=reason, whole_rule=whole_rule
            )  # fmt: skip

        await act(visit, Role.OPERATOR, ask)


def durations(visit: Visit) -> dict[float, str]:
    """How long a silence may be, in seconds."""
    _ = visit.text
    return {
        HOUR / 2: _("half an hour"),
        HOUR: _("an hour"),
        4 * HOUR: _("4 hours"),
        12 * HOUR: _("12 hours"),
        24 * HOUR: _("a day"),
        7 * 24 * HOUR: _("a week"),
        30 * 24 * HOUR: _("30 days"),
    }


async def ask_silence(visit: Visit) -> tuple[float, str, bool] | None:
    """How long, why, and whether all of its rule; none: it was not meant."""
    _ = visit.text
    with ui.dialog() as dialog, ui.card().classes("ask"):
        ui.label(_("Let nobody be told of it for a time? What is still wrong at the end is told then."))
        how_long = ui.select(durations(visit), label=_("How long"), value=HOUR)
        reason = ui.input(label=f"{_('Why (for the others)')} *").props(f"maxlength={NOTE_MAX} autofocus")
        for one in (how_long, reason):
            one.props("outlined dense").classes("full")
        whole = ui.checkbox(_("All that its rule finds in its account")).props("dense")
        with ui.row().classes("asks"):
            ui.button(_("No"), on_click=lambda: dialog.submit(False)).props("flat dense")

            def submit() -> None:
                if str(reason.value or "").strip():
                    dialog.submit(True)
                else:
                    ui.notify(_("Fill this in."), type="warning")

            ui.button(_("Silence"), on_click=submit).props("unelevated dense")
    said = await dialog
    found = (float(how_long.value or HOUR), str(reason.value or "").strip(), bool(whole.value))
    dialog.delete()
    return found if said else None
