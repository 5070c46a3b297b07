"""What people do with tasks that wait: hold, release, to the front, priority, cancel; for one task or for a filter.

Called by: task.py (one), tasks.py (all that match its filter). The states in which an action finds something to do
stand in store/bulk.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from services.console.core.access import Role
from services.console.pages.markup import Html, age, badge, mono, table, tag
from services.console.pages.texts import priority_name, words
from services.console.pages.visit import NO, Visit, act, confirm, confirm_with
from services.console.store.bulk import COUNTED_MAX, STATES, ask_bulk, count_matching
from services.console.store.commands import Asked
from services.console.store.tasks import abort, cancel, steer
from shared.domain.task_state import TaskState
from shared.errors import PermanentError
from shared.obs.clock import now

INHERIT = "inherit"
ABORT = "abort"
"""For one task only: with many, runs are what is aborted."""


def action_names(visit: Visit) -> dict[str, str]:
    """The actions, as buttons call them."""
    _ = visit.text
    return {
        "hold": _("Hold"),
        "release": _("Release"),
        "front": _("To the front"),
        "priority": _("Priority"),
        "cancel": _("Cancel"),
    }


def possible(action: str, state: str) -> bool:
    """Whether an action can do something with a task in this state."""
    return state == TaskState.RUNNING if action == ABORT else state in {one.value for one in STATES[action]}


async def steer_one(visit: Visit, action: str, task: str) -> None:
    """Ask what there is to ask, and do it with one task."""
    _ = visit.text
    if action == ABORT:
        question = _("Abort this task? The instruction in flight is cut; other tasks of its run go back to the queue.")
        if await confirm(visit, question, _("Abort"), danger=True):
            await act(visit, Role.OPERATOR, lambda: abort(visit.context, visit.viewer, task))
        return
    if action == "cancel":
        if await confirm(visit, _("Call this task off?"), _("Cancel it"), danger=True):
            await act(visit, Role.OPERATOR, lambda: cancel(visit.context, visit.viewer, task))
        return
    args = await _arguments(visit, action, None)
    if args is not None:
        await act(visit, Role.OPERATOR, lambda: steer(visit.context, visit.viewer, task, action, args))


async def steer_all(visit: Visit, action: str, wanted: dict[str, Any]) -> None:
    """Count what a filter finds, ask, and ask for the action. wanted: the filter, with its account."""
    _ = visit.text
    try:
        count = await count_matching(visit.context, visit.viewer, action, wanted)
    except PermanentError as error:
        ui.notify(str(error), type="negative")
        return
    if count == 0:
        ui.notify(_("No task matches that this could be done with."), type="warning")
        return
    args = await _arguments(visit, action, count)
    if args is None:
        return

    async def ask() -> Asked:
        done = await ask_bulk(visit.context, visit.viewer, action, wanted, args)
        return Asked(done["command"], done["state"], done["reason"])

    await act(visit, Role.OPERATOR, ask)


async def _arguments(visit: Visit, action: str, count: int | None) -> dict[str, Any] | None:
    """What goes with an action, from a dialog; none when the answer is no. count: of many tasks, else one."""
    _ = visit.text
    names = action_names(visit)
    many = f"{count:,}{'+' if count and count >= COUNTED_MAX else ''} {_('tasks')}: " if count is not None else ""
    question = many + _question(visit, action)
    if action == "hold":
        text = await confirm_with(visit, question, names[action], lambda: ui.input(label=_("Why")))
        return None if text is NO else {"text": text or ""}
    if action == "priority":
        levels = {INHERIT: _("as the workflow"), **{str(level): priority_name(_, level) for level in range(6)}}
        chosen = await confirm_with(
            visit, question, names[action], lambda: ui.select(levels, label=_("Priority"), value=INHERIT)
        )
        return None if chosen is NO else {"priority": None if chosen == INHERIT else int(chosen)}
    if count is None and action == "front":
        return {}
    return {} if await confirm(visit, question, names[action], danger=action == "cancel") else None


def _question(visit: Visit, action: str) -> str:
    _ = visit.text
    return {
        "hold": _("Take out of the queue until somebody releases it?"),
        "release": _("Back to the queue? See first that what it was held for is gone."),
        "front": _("Put before all others of the same level?"),
        "priority": _("Which priority?"),
        "cancel": _("Call off? What runs ends at its next instruction."),
    }[action]


def actions_table(visit: Visit, actions: list[dict[str, Any]]) -> Html:
    """Actions on many tasks, with how far each is."""
    _ = visit.text
    at, names, named = now(), action_names(visit), words(_)
    rows = [
        (
            mono(one["command"][-8:]),
            names.get(str(one["action"]), str(one["action"])),
            badge(one["state"], named.get(one["state"], one["state"])),
            f"{one['progress']['done']:,}",
            f"{one['progress']['refused']:,}",
            tag("span", _filter_text(one["filter"]), class_="clip"),
            one["by"],
            age(one["created_at"], at),
        )
        for one in actions
    ]
    columns = (_("Id"), _("Action"), _("State"), _("Done"), _("Refused"), _("Tasks"), _("By"), _("Age"))
    return table(columns, rows, _("Nothing yet."), classes=("", "", "", "num", "num", "", "", "num"))


def _filter_text(wanted: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in wanted.items())


def actions_for(state: str) -> list[str]:
    """The actions that can do something with a task in this state; '' is any state of one that has not ended."""
    waiting = {TaskState.QUEUED, TaskState.HELD, TaskState.RUNNING}
    if state == "":
        return list(STATES)
    return [action for action in STATES if state in waiting and possible(action, state)]
