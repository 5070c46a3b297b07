"""A new task by hand: a form made of the workflow's JSON Schema.

Nothing is checked in the browser: what is filled in is checked by the collector's own rules, and what is wrong is said
at its field. What a form holds is handed in under a key of its own, so that a double click hands in one task.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from services.console.core.access import Role
from services.console.core.form import WHOLE, Form, form_of, same
from services.console.core.form_values import collect, fill, initial
from services.console.pages.form import Fields, fault_text
from services.console.pages.frame import add_page, card, heading
from services.console.pages.markup import Html, link, tag
from services.console.pages.texts import priority_name
from services.console.pages.visit import Visit, act, confirm
from services.console.store.attachments import attach
from services.console.store.by_hand import Added, add_tasks
from services.console.store.commands import Asked
from services.console.store.context import Context
from services.console.store.schemas import Current, current_schema
from services.console.store.tasks import get_task
from services.console.store.workflows import list_workflows
from shared.errors import PermanentError
from shared.obs.ids import uuid7
from shared.runtime.http import Problem

ADDRESS = "/tasks/new"
INHERIT = "inherit"
DOUBLE_CLICK_S = 1.5


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, ADDRESS, "/tasks", build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    heading(_("New task"))
    if not visit.viewer.may(Role.OPERATOR):
        ui.label(_("Your role does not allow this.")).classes("empty")
        return
    chosen = await draw_workflow_choice(visit, ADDRESS)
    if chosen is None:
        return
    account, workflow = chosen
    try:
        current = await current_schema(visit.context, visit.viewer, account, workflow)
        like = await _like(visit, workflow)
    except PermanentError as error:
        ui.label(str(error)).classes("empty")
        return
    NewTask(visit, account, workflow, current, like).draw()


async def draw_workflow_choice(visit: Visit, address: str) -> tuple[str, str] | None:
    """The select of workflows; account and name of the chosen one, when there is one."""
    _ = visit.text
    listed = await list_workflows(visit.context, visit.viewer, None)
    names = {f"{one['account']}/{one['name']}": one for one in listed if one.get("current")}
    if not names:
        ui.label(_("No workflow is published yet: regente workflow push DIR")).classes("empty")
        return None
    wanted = f"{visit.query.get('account', '')}/{visit.query.get('workflow', '')}"
    several = len({one["account"] for one in names.values()}) > 1
    labels = {key: _label(one, several) for key, one in names.items()}

    def reopen(key: str | None) -> None:
        if key:
            account, _slash, name = key.partition("/")
            ui.navigate.to(f"{address}?{urlencode({'account': account, 'workflow': name})}")

    with ui.row().classes("filters"):
        ui.select(
            labels,
            label=_("Workflow"),
            value=wanted if wanted in labels else None,
            with_input=len(labels) > 10,
            on_change=lambda event: reopen(event.value),
        ).props("outlined dense options-dense").classes("choose")
    if wanted in labels:
        return names[wanted]["account"], names[wanted]["name"]
    ui.label(_("Choose a workflow first.")).classes("empty")
    return None


def _label(workflow: Mapping[str, Any], with_account: bool) -> str:
    title = str(workflow.get("title") or workflow["name"])
    shown = title if title == workflow["name"] else f"{title} ({workflow['name']})"
    return f"{workflow['account']}: {shown}" if with_account else shown


async def _like(visit: Visit, workflow: str) -> dict[str, Any] | None:
    """The input of the task that the new one shall be like, when the address names one."""
    task = visit.query.get("like")
    if not task:
        return None
    found = await get_task(visit.context, visit.viewer, task)
    return dict(found["input"]) if found["workflow"] == workflow else None


class NewTask:
    """The form on one open page."""

    def __init__(
        self, visit: Visit, account: str, workflow: str, current: Current, like: dict[str, Any] | None
    ) -> None:
        self._visit = visit
        self._account, self._workflow = account, workflow
        self._plain = form_of(current.input)
        filled = None if like is None else fill(self._plain, like, visit.zone)
        self._form = self._plain if like is None or filled is not None else WHOLE
        self._raw = filled or ({"": json.dumps(like, ensure_ascii=False, indent=2)} if like is not None else None)
        self._title = current.title
        self._key = uuid7()
        self._asked: dict[str, Any] | None = None
        self._done_s: float | None = None
        self._busy = False

    def draw(self) -> None:
        """The fields, the task's own below them, the button."""
        _ = self._visit.text
        with ui.element("div").classes("split"):
            with card(f"{_('Input')}: {self._title}"):
                self._box = ui.element("div").classes("form")
                self._draw_fields(self._form, self._raw or initial(self._form, self._visit.zone))
                if not self._plain.whole:
                    self._switch = ui.switch(_("As JSON"), value=self._form.whole, on_change=self._change_form)
            with card(_("The task")):
                self._draw_own()
                self._general = ui.label().classes("complaint").props('role="alert"')
                self._general.set_visibility(False)
                with ui.row().classes("asks"):
                    self._button = ui.button(_("Hand in"), icon="send", on_click=self._hand_in).props(
                        "unelevated dense"
                    )
                self._result = ui.html("", sanitize=False).classes("handed")

    def _draw_fields(self, form: Form, raw: Mapping[str, Any]) -> None:
        self._form = form
        self._box.clear()
        with self._box:
            self._fields = Fields(self._visit.text, form, raw, self._keep_file)

    async def _keep_file(self, name: str, media_type: str, data: bytes) -> str | None:
        """Keep a file that goes with the task; its id."""
        visit, kept = self._visit, []

        async def ask() -> None:
            kept.append(await attach(visit.context, visit.viewer, self._account, name, media_type, data))

        return kept[0] if await act(visit, Role.OPERATOR, ask, quiet=True) and kept else None

    def _draw_own(self) -> None:
        _ = self._visit.text
        levels = {INHERIT: _("as the workflow"), **{str(level): priority_name(_, level) for level in range(6)}}
        self._reference = ui.input(label=_("Reference"))
        hint = ui.label(_("With account and workflow it names one task for ever; left empty, one is made."))
        self._priority = ui.select(levels, label=_("Priority"), value=INHERIT)
        self._not_before = ui.input(label=_("Not before")).props("type=datetime-local stack-label")
        self._deadline = ui.input(label=_("Deadline")).props("type=datetime-local stack-label")
        for one in (self._reference, self._priority, self._not_before, self._deadline):
            one.props("outlined dense").classes("full")
        hint.classes("hint")

    def _change_form(self, event: Any) -> None:
        """From fields to JSON, or back, with what is filled in."""
        _, zone = self._visit.text, self._visit.zone
        wanted = WHOLE if event.value else self._plain
        if wanted is self._form or (wanted.whole and self._form.whole):
            return
        found = collect(self._form, self._fields.raw(), zone)
        if wanted.whole:
            text = json.dumps(found.value if isinstance(found.value, dict) else {}, ensure_ascii=False, indent=2)
            self._draw_fields(wanted, {"": text})
            return
        raw = None if found.faults else fill(wanted, found.value, zone)
        if raw is None:
            ui.notify(_("This can't be shown in the fields; it stays JSON."), type="warning")
            self._switch.set_value(True)
            return
        self._draw_fields(wanted, raw)

    def _task(self, value: Any) -> dict[str, Any]:
        """The item; times have the reader's zone."""
        task: dict[str, Any] = {"input": value}
        if (self._reference.value or "").strip():
            task["reference"] = self._reference.value.strip()
        if self._priority.value not in (None, INHERIT):
            task["priority"] = int(self._priority.value)
        for name, element in (("not_before", self._not_before), ("deadline", self._deadline)):
            if element.value:
                task[name] = datetime.fromisoformat(element.value).replace(tzinfo=self._visit.zone).isoformat()
        return task

    async def _hand_in(self) -> None:
        if self._busy:
            return
        self._busy = True
        self._button.props("loading")
        try:
            await self._try()
        finally:
            self._busy = False
            self._button.props(remove="loading")

    async def _try(self) -> None:
        _, visit = self._visit.text, self._visit
        found = collect(self._form, self._fields.raw(), visit.zone)
        self._say({pointer: fault_text(_, fault) for pointer, fault in found.faults.items()}, [])
        if found.faults:
            ui.notify(_("Some fields are not right yet."), type="warning")
            return
        try:
            task = self._task(found.value)
        except ValueError:
            ui.notify(_("Not before or deadline is no time."), type="warning")
            return
        if not await self._wanted(task):
            return
        added: list[Added] = []

        async def ask() -> Asked:
            added.append(await add_tasks(visit.context, visit.viewer, self._account, self._workflow, [task], self._key))
            return added[0].asked

        complaints: list[Mapping[str, Any]] = []
        if await act(visit, Role.OPERATOR, _catching(ask, complaints)) and added:
            self._show(added[0])
        if added:
            self._done_s = time.monotonic()
        self._place(complaints)

    async def _wanted(self, task: dict[str, Any]) -> bool:
        """Whether this is to be handed in, and under which key. What was handed in already is not handed in again by a
        second click, however late that arrives; a person who does want it twice is asked."""
        _ = self._visit.text
        if self._asked is None or not same(self._asked, task):
            self._key, self._asked, self._done_s = uuid7(), task, None
            return True
        if self._done_s is None:  # it may not have come through: the same request again
            return True
        if time.monotonic() - self._done_s < DOUBLE_CLICK_S:
            return False
        if not await confirm(self._visit, _("The same task was just handed in. Once more?"), _("Hand in")):
            return False
        self._key = uuid7()
        return True

    def _place(self, complaints: list[Mapping[str, Any]]) -> None:
        """Say each complaint at the field that it is about."""
        said: dict[str, str] = {}
        general: list[str] = []
        for one in complaints:
            path = str(one.get("path", ""))
            inside = path == "/input" or path.startswith("/input/")
            pointer = self._form.place(path.removeprefix("/input")) if inside else None
            if pointer is None or (pointer == "" and not self._form.whole):
                general.append(f"{path.lstrip('/')}: {one['message']}" if path else str(one["message"]))
            else:
                said.setdefault(pointer, str(one["message"]))
        if complaints:
            self._say(said, general)

    def _say(self, said: Mapping[str, str], general: list[str]) -> None:
        self._fields.complain(said)
        self._general.set_text("\n".join(general))
        self._general.set_visibility(bool(general))

    def _show(self, added: Added) -> None:
        """What was handed in."""
        _ = self._visit.text
        progress = added.asked.progress or {}
        lines: list[Any] = []
        for one in progress.get("tasks") or []:
            text = _("was there before") if one["duplicate"] else _("handed in")
            lines.append(tag("div", link(one["reference"], f"/tasks/{one['id']}"), f" {text}"))
        for one in progress.get("refused") or []:
            lines.append(tag("div", one["errors"][0]["message"], class_="bad"))
        if not lines:
            lines.append(tag("div", link(_("Its task will be here"), f"/tasks?batch={added.batch}")))
        self._result.content = Html(self._result.content + tag("div", lines))


def _catching(ask: Any, complaints: list[Mapping[str, Any]]) -> Any:
    """The request, with what it is refused for kept."""

    async def asked() -> Any:
        try:
            return await ask()
        except Problem as problem:
            complaints.extend(problem.more.get("errors") or [])
            raise

    return asked
