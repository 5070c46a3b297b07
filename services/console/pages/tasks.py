"""The tasks: a filtered list that keeps itself fresh; each row says why its task waits.

What is done with all tasks that match the filter is a request of its own (steering.py), whose progress is shown.
"""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from services.console.core.access import Role
from services.console.pages.frame import add_page, card, heading
from services.console.pages.markup import Html, age, button, link, table, tag
from services.console.pages.steering import action_names, actions_for, actions_table, steer_all, steer_one
from services.console.pages.texts import priority_name, state, words
from services.console.pages.visit import Live, Visit, keep_fresh
from services.console.store.bulk import list_bulk
from services.console.store.context import Context
from services.console.store.listing import account_names
from services.console.store.tasks import get_task, list_tasks
from services.console.store.workflows import list_workflows
from shared.domain.task_state import FINAL, TaskState
from shared.errors import PermanentError
from shared.mongo.waiting import Waiting
from shared.obs.clock import now

ROWS = 50
EXPLAINED_MAX = 10
"""Queued tasks of the list that say why they wait; asking costs some queries each."""
EXPLAINED_EVERY_S = 5.0
ACTIONS_SHOWN = 5
ACTIONS_KEPT = timedelta(minutes=15)
"""How long an action that has ended stays on the page."""


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, "/tasks", "/tasks", build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    heading(_("Tasks"))
    wanted = {name: visit.query.get(name, "") for name in ("state", "workflow", "reference", "account", "batch")}
    if visit.viewer.may(Role.OPERATOR):
        _draw_entry(visit, wanted)
    await _draw_filters(visit, wanted)
    why = Reasons(visit)

    async def clicked(action: str, key: str) -> None:
        if action == "cancel":
            await steer_one(visit, action, key)
            await refresh()

    if visit.viewer.may(Role.OPERATOR):
        _draw_actions(visit, wanted, await _account(visit, wanted["account"]))
    doing_card = card(_("Actions on many tasks"))
    with doing_card:
        doing = Live()
    with card(_("Newest first")):
        rows = Live(clicked)
        more = Live()

    async def refresh() -> None:
        listed = await list_tasks(
            visit.context,
            visit.viewer,
            account=wanted["account"] or None,
            workflow=wanted["workflow"] or None,
            state=TaskState(wanted["state"]) if wanted["state"] in set(TaskState) else None,
            reference=wanted["reference"] or None,
            batch=wanted["batch"] or None,
            limit=ROWS,
            cursor=visit.query.get("cursor"),
        )
        rows.show(_table(visit, listed.items, await why.of(listed.items)))
        more.show(_next(visit, wanted, listed.next))
        actions = (await list_bulk(visit.context, visit.viewer, wanted["account"] or None, ACTIONS_SHOWN, None)).items
        recent = [one for one in actions if one["state"] == "pending" or now() - one["created_at"] < ACTIONS_KEPT]
        doing_card.set_visibility(bool(recent))
        doing.show(actions_table(visit, recent))

    await keep_fresh(visit, refresh)


def _draw_entry(visit: Visit, wanted: dict[str, str]) -> None:
    """The ways to hand tasks in by hand."""
    _ = visit.text
    kept = {name: wanted[name] for name in ("account", "workflow") if wanted[name]}
    ways = (("/tasks/new", "add", _("New task")), ("/tasks/upload", "upload_file", _("Upload a file")))
    with ui.row().classes("filters ways"):
        for address, icon, name in ways:
            target = f"{address}?{urlencode(kept)}" if kept else address
            ui.button(name, icon=icon, on_click=lambda target=target: ui.navigate.to(target)).props(
                "outline dense size=sm"
            )


async def _account(visit: Visit, named: str) -> str | None:
    """The account whose tasks the filter finds, when it is one: the chosen one, or the only one that the user sees."""
    if named:
        return named if visit.viewer.sees(named) else None
    names = await account_names(visit.context) if visit.viewer.everywhere else list(visit.viewer.accounts)
    return names[0] if len(names) == 1 else None


def _draw_actions(visit: Visit, wanted: dict[str, str], account: str | None) -> None:
    """Buttons for all tasks that match; without an account, what to do first."""
    _ = visit.text
    names, actions = action_names(visit), actions_for(wanted["state"])
    if not actions:
        return
    with ui.row().classes("filters bulk"):
        ui.label(_("With all that match:")).classes("dim")
        if account is None:
            ui.label(_("choose an account first")).classes("dim")
            return
        chosen: dict[str, Any] = {"account": account}
        chosen.update({name: wanted[name] for name in ("state", "workflow") if wanted[name]})
        if wanted["reference"]:
            chosen["references"] = [wanted["reference"]]
        if wanted["batch"]:
            chosen["batch"] = wanted["batch"]
        for action in actions:
            colour = "color=negative" if action == "cancel" else ""
            ui.button(names[action], on_click=lambda action=action: steer_all(visit, action, chosen)).props(
                f"outline dense size=sm {colour}"
            )


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
        waiting = Waiting(self._visit.context.mongo)
        self._known = {one["_id"]: await self._ask(waiting, one["_id"]) for one in queued}
        self._asked_s = time.monotonic()
        return self._known

    async def _ask(self, waiting: Waiting, task: str) -> str:
        """The sentence for one task; it is made from the whole document, of which a list holds a part."""
        try:
            document = await get_task(self._visit.context, self._visit.viewer, task)
        except PermanentError:
            return ""
        return await waiting.why(document)


async def _draw_filters(visit: Visit, wanted: dict[str, str]) -> None:
    """Selects and a field; a change opens the list anew, so that every list has an address of its own."""
    _ = visit.text

    def reopen(name: str, value: Any) -> None:
        chosen = {**wanted, name: value or ""}
        ui.navigate.to("/tasks?" + urlencode({key: one for key, one in chosen.items() if one}))

    named = words(_)
    states = {"": _("every state"), **{one.value: named[one.value] for one in TaskState}}
    workflows = {"": _("every workflow")}
    for one in await list_workflows(visit.context, visit.viewer, wanted["account"] or None):
        workflows[one["name"]] = one["name"]
    accounts = await account_names(visit.context) if visit.viewer.everywhere else list(visit.viewer.accounts)
    with ui.row().classes("filters"):
        if len(accounts) > 1:
            choices = {"": _("every account"), **{name: name for name in accounts}}
            ui.select(
                choices,
                label=_("Account"),
                value=wanted["account"] if wanted["account"] in choices else "",
                on_change=lambda event: reopen("account", event.value),
            ).props("outlined dense options-dense")
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
        if wanted["batch"]:
            ui.chip(f"{_('Batch')} …{wanted['batch'][-8:]}", removable=True, color=None).classes("mono").on(
                "remove", lambda: reopen("batch", "")
            )


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
