"""One task: everything about it, and the decision when it is held, with the evidence beside it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from services.console.core.access import Role
from services.console.pages.evidence import Lightbox, thumbnails
from services.console.pages.failure import failure_view
from services.console.pages.frame import add_page, card, heading
from services.console.pages.markup import Html, age, code, facts, link, mono, table, tag
from services.console.pages.open_decision import OpenDecisions
from services.console.pages.steering import ABORT, action_names, possible, steer_one
from services.console.pages.texts import priority_name, state
from services.console.pages.visit import Live, Visit, act, confirm, keep_fresh
from services.console.pages.waiting import waiting_view
from services.console.store.context import Context
from services.console.store.runs import list_evidence, list_runs, run_files
from services.console.store.tasks import get_task, settle
from shared.domain.task_state import TaskState
from shared.errors import PermanentError
from shared.mongo.waiting import explain
from shared.obs.clock import now

REFRESH_S = 1.5


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, "/tasks/{task}", "/tasks", build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    task = visit.path["task"]
    try:
        document = await get_task(visit.context, visit.viewer, task)
    except PermanentError as error:
        heading(_("Task"))
        ui.label(str(error)).classes("empty")
        return
    heading(f"{_('Task')} {document['reference']}", tag("small", link(document["workflow"], _workflow(document))))
    asking = OpenDecisions(visit)
    buttons = _draw_decision(visit, task)
    box = Lightbox(visit)
    with ui.element("div").classes("columns"):
        with ui.element("div").classes("wide"):
            waiting_card = card(_("Why it waits"))
            with waiting_card:
                waiting = Live()
            with card(_("Where it stands")):
                standing = Live()
            failure_card = card(_("Failure"))
            with failure_card:
                failure = Live(box.on_click)
            with card(_("History")):
                history = Live()
            with ui.element("div").classes("pair"):
                with card(_("Input")):
                    ui.html(code(document.get("input")), sanitize=False)
                with card(_("Result")):
                    result = Live()
        with ui.element("div"):
            with card(_("Evidence")):
                pictures = Live(box.on_click)
            with card(_("Runs")):
                runs = Live()

    files: dict[str, dict[str, str]] = {}

    async def refresh() -> None:
        found = await get_task(visit.context, visit.viewer, task)
        buttons(found)
        await asking.refresh(task=task)
        waits = found["state"] == TaskState.QUEUED
        said = await explain(visit.context.mongo, found) if waits else None
        waiting_card.set_visibility(waits)
        waiting.show(waiting_view(visit, found, said) if said else Html(""))
        standing.show(_standing(visit, found))
        history.show(_history(visit, found))
        result.show(_result(visit, found))
        evidence = await list_evidence(visit.context, visit.viewer, task)
        pictures.show(thumbnails(visit, evidence))
        error, run = _error(found), _failed_run(found)
        failure_card.set_visibility(bool(error))
        if error:
            if run not in files:
                files[run] = await run_files(visit.context, visit.viewer, run)
            failure.show(failure_view(visit, error, files[run], run=run or None, evidence=evidence))
        listed = await list_runs(visit.context, visit.viewer, task=task, limit=20)
        runs.show(_runs(visit, listed.items))

    await keep_fresh(visit, refresh, REFRESH_S)


def _error(task: dict[str, Any]) -> dict[str, Any]:
    """Its failure; while it goes on, that of the attempt before."""
    return task.get("error") or task.get("last_error") or {}


def _failed_run(task: dict[str, Any]) -> str:
    """The run of its last attempt, as its history has it."""
    runs = [str(line["run"]) for line in task.get("history") or () if line.get("run")]
    return runs[-1] if runs else ""


def _workflow(task: dict[str, Any]) -> str:
    return f"/workflows/{task['account']}/{task['workflow']}"


def _draw_decision(visit: Visit, task: str) -> Any:
    """The buttons; returns the function that shows those which the task's state allows."""
    _ = visit.text
    with ui.element("section").classes("part decision") as held:
        ui.html(tag("h2", _("This task waits for your decision")), sanitize=False)
        hint = ui.label(_("Look at the evidence, and at the portal if need be: did its last act take effect?"))
        hint.classes("hint")
        note = ui.input(label=_("Why (kept in its history)")).props("outlined dense").classes("full")
        output = (
            ui.textarea(label=_("Result as JSON, when it succeeded"))
            .props("outlined dense autogrow")
            .classes("full mono")
        )
        with ui.row().classes("asks"):
            ui.button(_("It succeeded"), on_click=lambda: decide("succeeded")).props("unelevated dense color=positive")
            ui.button(_("It failed"), on_click=lambda: decide("failed")).props("unelevated dense color=negative")
            ui.button(_("Do it again"), on_click=lambda: decide("again")).props("outline dense")
    buttons: dict[str, Any] = {}
    another = {"to": "/tasks/new"}
    with ui.row().classes("filters"):
        for action, name in {**action_names(visit), ABORT: _("Abort")}.items():
            colour = "color=negative" if action in ("cancel", ABORT) else ""
            buttons[action] = ui.button(name, on_click=lambda action=action: steer_one(visit, action, task)).props(
                f"outline dense size=sm {colour}"
            )
        like = ui.button(_("Another like this"), icon="content_copy", on_click=lambda: ui.navigate.to(another["to"]))
        like.props("outline dense size=sm")

    async def decide(outcome: str) -> None:
        try:
            value = json.loads(output.value) if outcome == "succeeded" and (output.value or "").strip() else None
        except ValueError:
            ui.notify(_("The result is no JSON."), type="warning")
            return
        if value is not None and not isinstance(value, dict):
            ui.notify(_("The result must be a JSON object."), type="warning")
            return
        if outcome == "again" and not await confirm(
            visit, _("Do it again? What it did may then be done twice."), _("Do it again")
        ):
            return
        text = note.value or ""
        await act(visit, Role.OPERATOR, lambda: settle(visit.context, visit.viewer, task, outcome, value, text))

    def show(found: dict[str, Any]) -> None:
        may = visit.viewer.may(Role.OPERATOR)
        held.set_visibility(may and found["state"] == TaskState.HELD)
        for action, button in buttons.items():
            button.set_visibility(may and possible(action, found["state"]))
        like.set_visibility(may and not found.get("once"))
        named = {"account": found["account"], "workflow": found["workflow"], "like": task}
        another["to"] = f"/tasks/new?{urlencode(named)}"

    return show


