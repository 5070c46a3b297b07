"""One rule's form. `?rule=` names it; with `own=1` it becomes one account's, in place of the installation's.

Called by: pages/__init__.py. Change also: shared/domain/alert_params.py (parameters and their names here).
"""

from __future__ import annotations

from typing import Any

from nicegui import ui

from services.console.core.access import Role
from services.console.pages.alerting import RULES, draw_tabs, rule_names, severities
from services.console.pages.frame import ALERTS, add_page, card, heading
from services.console.pages.markup import tag
from services.console.pages.rules import FIELDS, may_change
from services.console.pages.visit import Visit, act
from services.console.store.alerts import get_rule, put_rule
from services.console.store.context import Context
from services.console.store.listing import account_names
from shared.domain.alert_rules import PARAMS, RuleKind, Where
from shared.errors import ErrorCode, PermanentError


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, f"{RULES}/edit", ALERTS, build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    id = visit.query.get("rule", "")
    heading(_("Rule"), tag("small", id))
    draw_tabs(visit, "")
    try:
        rule = await get_rule(visit.context, visit.viewer, id)
    except PermanentError as error:
        ui.label(str(error)).classes("empty")
        return
    own = visit.query.get("own") == "1" and rule.get("account") is None
    accounts = await account_names(visit.context) if visit.viewer.everywhere else list(visit.viewer.accounts)
    may = visit.viewer.may(Role.ADMIN) if own else may_change(visit, rule.get("account"))
    RuleForm(visit, rule, accounts if own else []).draw(may)


def param_names(visit: Visit) -> dict[str, str]:
    """Parameters of rules, as people call them."""
    _ = visit.text
    return {
        "still_s": _("For so long, seconds"),
        "keep_s": _("Over so long after the last one, seconds"),
        "idle_s": _("Without a new task for so long, seconds"),
        "forget_s": _("Not watched after so long without any, seconds"),
        "within_s": _("Deadlines within this time, seconds"),
        "margin_s": _("Done so long before the deadline, seconds"),
        "window_s": _("Tasks that ended within this time, seconds"),
        "sample": _("At most so many of the newest tasks"),
        "min_tasks": _("Not with fewer tasks than"),
        "percent": _("So many of a hundred failed, or more"),
        "by_person": _("Also what a person holds"),
        "look_back_s": _("Not older than, seconds"),
        "min_count": _("Not fewer than"),
        "depth": _("So many messages wait, or more"),
        "dead": _("So many dead letters, or more"),
        "rounds": _("So many rounds in a row"),
        "slow_s": _("Slower than this is slow, seconds"),
        "lag_s": _("A member is so far behind, seconds"),
    }


class RuleForm:
    """The fields of one rule."""

    def __init__(self, visit: Visit, rule: dict[str, Any], accounts: list[str]) -> None:
        """accounts: those for which it may become an own one; none: the rule itself is changed."""
        self._visit, self._rule, self._accounts = visit, rule, accounts
        self._fields: dict[str, Any] = {}
        self._params: dict[str, Any] = {}
        self._where: dict[str, Any] = {}

    def draw(self, may: bool) -> None:
        """may: whether it can be stored, or only looked at."""
        _, rule = self._visit.text, self._rule
        with ui.element("div").classes("pair"):
            with card(rule_names(self._visit).get(rule["kind"], rule["kind"])), ui.element("div").classes("form"):
                if self._accounts:
                    self._field("account", ui.select(self._accounts, label=f"{_('Account')} *"))
                self._field("title", ui.input(label=f"{_('Title')} *", value=rule["title"]))
                chosen = ui.select(severities(self._visit), label=_("Severity"), value=rule["severity"])
                self._field("severity", chosen)
                self._field("for_s", ui.number(label=_("Told after it was so for, seconds"), value=rule["for_s"]))
                self._field("repeat_s", ui.number(label=_("Told again after, seconds"), value=rule["repeat_s"]))
                told = ui.input(label=_("Recipients, with commas between"), value=", ".join(rule["recipients"]))
                self._field("recipients", told)
                ui.label(_("Empty: the default recipients.")).classes("hint")
                self._fields["enabled"] = ui.checkbox(_("It makes alerts"), value=rule["enabled"]).props("dense")
            with card(_("From when on it is wrong")), ui.element("div").classes("form"):
                self._draw_params()
                self._draw_where()
        if may:
            with ui.row().classes("asks"):
                ui.button(_("Save"), icon="save", on_click=self._save).props("unelevated dense")

    def _field(self, name: str, made: Any) -> None:
        made.props("outlined dense options-dense").classes("full field")
        self._fields[name] = made

    def _draw_params(self) -> None:
        _, names = self._visit.text, param_names(self._visit)
        fields = PARAMS[RuleKind(self._rule["kind"])].model_fields
        if not fields:
            ui.label(_("It has no parameters.")).classes("hint")
        for name, field in fields.items():
            value = self._rule["params"].get(name, field.default)
            label = names.get(name, name)
            if isinstance(field.default, bool):
                self._params[name] = ui.checkbox(label, value=bool(value)).props("dense")
            else:
                made = ui.number(label=label, value=value).props("outlined dense").classes("full field")
                self._params[name] = made

    def _draw_where(self) -> None:
        _ = self._visit.text
        labels = {
            "account": _("Account"), "workflow": _("Workflow"), "worker": _("Robot"), "endpoint": _("Endpoint"),
            "source": _("Source"), "service": _("Service"),
        }  # fmt: skip
        ui.label(_("Only about these (names, or patterns with * and ?; empty: all)")).classes("hint")
        given = self._rule.get("where") or {}
        for name in Where.model_fields:
            if name == "account" and (self._rule.get("account") or self._accounts):
                continue
            made = ui.input(label=labels.get(name, name), value=given.get(name) or "")
            self._where[name] = made.props("outlined dense").classes("full field")

    async def _save(self) -> None:
        _, visit = self._visit.text, self._visit
        id = str(self._rule["_id"])
        if self._accounts:
            account = self._fields["account"].value
            if not account:
                ui.notify(_("Some fields are not right yet."), type="warning")
                return
            id = f"{account}/{id}"

        async def store() -> None:
            await put_rule(visit.context, visit.viewer, id, self._values())

        if await act(visit, Role.ADMIN, store):
            ui.navigate.to(RULES)

    def _values(self) -> dict[str, Any]:
        """What is in the fields, as a rule's document has it.

        Raises: PermanentError INVALID_INPUT when a number is missing.
        """
        fields = self._fields
        kept = {name: self._rule.get(name) for name in FIELDS}
        where = {name: str(one.value).strip() for name, one in self._where.items() if str(one.value or "").strip()}
        numbers = {"for_s": fields["for_s"].value, "repeat_s": fields["repeat_s"].value}
        params = {name: _whole(one.value) for name, one in self._params.items()}
        if missing := [name for name, value in {**numbers, **params}.items() if value is None]:
            raise PermanentError(ErrorCode.INVALID_INPUT, f"{missing[0]}: a number is missing")
        recipients = [one.strip() for one in str(fields["recipients"].value or "").split(",") if one.strip()]
        return {
            **kept, **numbers, "title": fields["title"].value, "severity": fields["severity"].value, "params": params,
            "where": where or None, "recipients": recipients, "enabled": bool(fields["enabled"].value),
        }  # fmt: skip


def _whole(value: Any) -> Any:
    """Fields of numbers give 5.0 for 5, which is no whole number to who checks."""
    return int(value) if isinstance(value, float) and value.is_integer() else value
