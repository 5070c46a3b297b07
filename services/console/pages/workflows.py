"""The workflows: what is published, and how it is run."""

from __future__ import annotations

from typing import Any

from services.console.pages.frame import add_page, card, heading
from services.console.pages.markup import Html, age, link, mono, table
from services.console.pages.texts import priority_name
from services.console.pages.visit import Live, Visit, keep_fresh
from services.console.store.context import Context
from services.console.store.workflows import list_workflows
from shared.obs.clock import now

REFRESH_S = 3.0


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, "/workflows", "/workflows", build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    heading(_("Workflows"))
    with card(_("Published")):
        rows = Live()

    async def refresh() -> None:
        rows.show(_table(visit, await list_workflows(visit.context, visit.viewer, None)))

    await keep_fresh(visit, refresh, REFRESH_S)


def _table(visit: Visit, workflows: list[dict[str, Any]]) -> Html:
    _ = visit.text
    at = now()
    rows = []
    for one in workflows:
        settings = one.get("settings") or {}
        retry, delivery = settings.get("retry") or {}, settings.get("delivery") or {}
        rows.append(
            (
                link(one.get("title") or one["name"], f"/workflows/{one['account']}/{one['name']}"),
                mono(one["name"]),
                one["account"],
                one.get("current") or "",
                priority_name(_, settings.get("priority")),
                retry.get("attempts"),
                delivery.get("endpoint") or "",
                age(one.get("updated_at"), at),
            )
        )
    columns = (
        _("Workflow"),
        _("Name"),
        _("Account"),
        _("Version"),
        _("Priority"),
        _("Attempts"),
        _("Delivered to"),
        _("Changed"),
    )
    empty = _("No workflow is published yet: regente workflow push DIR")
    return table(columns, rows, empty, classes=("", "", "", "num", "", "num", "", "num"))
