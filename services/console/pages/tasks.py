"""The tasks: a filtered list that keeps itself fresh; each row says why its task waits."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from services.console.core.access import Role
from services.console.pages.frame import add_page, card, heading
from services.console.pages.markup import Html, age, button, link, table, tag
from services.console.pages.texts import priority_name, state, words
from services.console.pages.visit import Live, Visit, act, confirm, keep_fresh
from services.console.store.context import Context
from services.console.store.tasks import cancel, list_tasks
from services.console.store.workflows import list_workflows
from shared.domain.task_state import FINAL, TaskState
from shared.mongo.waiting import why_waiting
from shared.obs.clock import now

ROWS = 50
EXPLAINED_MAX = 10
"""Queued tasks of the list that say why they wait; asking costs some queries each."""
EXPLAINED_EVERY_S = 5.0


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, "/tasks", "/tasks", build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    heading(_("Tasks"))
    wanted = {name: visit.query.get(name, "") for name in ("state", "workflow", "reference")}
    await _draw_filters(visit, wanted)
    why = Reasons(visit)

    async def clicked(action: str, key: str) -> None:
        if action == "cancel" and await confirm(visit, _("Call this task off?"), _("Cancel it"), danger=True):
            await act(visit, Role.OPERATOR, lambda: cancel(visit.context, visit.viewer, key))
            await refresh()

    with card(_("Newest first")):
        rows = Live(clicked)
        more = Live()

    async def refresh() -> None:
        listed = await list_tasks(
            visit.context,
            visit.viewer,
            workflow=wanted["workflow"] or None,
            state=TaskState(wanted["state"]) if wanted["state"] in set(TaskState) else None,
            reference=wanted["reference"] or None,
            limit=ROWS,
            cursor=visit.query.get("cursor"),
        )
        rows.show(_table(visit, listed.items, await why.of(listed.items)))
        more.show(_next(visit, wanted, listed.next))

    await keep_fresh(visit, refresh)


class Reasons:
    """Why the first queued tasks of a list wait; asked again every few seconds."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._known: dict[str, str] = {}
        self._asked_s = 0.0

    async def of(self, tasks: list[dict[str, Any]]) -> dict[str, str]:
        """Sentences by task id."""
        queued = [one for one in tasks if one["state"] == TaskState.QUEUED][:EXPLAINED_MAX]
        fresh = time.monotonic() - self._asked_s < EXPLAINED_EVERY_S
        if fresh and all(one["_id"] in self._known for one in queued):
            return self._known
        self._known = {one["_id"]: await why_waiting(self._visit.context.mongo, one) for one in queued}
        self._asked_s = time.monotonic()
        return self._known


async def _draw_filters(visit: Visit, wanted: dict[str, str]) -> None:
    """Selects and a field; a change opens the list anew, so that every list has an address of its own."""
    _ = visit.text

    def reopen(name: str, value: Any) -> None:
        chosen = {**wanted, name: value or ""}
        ui.navigate.to("/tasks?" + urlencode({key: one for key, one in chosen.items() if one}))

    named = words(_)
    states = {"": _("every state"), **{one.value: named[one.value] for one in TaskState}}
    workflows = {"": _("every workflow")}
    for one in await list_workflows(visit.context, visit.viewer, None):
        workflows[one["name"]] = one["name"]
    with ui.row().classes("filters"):
        ui.select(
            states,
            label=_("State"),
            value=wanted["state"] if wanted["state"] in states else "",
            on_change=lambda event: reopen("state", event.value),
        ).props("outlined dense options-dense")
        ui.select(
            workflows,
            label=_("Workflow"),
            value=wanted["workflow"] if wanted["workflow"] in workflows else "",
            on_change=lambda event: reopen("workflow", event.value),
        ).props("outlined dense options-dense")
        field = ui.input(label=_("Reference"), value=wanted["reference"]).props("outlined dense clearable")
        field.on("keydown.enter", lambda: reopen("reference", field.value))
        field.on("clear", lambda: reopen("reference", ""))


def _table(visit: Visit, tasks: list[dict[str, Any]], why: dict[str, str]) -> Html:
    _ = visit.text
    at = now()
    may = visit.viewer.may(Role.OPERATOR)
    rows = [
        (
            link(one["reference"], f"/tasks/{one['_id']}"),
            state(_, one["state"]),
            one["workflow"],
            one["account"],
            priority_name(_, one.get("priority")),
            one.get("attempts", 0),
            age(one["created_at"], at),
            tag("span", _note(one, why), class_="clip"),
            _buttons(visit, one) if may else "",
        )
        for one in tasks
    ]
    columns = (
        _("Reference"),
        _("State"),
        _("Workflow"),
        _("Account"),
        _("Priority"),
        _("Attempts"),
        _("Age"),
        _("Why"),
        "",
    )
    return table(columns, rows, _("No task matches."), classes=("", "", "", "", "", "num", "num", "", "acts"))


def _note(task: dict[str, Any], why: dict[str, str]) -> Any:
    """Why it waits, is held or failed; for a running one, its run."""
    if task["state"] == TaskState.RUNNING and task.get("held_by"):
        run = task["held_by"].get("run")
        return link(run, f"/runs/{run}")
    said = task.get("hold") if task["state"] == TaskState.HELD else task.get("error")
    text = (said or {}).get("text") or (said or {}).get("message") or ""
    return why.get(task["_id"], text)


def _buttons(visit: Visit, task: dict[str, Any]) -> Any:
    _ = visit.text
    if task["state"] in FINAL:
        return ""
    settle = link(_("Settle"), f"/tasks/{task['_id']}", "act") if task["state"] == TaskState.HELD else None
    return [settle, button(_("Cancel"), "cancel", task["_id"])]


def _next(visit: Visit, wanted: dict[str, str], cursor: str | None) -> Html:
    _ = visit.text
    kept = {name: value for name, value in wanted.items() if value}
    first = link(_("Newest"), "/tasks?" + urlencode(kept), "act") if visit.query.get("cursor") else None
    older = link(_("Older"), "/tasks?" + urlencode({**kept, "cursor": cursor}), "act") if cursor else None
    return tag("div", first, older, class_="pager")
