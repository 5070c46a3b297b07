"""Rules: what makes an alert, from when on, and who is told. One rule's form: rule.py. Called by: pages/__init__.py."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from services.console.core.access import Role
from services.console.pages.alerting import RULES, draw_tabs, rule_names, severities
from services.console.pages.frame import ALERTS, add_page, card, heading
from services.console.pages.markup import Html, badge, button, link, seconds, table, tag
from services.console.pages.texts import words
from services.console.pages.visit import Live, Visit, act, confirm, keep_fresh
from services.console.store.alerts import delete_rule, get_rule, list_rules, put_rule
from services.console.store.context import Context
from shared.domain.alert_rules import INSTALLATION_KINDS, RULES_MAX

REFRESH_S = 5.0
FIELDS = ("kind", "title", "where", "params", "for_s", "severity", "recipients", "repeat_s", "enabled")


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, RULES, ALERTS, build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text

    async def clicked(action: str, key: str) -> None:
        await _act(visit, action, key)
        await refresh()

    heading(_("Rules"))
    draw_tabs(visit, RULES)
    with card(_("What makes an alert")):
        rows = Live(clicked, classes="stack")

    async def refresh() -> None:
        listed = await list_rules(visit.context, visit.viewer, None, RULES_MAX, None)
        rows.show(_table(visit, sorted(listed.items, key=lambda one: (one.get("account") or "", one["_id"]))))

    await keep_fresh(visit, refresh, REFRESH_S)


async def _act(visit: Visit, action: str, id: str) -> None:
    _ = visit.text
    if action in ("on", "off"):

        async def switch() -> None:
            rule = await get_rule(visit.context, visit.viewer, id)
            fields = {name: rule.get(name) for name in FIELDS}
            await put_rule(visit.context, visit.viewer, id, {**fields, "enabled": action == "on"})

        await act(visit, Role.ADMIN, switch)
    elif action == "remove" and await confirm(
        visit, f"{id}: {_('Remove this rule? Its open alerts end.')}", _("Remove"), danger=True
    ):
        await act(visit, Role.ADMIN, lambda: delete_rule(visit.context, visit.viewer, id))


def may_change(visit: Visit, account: str | None) -> bool:
    """Whether the user may change rules of this account (none: of the installation)."""
    return visit.viewer.may(Role.ADMIN) and (visit.viewer.everywhere if account is None else visit.viewer.sees(account))


def _table(visit: Visit, rules: list[dict[str, Any]]) -> Html:
    _ = visit.text
    named, kinds = severities(visit), rule_names(visit)
    rows = [
        (
            link(one["_id"], f"{RULES}/edit?{urlencode({'rule': one['_id']})}"),
            kinds.get(one["kind"], one["kind"]),
            badge(one["severity"], named.get(one["severity"], one["severity"])),
            seconds(one["for_s"]) if one["for_s"] else _("at once"),
            seconds(one["repeat_s"]),
            ", ".join(one["recipients"]) or _("the default ones"),
            badge("ready", words(_)["on"]) if one["enabled"] else badge("stopped", words(_)["off"]),
            _buttons(visit, one),
        )
        for one in rules
    ]
    columns = (
        _("Rule"), _("What it looks for"), _("Severity"), _("Told after"), _("Told again after"), _("Who is told"),
        _("State"), "",
    )  # fmt: skip
    table_ = table(columns, rows, _("No rule yet."), classes=("keep", "", "", "num", "num", "", "", "acts"))
    hint = _("A rule named <account>/<name> takes the place of the installation's rule of that name.")
    return tag("div", table_, tag("div", hint, class_="hint"))


def _buttons(visit: Visit, rule: dict[str, Any]) -> Any:
    _ = visit.text
    found: list[Html] = []
    id = str(rule["_id"])
    if may_change(visit, rule.get("account")):
        on = rule["enabled"]
        found.append(button(_("Switch off"), "off", id) if on else button(_("Switch on"), "on", id, "good"))
        if rule.get("account") is not None:
            found.append(button(_("Remove"), "remove", id, "bad"))
    if visit.viewer.may(Role.ADMIN) and rule.get("account") is None and rule["kind"] not in INSTALLATION_KINDS:
        found.append(link(_("For one account"), f"{RULES}/edit?{urlencode({'rule': id, 'own': '1'})}", "act"))
    return found
