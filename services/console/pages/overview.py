"""The first page: how much waits, what robots do, what ran and failed last, whether all parts answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from nicegui import ui

from services.console.pages.frame import add_page, card, heading
from services.console.pages.holding import hold_buttons, hold_or_release, limit_bars, standing
from services.console.pages.markup import Html, age, link, mono, seconds, short_id, table, tag
from services.console.pages.texts import priority_name, state
from services.console.pages.visit import Live, Visit, keep_fresh
from services.console.store.cluster import cluster
from services.console.store.context import Context
from services.console.store.deliveries import list_deliveries
from services.console.store.queue import COUNTED_MAX, queue_depths
from services.console.store.runs import list_runs
from services.console.store.tasks import list_tasks
from services.console.store.watch import silent_s
from services.console.store.workers import list_workers
from shared.domain.delivery_state import DeliveryState
from shared.domain.task_state import TaskState
from shared.obs.clock import now

LAST = 8


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, "/", "/", build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    heading(_("Overview"))
    tiles = Live(classes="tiles")

    async def clicked(action: str, key: str) -> None:
        await hold_or_release(visit, action, key)
        await refresh()

    with card(_("Queue by workflow")):
        queue = Live(clicked)
    with ui.element("div").classes("columns"):
        with ui.element("div").classes("wide"):
            with card(_("Last runs")):
                runs = Live()
            with card(_("Last failures")):
                failures = Live()
        with ui.element("div"):
            with card(_("Robots")):
                robots = Live()
            with card(_("Health")):
                health = Live()

    async def refresh() -> None:
        context, viewer = visit.context, visit.viewer
        depths, workers, last_runs, failed, dead = await asyncio.gather(
            queue_depths(context, viewer),
            list_workers(context, viewer),
            list_runs(context, viewer, limit=LAST),
            list_tasks(context, viewer, state=TaskState.FAILED, limit=LAST),
            list_deliveries(context, viewer, state=DeliveryState.DEAD, limit=100),
        )
        tiles.show(_tiles(visit, depths, workers, len(dead.items)))
        queue.show(_queue(visit, depths))
        robots.show(_robots(visit, workers))
        runs.show(run_table(visit, last_runs.items))
        failures.show(_failures(visit, failed.items))
        health.show(await _health(visit))

    await keep_fresh(visit, refresh)


def _tiles(visit: Visit, depths: list[dict[str, Any]], workers: list[dict[str, Any]], dead: int) -> Html:
    _ = visit.text
    connected = sum(1 for one in workers if one.get("connected") and one.get("authorisation") == "authorised")
    authorised = sum(1 for one in workers if one.get("authorisation") == "authorised")
    pending = sum(1 for one in workers if one.get("authorisation") == "pending")
    held = sum(one["held"] for one in depths)
    tiles = [
        (_("in the queue"), _count(sum(one["waiting"] for one in depths)), "/tasks?state=queued", ""),
        (_("running"), _count(sum(one["running"] for one in depths)), "/tasks?state=running", ""),
        (_("held for a person"), _count(held), "/tasks?state=held", "warn" if held else ""),
        (_("robots connected"), f"{connected}/{authorised}", "/fleet", "bad" if authorised and not connected else ""),
        (_("robots to authorise"), str(pending), "/fleet", "warn" if pending else ""),
        (_("dead deliveries"), str(dead), "/logs?service=delivery", "bad" if dead else ""),
    ]
    return Html(
        "".join(
            tag("a", tag("b", number), tag("span", name), href=href, class_=f"tile {css}".strip())
            for name, number, href, css in tiles
        )
    )


def _count(number: int) -> str:
    return f"{COUNTED_MAX:,}+" if number >= COUNTED_MAX else f"{number:,}"


def _queue(visit: Visit, depths: list[dict[str, Any]]) -> Html:
    _ = visit.text
    most = max((one["waiting"] for one in depths), default=0) or 1
    rows = [
        (
            link(one["title"] or one["workflow"], f"/workflows/{one['account']}/{one['workflow']}"),
            one["account"],
            priority_name(_, one["priority"]),
            tag("span", tag("i", style=f"width:{100 * one['waiting'] / most:.0f}%"), class_="bar"),
            link(_count(one["waiting"]), _tasks(one, "queued")),
            link(_count(one["running"]), _tasks(one, "running")),
            link(_count(one["held"]), _tasks(one, "held"), "warn" if one["held"] else None),
            seconds(None if one["oldest_age_s"] is None else round(one["oldest_age_s"])),
            limit_bars(visit, one["limits"]),
            standing(visit, one),
            hold_buttons(visit, f"{one['account']}/{one['workflow']}", one),
        )
        for one in depths
    ]
    columns = (
        _("Workflow"),
        _("Account"),
        _("Priority"),
        "",
        _("Waiting"),
        _("Running"),
        _("Held"),
        _("Oldest"),
        _("Limits"),
        _("Takes tasks"),
        "",
    )
    empty = _("No workflow is published yet: regente workflow push DIR")
    return table(columns, rows, empty, classes=("", "", "", "bars", "num", "num", "num", "num", "", "", "acts"))


def _tasks(row: dict[str, Any], state: str) -> str:
    return f"/tasks?state={state}&workflow={row['workflow']}&account={row['account']}"


def _robots(visit: Visit, workers: list[dict[str, Any]]) -> Html:
    _ = visit.text
    if not workers:
        return tag("div", _("No robot has asked yet."), class_="empty")
    counts: Counter[str] = Counter()
    for one in workers:
        if one.get("authorisation") != "authorised":
            counts[str(one.get("authorisation"))] += 1
        elif not one.get("connected"):
            counts["disconnected"] += 1
        else:
            counts[str(one.get("status"))] += 1
    rows = [(state(_, word), number) for word, number in sorted(counts.items())]
    return table((_("State"), _("Robots")), rows, "", classes=("", "num"))


def run_table(visit: Visit, runs: list[dict[str, Any]]) -> Html:
    """A table of runs; the page of runs shows the same."""
    _ = visit.text
    at = now()
    rows = [
        (
            link(mono(short_id(one["_id"])), f"/runs/{one['_id']}"),
            state(_, one["state"]),
            one["workflow"],
            link(mono(one["worker"]), f"/fleet#{one['worker']}") if one.get("worker") else "",
            _progress(one),
            age(one["opened_at"], at),
            _took(one),
            (one.get("end") or {}).get("reason") or "",
        )
        for one in runs
    ]
    columns = (_("Run"), _("State"), _("Workflow"), _("Robot"), _("Tasks"), _("Opened"), _("Took"), _("End"))
    return table(columns, rows, _("Nothing has run yet."), classes=("", "", "", "", "num", "num", "num", ""))


def _progress(run: dict[str, Any]) -> str:
    tasks = run.get("tasks") or []
    ended = sum(1 for one in tasks if one.get("state") == "ended")
    return f"{ended}/{len(tasks)}"


def _took(run: dict[str, Any]) -> str:
    if not run.get("finished_at"):
        return ""
    return seconds((run["finished_at"] - (run.get("started_at") or run["opened_at"])).total_seconds())


def _failures(visit: Visit, tasks: list[dict[str, Any]]) -> Html:
    _ = visit.text
    at = now()
    rows = [
        (
            link(one["reference"], f"/tasks/{one['_id']}"),
            one["workflow"],
            (one.get("error") or {}).get("kind") or "",
            tag("span", (one.get("error") or {}).get("message") or "", class_="clip"),
            one["attempts"],
            age(one.get("finished_at"), at),
        )
        for one in tasks
    ]
    columns = (_("Task"), _("Workflow"), _("Kind"), _("Error"), _("Attempts"), _("Age"))
    return table(columns, rows, _("Nothing has failed."), classes=("", "", "", "", "num", "num"))


async def _health(visit: Visit) -> Html:
    _ = visit.text
    if not visit.viewer.everywhere:
        return tag("div", _("Shown to users of all accounts."), class_="empty")
    found = await cluster(visit.context)
    rows: list[tuple[Any, ...]] = [
        (
            one["service"],
            state(_, "ready" if one["ready"] else "not_ready"),
            tag("span", one["reason"] or "", class_="clip"),
        )
        for one in found["services"]
    ]
    still_s = await silent_s(visit.context)
    if still_s is not None:
        nobody = tag("span", _("nobody looks for what is wrong"), class_="bad")
        rows = [row for row in rows if row[0] != "alerts"] + [("alerts", state(_, "not_ready"), nobody)]
    broker, database = found["broker"], found["database"]
    dead = sum(one["messages"] for one in broker["queues"] if one["name"].endswith(".dead"))
    letters = f"{dead} {_('dead letters')}" if dead else ""
    rows.append(("RabbitMQ", state(_, "ready" if broker["connected"] else "not_ready"), broker["reason"] or letters))
    rows.append(("MongoDB", state(_, "ready" if database["ready"] else "not_ready"), database["reason"] or ""))
    return table((_("Part"), _("State"), ""), rows, "")
