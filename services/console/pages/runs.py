"""The runs: a filtered list that keeps itself fresh."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from services.console.pages.frame import add_page, card, heading
from services.console.pages.markup import link, tag
from services.console.pages.overview import run_table
from services.console.pages.texts import words
from services.console.pages.visit import Live, Visit, keep_fresh
from services.console.store.context import Context
from services.console.store.runs import list_runs
from services.console.store.workers import list_workers
from shared.domain.run_state import RunState

ROWS = 50


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, "/runs", "/runs", build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    heading(_("Runs"))
    wanted = {name: visit.query.get(name, "") for name in ("state", "worker")}
    await _draw_filters(visit, wanted)
    with card(_("Newest first")):
        rows = Live()
        more = Live()

    async def refresh() -> None:
        listed = await list_runs(
            visit.context,
            visit.viewer,
            worker=wanted["worker"] or None,
            state=RunState(wanted["state"]) if wanted["state"] in set(RunState) else None,
            limit=ROWS,
            cursor=visit.query.get("cursor"),
        )
        rows.show(run_table(visit, listed.items))
        kept = {name: value for name, value in wanted.items() if value}
        older = link(_("Older"), "/runs?" + urlencode({**kept, "cursor": listed.next}), "act") if listed.next else None
        more.show(tag("div", older, class_="pager"))

    await keep_fresh(visit, refresh)


async def _draw_filters(visit: Visit, wanted: dict[str, str]) -> None:
    _ = visit.text

    def reopen(name: str, value: Any) -> None:
        chosen = {**wanted, name: value or ""}
        ui.navigate.to("/runs?" + urlencode({key: one for key, one in chosen.items() if one}))

    named = words(_)
    states = {"": _("every state"), **{one.value: named[one.value] for one in RunState}}
    workers = {"": _("every robot")}
    for one in await list_workers(visit.context, visit.viewer):
        workers[one["_id"]] = f"{one.get('name') or ''} {one['_id']}".strip()
    with ui.row().classes("filters"):
        ui.select(
            states,
            label=_("State"),
            value=wanted["state"] if wanted["state"] in states else "",
            on_change=lambda event: reopen("state", event.value),
        ).props("outlined dense options-dense")
        ui.select(
            workers,
            label=_("Robot"),
            value=wanted["worker"] if wanted["worker"] in workers else "",
            on_change=lambda event: reopen("worker", event.value),
        ).props("outlined dense options-dense")
