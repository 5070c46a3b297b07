"""The sources of tasks: pollers, folders, SFTP servers and timers, each with what came of it today."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from services.console.pages.frame import add_page, card, heading
from services.console.pages.markup import Html, age, badge, link, table, tag
from services.console.pages.visit import Live, Visit, keep_fresh
from services.console.store.context import Context
from services.console.store.source_views import figures_since, shown_sources
from shared.obs.clock import now

ADDRESS = "/sources"
REFRESH_S = 2.0
NO_FIGURES = {"looks": 0, "failed": 0, "came": 0, "taken": 0, "duplicates": 0, "refused": 0}


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, ADDRESS, ADDRESS, build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    heading(_("Sources"))
    with card(_("Where tasks come from")):
        rows = Live()

    async def refresh() -> None:
        sources = await shown_sources(visit.context, visit.viewer, visit.query.get("account"))
        figures = await figures_since(visit.context, [one["_id"] for one in sources], today(visit))
        rows.show(_table(visit, sources, figures))

    await keep_fresh(visit, refresh, REFRESH_S)


def today(visit: Visit) -> datetime:
    """When the reader's day began."""
    return now().astimezone(visit.zone).replace(hour=0, minute=0, second=0, microsecond=0)


def kind_name(visit: Visit, kind: str) -> str:
    """A source's kind, as people call it."""
    _ = visit.text
    names = {"poll": _("polls a partner"), "folder": _("folder"), "sftp": _("SFTP"), "timer": _("timer")}
    return names.get(kind, kind)


def source_state(visit: Visit, source: dict[str, Any]) -> Html:
    """On, off, at work, or down."""
    _ = visit.text
    if not source.get("enabled"):
        return badge("closed", _("off"))
    if source.get("down"):
        return badge("failed", _("down"))
    if source.get("holder"):
        return badge("running", _("at work"))
    return badge("pending", _("failing")) if source.get("failures") else badge("open", _("on"))


def trouble(source: dict[str, Any]) -> str:
    """Why it fails; empty when it doesn't."""
    if source.get("down"):
        return str(source["down"].get("reason") or "")
    return str((source.get("last_failure") or {}).get("reason") or "") if source.get("failures") else ""


def next_look(visit: Visit, source: dict[str, Any]) -> str:
    """When it looks again, by the reader's clock."""
    _ = visit.text
    if source.get("wanted"):
        return _("as soon as possible")
    at = source.get("next_at")
    return visit.moment(at) if at is not None and source.get("enabled") else ""


def _table(visit: Visit, sources: list[dict[str, Any]], figures: dict[str, dict[str, int]]) -> Html:
    _ = visit.text
    at = now()
    rows = []
    for one in sources:
        today_ = figures.get(one["_id"], NO_FIGURES)
        refused = tag("span", f"{today_['refused']:,}", class_="bad" if today_["refused"] else None)
        rows.append(
            (
                [link(one["_id"], f"{ADDRESS}/{one['_id']}"), tag("div", one.get("title") or "", class_="dim")],
                kind_name(visit, one["kind"]),
                link(one["workflow"], f"/workflows/{one['account']}/{one['workflow']}"),
                source_state(visit, one),
                age(one.get("last_success_at"), at),
                next_look(visit, one),
                f"{today_['taken']:,}",
                f"{today_['duplicates']:,}",
                refused,
                tag("span", trouble(one), class_="clip", title=trouble(one)),
            )
        )
    columns = (
        _("Source"),
        _("Kind"),
        _("Workflow"),
        "",
        _("Last success"),
        _("Next run"),
        _("Tasks today"),
        _("Known before"),
        _("Refused"),
        _("Why it fails"),
    )
    empty = _("No source is set up yet: regente source put FILE")
    return table(columns, rows, empty, classes=("", "", "", "", "num", "keep", "num", "num", "num", ""))