def _standing(visit: Visit, task: dict[str, Any]) -> Html:
    _ = visit.text
    hold, error = task.get("hold") or {}, task.get("error") or {}
    held_by = task.get("held_by") or {}
    line = f"{_('line')} {error['line']}" if error.get("line") else ""
    return facts(
        [
            (_("State"), state(_, task["state"])),
            (
                _("Held because"),
                tag("b", hold.get("text") or hold.get("reason"), class_="warn") if task["state"] == "held" else "",
            ),
            (_("Run"), link(mono(held_by.get("run")), f"/runs/{held_by.get('run')}") if held_by else ""),
            (
                _("Error"),
                [tag("b", error.get("message")), f" {error.get('code') or ''} ({error.get('kind')}) {line}"]
                if error
                else "",
            ),
            (_("Id"), mono(task["_id"])),
            (_("Account"), task["account"]),
            (_("Partner"), task.get("partner")),
            (_("Came from"), _origin(task)),
            (_("Batch"), link(mono(task["batch"]), f"/tasks?batch={task['batch']}") if task.get("batch") else ""),
            (_("Priority"), priority_name(_, task.get("priority")) or _("as the workflow")),
            (_("Attempts"), task.get("attempts", 0)),
            (_("Came"), visit.moment(task["created_at"])),
            (_("Not before"), visit.moment(task.get("not_before"))),
            (_("Deadline"), visit.moment(task.get("deadline"))),
            (_("Finished"), visit.moment(task.get("finished_at"))),
            (_("Logs"), link(_("its log lines"), f"/logs?task={task['_id']}")),
        ]
    )


def _origin(task: dict[str, Any]) -> Any:
    """The source or timer that made it; by hand it was its user."""
    source = task.get("source")
    if not source or source == f"{task['account']}/hand":
        return source or ""
    return link(source, f"/sources/{source}")


def _history(visit: Visit, task: dict[str, Any]) -> Html:
    _ = visit.text
    rows = [
        (
            visit.moment(line.get("at")),
            state(_, line.get("state")),
            line.get("by") or "",
            tag("span", line.get("reason") or "", class_="clip"),
        )
        for line in reversed(task.get("history") or [])
    ]
    return table((_("When"), _("State"), _("By"), _("Why")), rows, _("Nothing yet."))


def _result(visit: Visit, task: dict[str, Any]) -> Html:
    _ = visit.text
    result = task.get("result")
    return code(result.get("output")) if result else tag("div", _("None yet."), class_="empty")


def _runs(visit: Visit, runs: list[dict[str, Any]]) -> Html:
    _ = visit.text
    at = now()
    rows = [
        (
            link(mono(one["_id"][-8:]), f"/runs/{one['_id']}"),
            state(_, one["state"]),
            mono(one.get("worker") or ""),
            age(one["opened_at"], at),
        )
        for one in runs
    ]
    return table((_("Run"), _("State"), _("Robot"), _("Opened")), rows, _("None yet."))
