"""The objects of a workflow as a table: selectors in their order, how often each matched, what has gone stale.

Called by: workflow.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.console.pages.markup import Html, age, link, mono, table, tag
from services.console.pages.visit import Visit
from shared.obs.clock import now

_COLOURS = {"matches": "done", "stale": "failed", "untried": "queued", "unknown": "unknown"}


def objects_view(visit: Visit, found: Mapping[str, Any], address: str) -> Html:
    """The table, and the environments to choose from. `address`: of the workflow's page."""
    _ = visit.text
    reasons = {
        "selector": _("an earlier selector no longer matches"),
        "missing": _("none of its selectors matches"),
        "unused": _("never looked for"),
    }
    rows = []
    for one in found["items"]:
        why = tag("div", reasons.get(one["reason"], one["reason"]), class_="bad") if one["stale"] else ""
        rows.append(
            (
                [mono(one["name"]), tag("div", one["title"], class_="dim") if one["title"] else "", why],
                [_selector(visit, selector) for selector in one["selectors"]],
                one["uses"] or "",
                one["misses"] or "",
                age(one["used_at"], now()),
            )
        )
    columns = (
        _("Object"),
        _("Selectors, in the order in which they are tried"),
        _("Looked for"),
        _("Not found"),
        _("Last"),
    )
    shown = table(columns, rows, _("The current version has no objects."), classes=("", "", "num", "num", ""))
    return Html(_environments(visit, found, address) + shown)


def _selector(visit: Visit, one: Mapping[str, Any]) -> Html:
    _ = visit.text
    names = {
        "matches": _("matches"),
        "stale": _("no longer matches"),
        "untried": _("not needed so far"),
        "unknown": "",
    }
    word = names.get(one["state"], one["state"])
    mark = tag("span", word, class_=f"badge s-{_COLOURS.get(one['state'], '')}") if word else ""
    count = tag("span", f"{one['matched']}×", class_="count dim")
    return tag("div", count, mono(one["selector"]), " ", mark, class_=f"selector {one['state']}")


def _environments(visit: Visit, found: Mapping[str, Any], address: str) -> Html:
    """Links to the other environments, the one that is shown as plain text."""
    _ = visit.text
    names = sorted({*found["environments"], *([found["in_force"]] if found["in_force"] else [])})
    if not names:
        return Html("")
    shown = []
    for name in [None, *names]:
        text = name or _("without an environment")
        text = f"{text} ({_('in force')})" if name == found["in_force"] else text
        here = name == found["environment"]
        shown.append(tag("b", text) if here else link(text, f"{address}?environment={name or '-'}"))
    return tag("div", [tag("span", one) for one in shown], class_="chips")
