"""Events: what happened that people may want to be told of, newest first."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from services.console.pages.frame import add_page, card, heading
from services.console.pages.markup import Html, badge, link, mono, table, tag
from services.console.pages.texts import words
from services.console.pages.visit import Live, Visit, keep_fresh
from services.console.store.context import Context
from services.console.store.events import list_events
from shared.domain.decision import address_of
from shared.domain.events import EventKind, Severity

ROWS = 50


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, "/events", "/events", build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    heading(_("Events"))
    wanted = {name: visit.query.get(name, "") for name in ("severity", "kind", "target")}
    _draw_filters(visit, wanted)
    with card(_("Newest first")):
        rows = Live()
        more = Live()

    async def refresh() -> None:
        named = {name: value or None for name, value in wanted.items()}
        listed = await list_events(visit.context, visit.viewer, limit=ROWS, cursor=visit.query.get("cursor"), **named)
        rows.show(_table(visit, listed.items))
        more.show(_next(visit, wanted, listed.next))

    await keep_fresh(visit, refresh)


def kinds(visit: Visit) -> dict[EventKind, str]:
    """What happened, as people call it."""
    _ = visit.text
    return {
        EventKind.LIMIT_WARNING: _("limit nearly used up"),
        EventKind.LIMIT_REACHED: _("limit reached"),
        EventKind.WORKFLOW_HELD: _("workflow held"),
        EventKind.SCENARIO_HELD: _("scenario held"),
        EventKind.WORKFLOW_RELEASED: _("workflow released"),
        EventKind.LOGIN_REJECTED: _("log-in rejected"),
        EventKind.ROBOT_QUARANTINED: _("robot in quarantine"),
        EventKind.ROBOT_DRAINED: _("robot drained"),
        EventKind.RUN_STALLED: _("run stalled"),
        EventKind.RUN_WANTS_ROBOT: _("run wants a robot"),
        EventKind.TASK_TIMED_OUT: _("task timed out"),
        EventKind.DECISION_ASKED: _("decision asked"),
        EventKind.ENDPOINT_DOWN: _("endpoint down"),
        EventKind.ENDPOINT_UP: _("endpoint up again"),
        EventKind.ENDPOINT_DISABLED: _("endpoint disabled"),
        EventKind.LEADER_REPLACED: _("another instance leads"),
        EventKind.TWO_LEADERS: _("two may have led"),
        EventKind.UNAUTHORISED_ATTEMPT: _("unauthorised attempt"),
    }


def _draw_filters(visit: Visit, wanted: dict[str, str]) -> None:
    """Selects and a field; a change opens the list anew, so that every list has an address of its own."""
    _ = visit.text

    def reopen(name: str, value: Any) -> None:
        chosen = {**wanted, name: value or ""}
        ui.navigate.to("/events?" + urlencode({key: one for key, one in chosen.items() if one}))

    named = words(_)
    severities = {"": _("every severity"), **{one.value: named[one.value] for one in Severity}}
    all_kinds = {"": _("every kind"), **{kind.value: name for kind, name in kinds(visit).items()}}
    with ui.row().classes("filters"):
        ui.select(
            severities,
            label=_("Severity"),
            value=wanted["severity"] if wanted["severity"] in severities else "",
            on_change=lambda event: reopen("severity", event.value),
        ).props("outlined dense options-dense")
        ui.select(
            all_kinds,
            label=_("Kind"),
            value=wanted["kind"] if wanted["kind"] in all_kinds else "",
            on_change=lambda event: reopen("kind", event.value),
        ).props("outlined dense options-dense")
        field = ui.input(label=_("About (workflow, robot, run or task)"), value=wanted["target"])
        field.props("outlined dense clearable").style("min-width: 320px")
        field.on("keydown.enter", lambda: reopen("target", field.value))
        field.on("clear", lambda: reopen("target", ""))


def _table(visit: Visit, events: list[dict[str, Any]]) -> Html:
    _ = visit.text
    named = words(_)
    kind_names = {kind.value: name for kind, name in kinds(visit).items()}
    rows = [
        (
            visit.moment(one["at"]),
            badge(one["severity"], named.get(one["severity"], one["severity"])),
            kind_names.get(one["kind"], one["kind"]),
            one.get("account") or "",
            _target(one),
            tag("span", one.get("text") or "", class_="wrap"),
        )
        for one in events
    ]
    columns = (_("When"), _("Severity"), _("Kind"), _("Account"), _("About"), _("What"))
    return table(columns, rows, _("No event matches."), classes=("keep", "", "keep", "", "keep", ""))


def _target(event: dict[str, Any]) -> Any:
    """What it is about, as a link to its page."""
    target = str(event.get("target") or "")
    if target.startswith("task_"):
        return link(mono(f"task …{target[-8:]}"), f"/tasks/{target}")
    if event["kind"] == EventKind.DECISION_ASKED:
        return link(mono(f"decision …{target[-17:]}"), f"/decisions/{address_of(target)}")
    if target.startswith("run_"):
        return link(mono(f"run …{target[-8:]}"), f"/runs/{target}")
    if target.count("/") == 1:
        return link(target, f"/workflows/{target}")
    return link(mono(target), f"/fleet#{target}") if target and target != event.get("account") else target


def _next(visit: Visit, wanted: dict[str, str], cursor: str | None) -> Html:
    _ = visit.text
    kept = {name: value for name, value in wanted.items() if value}
    first = link(_("Newest"), "/events?" + urlencode(kept), "act") if visit.query.get("cursor") else None
    older = link(_("Older"), "/events?" + urlencode({**kept, "cursor": cursor}), "act") if cursor else None
    return tag("div", first, older, class_="pager")
