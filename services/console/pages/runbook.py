"""What to do about a kind of alert: the page of docs/runbooks, which the folder `runbooks` leads to.

Called by: pages/__init__.py. The messages of alerts link here, unless the settings name another place.
"""

from __future__ import annotations

import re
from pathlib import Path

from nicegui import ui

from services.console.pages.alerting import draw_tabs, rule_names
from services.console.pages.frame import ALERTS, add_page, card, heading
from services.console.pages.visit import Visit
from services.console.store.context import Context
from shared.domain.alert_rules import RUNBOOK_PAGE, RuleKind

FOLDER = Path(__file__).parent / "runbooks"


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, RUNBOOK_PAGE, ALERTS, build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    kind = visit.path["kind"]
    heading(_("What to do"))
    draw_tabs(visit, "")
    if kind not in set(RuleKind):
        ui.label(_("There is no such kind of alert.")).classes("empty")
        return
    text = (FOLDER / f"{kind}.md").read_text(encoding="utf-8")
    with card(rule_names(visit).get(kind, kind)):
        ui.markdown(linked(text.partition("\n")[2])).classes("runbook")


def linked(text: str) -> str:
    """A page whose links lead to the console's pages; what is only in the documentation stays as words."""
    known = re.sub(r"\]\(([a-z_]+)\.md\)", lambda found: f"]({RUNBOOK_PAGE.replace('{kind}', found[1])})", text)
    return re.sub(r"\[([^\]]*)\]\(\.\./[^)]*\)", r"\1", known)
