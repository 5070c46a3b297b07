"""Silences: of which alerts nobody is told for a time; made and ended here. Called by: pages/__init__.py."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from nicegui import ui

from services.console.core.access import ALL_ACCOUNTS, Role
from services.console.pages.alerting import HOUR, NOTE_MAX, SILENCES, draw_tabs, durations
from services.console.pages.frame import ALERTS, add_page, card, heading
from services.console.pages.markup import Html, badge, button, mono, table, tag
from services.console.pages.visit import Live, Visit, act, keep_fresh
from services.console.store.context import Context
from services.console.store.listing import account_names
from services.console.store.silences import end_silence, list_silences, make_silence
from shared.obs.clock import now

ROWS = 100
ENDED_SHOWN = 20
REFRESH_S = 3.0
SIGNS = {"eq": "=", "ne": "≠", "glob": "~"}


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, SILENCES, ALERTS, build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text

    async def clicked(action: str, key: str) -> None:
        await act(visit, Role.OPERATOR, lambda: end_silence(visit.context, visit.viewer, key))
        await refresh()

    heading(_("Silences"))
    draw_tabs(visit, SILENCES)
    with card(_("Held back now, or later")):
        standing = Live(clicked, classes="stack")
    if visit.viewer.may(Role.OPERATOR):
        accounts = await account_names(visit.context) if visit.viewer.everywhere else list(visit.viewer.accounts)
        with card(_("New silence")):
            New(visit, accounts, lambda: refresh()).draw()
    with card(_("Ended")):
        ended = Live(classes="stack")

    async def refresh() -> None:
        found = await list_silences(
            visit.context, visit.viewer, account=None, ended=False, limit=ROWS, cursor=None
        )  # fmt: skip
        over = await list_silences(
            visit.context, visit.viewer, account=None, ended=True, limit=ENDED_SHOWN, cursor=None
        )  # fmt: skip
        standing.show(_table(visit, found.items, _("Nothing is silenced."), live=True))
        ended.show(_table(visit, over.items, _("Nothing yet."), live=False))

    await keep_fresh(visit, refresh, REFRESH_S)


def fields(visit: Visit) -> dict[str, str]:
    """What a silence compares, as people call it."""
    _ = visit.text
    return {
        "rule": _("Rule"),
        "kind": _("Kind"),
        "severity": _("Severity"),
        "account": _("Account"),
        "workflow": _("Workflow"),
        "robot": _("Robot"),
        "service": _("Service"),
        "target": _("About"),
    }


class New:
    """The form of a new silence: up to four things that must all match."""

    def __init__(self, visit: Visit, accounts: list[str], made: Any) -> None:
        """made: awaited after one was made."""
        self._visit, self._accounts, self._made = visit, accounts, made
        self._matchers: list[tuple[Any, Any, Any]] = []

    def draw(self) -> None:
        """The fields."""
        _, names = self._visit.text, fields(self._visit)
        everywhere = {ALL_ACCOUNTS: _("every account")} if self._visit.viewer.everywhere else {}
        choices = {**everywhere, **{one: one for one in self._accounts}}
        ops = {"eq": _("is"), "ne": _("is not"), "glob": _("is like (* and ?)")}
        ui.label(_("Held back is what all of these fit; alerts stay visible all the while.")).classes("hint")
        with ui.element("div").classes("matchers"):
            for number in range(4):
                first = ui.select(names, label=_("Field"), value="rule" if number == 0 else None)
                op = ui.select(ops, label=_("Compared"), value="eq")
                value = ui.input(label=_("Value"))
                for one in (first, op, value):
                    one.props("outlined dense options-dense")
                self._matchers.append((first, op, value))
        with ui.row().classes("filters"):
            self._account = ui.select(choices, label=_("Account"), value=next(iter(choices), None))
            self._how_long = ui.select(durations(self._visit), label=_("How long"), value=HOUR)
            self._reason = ui.input(label=f"{_('Why (for the others)')} *").props(f"maxlength={NOTE_MAX}")
            for made in (self._account, self._how_long, self._reason):
                made.props("outlined dense options-dense")
            ui.button(_("Silence"), icon="notifications_off", on_click=self._make).props("unelevated dense")

    async def _make(self) -> None:
        _, visit = self._visit.text, self._visit
        matchers = [
            {"field": field.value, "op": op.value, "value": str(value.value).strip()}
            for field, op, value in self._matchers
            if field.value and str(value.value or "").strip()
        ]
        reason = str(self._reason.value or "").strip()
        if not matchers or not reason:
            ui.notify(_("Some fields are not right yet."), type="warning")
            return
        account = None if self._account.value == ALL_ACCOUNTS else self._account.value

        async def store() -> None:
            at = now()
            await make_silence(
                visit.context, visit.viewer, account=account, matchers=matchers, starts_at=at,
                ends_at=at + timedelta(seconds=float(self._how_long.value)), reason=reason,
            )  # fmt: skip

        if await act(visit, Role.OPERATOR, store):
            for _field, __, value in self._matchers:
                value.set_value("")
            self._reason.set_value("")
            await self._made()


def _table(visit: Visit, silences: list[dict[str, Any]], empty: str, *, live: bool) -> Html:
    _ = visit.text
    names, at = fields(visit), now()
    rows = [
        (
            [tag("div", names.get(one["field"], one["field"]), f" {SIGNS.get(one['op'], one['op'])} ",
                 mono(one["value"])) for one in silence["matchers"]],
            silence["account"] or _("every account"),
            visit.moment(silence["starts_at"]),
            visit.moment(silence["ends_at"]),
            silence["by"],
            tag("span", silence["reason"], class_="wrap"),
            badge("pending", _("not yet")) if live and silence["starts_at"] > at else "",
            _buttons(visit, silence) if live else "",
        )
        for silence in silences
    ]  # fmt: skip
    columns = (_("What"), _("Account"), _("From"), _("Until"), _("By"), _("Why"), "", "")
    return table(columns, rows, empty, classes=("", "", "keep", "keep", "", "", "", "acts"))


def _buttons(visit: Visit, silence: dict[str, Any]) -> Any:
    _ = visit.text
    account = silence["account"]
    may = visit.viewer.everywhere if account is None else visit.viewer.sees(account)
    return button(_("End now"), "end", str(silence["_id"])) if may and visit.viewer.may(Role.OPERATOR) else ""
