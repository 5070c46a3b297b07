"""A version's files once on one robot: a form for the input, the robot, and then the task to watch.

Nothing of it is billed or delivered. The files are those of a published version; `regente workflow run` does the same
with files that are not published.
"""

from __future__ import annotations

from typing import Any

from nicegui import ui

from services.console.core.access import Role
from services.console.core.form import form_of
from services.console.core.form_values import collect, initial
from services.console.pages.form import Fields, fault_text
from services.console.pages.frame import add_page, card, heading
from services.console.pages.markup import link, tag
from services.console.pages.visit import Visit, act
from services.console.store.commands import Asked
from services.console.store.context import Context
from services.console.store.once import OnceAsked, run_once
from services.console.store.publish import check
from services.console.store.workers import list_workers
from services.console.store.workflows import get_version, get_workflow
from shared.domain.once import refusal
from shared.errors import ErrorCode, PermanentError

ADDRESS = "/workflows/{account}/{name}/once"
FIRST = "\x00"
"""Of the scenarios: whichever takes the input first. No scenario is called so."""


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, ADDRESS, "/workflows", build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    account, name = visit.path["account"], visit.path["name"]
    heading(_("Run once on a robot"), tag("small", link(f"{account}/{name}", f"/workflows/{account}/{name}")))
    if not visit.viewer.may(Role.ADMIN):
        ui.label(_("Your role does not allow this.")).classes("empty")
        return
    try:
        workflow = await get_workflow(visit.context, visit.viewer, account, name)
        number = int(visit.query.get("version") or workflow.get("current") or 0)
        version = await get_version(visit.context, visit.viewer, account, name, number)
        robots = await _robots(visit, account)
    except (PermanentError, ValueError) as error:
        ui.label(str(error)).classes("empty")
        return
    Once(visit, account, version, robots).draw()


async def _robots(visit: Visit, account: str) -> dict[str, str]:
    """The robots that can be had for it."""
    listed = await list_workers(visit.context, visit.viewer)
    return {
        one["_id"]: f"{one.get('name') or one['_id']} ({one.get('status') or '?'})"
        for one in listed
        if refusal(one, one["_id"], account) is None
    }


class Once:
    """The form on one open page."""

    def __init__(self, visit: Visit, account: str, version: dict[str, Any], robots: dict[str, str]) -> None:
        self._visit, self._account, self._version = visit, account, version
        self._robots = robots
        self._form = form_of(version["input"])

    def draw(self) -> None:
        """Input on the left, robot and scenario on the right."""
        _ = self._visit.text
        with ui.element("div").classes("split"):
            with card(f"{_('Input')}: {_('Version')} {self._version['number']}"), ui.element("div").classes("form"):
                self._fields = Fields(_, self._form, initial(self._form, self._visit.zone))
            with card(_("Where")):
                only = next(iter(self._robots), None) if len(self._robots) == 1 else None
                self._robot = ui.select(self._robots, label=f"{_('Robot')} *", value=only)
                names = [str(one["name"]) for one in self._version["scenarios"] if one.get("worker", True)]
                choices = {FIRST: _("the first that takes the input"), **{one: one for one in names}}
                self._scenario = ui.select(choices, label=_("Scenario"), value=FIRST)
                for one in (self._robot, self._scenario):
                    one.props("outlined dense options-dense").classes("full")
                ui.label(_("Nothing of it is billed or delivered.")).classes("hint")
                if not self._robots:
                    ui.label(
                        _("No robot can be had: it must be authorised, connected, and of this account or shared.")
                    ).classes("complaint")
                with ui.row().classes("asks"):
                    self._button = ui.button(_("Run once"), icon="play_arrow", on_click=self._run)
                    self._button.props("unelevated dense")

    async def _run(self) -> None:
        _, visit = self._visit.text, self._visit
        found = collect(self._form, self._fields.raw(), visit.zone)
        self._fields.complain({pointer: fault_text(_, fault) for pointer, fault in found.faults.items()})
        if found.faults or not self._robot.value:
            ui.notify(_("Some fields are not right yet."), type="warning")
            return
        made: list[OnceAsked] = []

        async def ask() -> Asked:
            files = self._version["files"]
            checked = await check(visit.context, files)
            if checked.definition is None or checked.errors:
                raise PermanentError(ErrorCode.CONFLICT, _("These files are not fit for this version of Regente."))
            scenario = None if self._scenario.value == FIRST else str(self._scenario.value)
            robot = str(self._robot.value)
            made.append(
                await run_once(
                    visit.context, visit.viewer, self._account, files, checked,
                    worker=robot, input=found.value, scenario=scenario,
                )
            )  # fmt: skip
            return made[0].asked

        self._button.props("loading")
        try:
            if await act(visit, Role.ADMIN, ask) and made:
                ui.navigate.to(f"/tasks/{made[0].task}")
        finally:
            self._button.props(remove="loading")
