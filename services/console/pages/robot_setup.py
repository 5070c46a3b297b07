"""What work a robot takes: as a cell of a table, and the dialog that changes it.

Called by: fleet.py, workflow.py (how a window is written). The schedule is shown here and changed by the API or the
command line, where it is a file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from services.console.core.access import Role
from services.console.pages.markup import Html, badge, tag
from services.console.pages.texts import state
from services.console.pages.visit import Visit, act
from services.console.store.listing import account_names
from services.console.store.workers import configure, get_worker
from services.console.store.workflows import list_workflows

NONE = "-"
WORKFLOWS_SHOWN = 3


def window_text(window: Mapping[str, Any]) -> str:
    """A weekly window in one line."""
    return f"{' '.join(window['days'])} {window['start']}-{window['end']}"


def takes(visit: Visit, worker: Mapping[str, Any]) -> Html:
    """Tags, workflows, exclusive mode and schedule of a robot."""
    _ = visit.text
    exclusive, workflows, schedule = (worker.get(name) for name in ("exclusive", "workflows", "schedule"))
    names = None if workflows is None else ", ".join(workflows[:WORKFLOWS_SHOWN]) or _("nothing")
    more = "" if workflows is None or len(workflows) <= WORKFLOWS_SHOWN else f" +{len(workflows) - WORKFLOWS_SHOWN}"
    hours = "; ".join(window_text(one) for one in schedule.get("windows") or []) if schedule else ""
    return tag(
        "span",
        [badge("tag", one) for one in worker.get("tags") or []],
        [state(_, "exclusive"), exclusive, " "] if exclusive else None,
        tag("span", names + more, title=", ".join(workflows or [])) if names is not None else None,
        tag("span", f" {_('by schedule')}", title=f"{schedule.get('timezone')}: {hours}") if schedule else None,
        class_="takes",
    )


async def set_up_robot(visit: Visit, worker: str) -> None:
    """Ask what work it takes, and ask for what was changed."""
    _ = visit.text
    document = await get_worker(visit.context, visit.viewer, worker)
    everywhere = visit.viewer.everywhere
    accounts = await account_names(visit.context) if everywhere else list(visit.viewer.accounts)
    listed = await list_workflows(visit.context, visit.viewer, None)
    workflows = sorted({f"{one['account']}/{one['name']}" for one in listed} | set(_named(document)))
    with ui.dialog() as dialog, ui.card().classes("ask"):
        ui.label(f"{document.get('name') or ''} · {worker}").classes("mono")
        choices = {**({NONE: _("shared by all accounts")} if everywhere else {}), **{one: one for one in accounts}}
        account = ui.select(choices, label=_("Account"), value=_known(document.get("account") or NONE, choices))
        only = ui.select(workflows, label=_("Only these workflows (none: all)"), multiple=True)
        only.set_value(list(document.get("workflows") or []))
        only.props("use-chips")
        modes = {NONE: _("no"), **{one: one for one in workflows}}
        exclusive = ui.select(modes, label=_("Exclusive mode for"), value=document.get("exclusive") or NONE)
        tags = ui.input(label=_("Tags, with spaces between"), value=" ".join(document.get("tags") or []))
        for field in (account, only, exclusive, tags):
            field.props("outlined dense").classes("full")
        with ui.row().classes("asks"):
            ui.button(_("No"), on_click=lambda: dialog.submit(False)).props("flat dense")
            ui.button(_("Change"), on_click=lambda: dialog.submit(True)).props("unelevated dense")
    said = await dialog
    wanted = {
        "account": None if account.value in (NONE, None) else account.value,
        "workflows": list(only.value) or None,
        "exclusive": None if exclusive.value == NONE else exclusive.value,
        "tags": str(tags.value or "").replace(",", " ").split(),
    }
    dialog.delete()
    if said:
        await _change(visit, worker, document, wanted)


async def _change(visit: Visit, worker: str, document: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Ask for the fields that are not as they were."""
    _ = visit.text
    change = {
        name: value
        for name, value in wanted.items()
        if value != (document.get(name) or ([] if name == "tags" else None))
    }
    if not change:
        ui.notify(_("Nothing was changed."), type="info")
        return
    await act(visit, Role.OPERATOR, lambda: configure(visit.context, visit.viewer, worker, change))


def _named(worker: Mapping[str, Any]) -> list[str]:
    exclusive = worker.get("exclusive")
    return [*(worker.get("workflows") or []), *([exclusive] if exclusive else [])]


def _known(value: str, choices: Mapping[str, str]) -> str | None:
    return value if value in choices else None
