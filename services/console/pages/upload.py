"""A file of tasks: choose it, say which column is which field, see what would be refused, hand the rest in.

Every change of the mapping reads the file anew (an upload of its own; the one before is forgotten). The file stays with
the open page until it is handed in, and nowhere else.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from nicegui import events, ui

from services.console.core.access import Role
from services.console.core.columns import Target, guess, mapping_of, targets
from services.console.core.form import form_of
from services.console.core.preview import Verdict
from services.console.pages.frame import add_page, card, heading
from services.console.pages.markup import Html, badge, button, link, mono, table, tag
from services.console.pages.new_task import draw_workflow_choice
from services.console.pages.visit import Live, Visit, act
from services.console.store.commands import Asked
from services.console.store.context import Context
from services.console.store.schemas import current_schema
from services.console.store.uploads import (
    FILE_BYTES_MAX,
    File,
    confirm_upload,
    create_upload,
    discard_upload,
    get_upload,
    upload_rows,
)
from shared.errors import PermanentError
from shared.mongo.uploads import ROWS_MAX

ADDRESS = "/tasks/upload"
ROWS_SHOWN = 50
NONE = ""
ENDINGS = ".csv,.tsv,.txt,.xlsx,.json,.ndjson,.jsonl"


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, ADDRESS, "/tasks", build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    heading(_("Upload a file"))
    if not visit.viewer.may(Role.OPERATOR):
        ui.label(_("Your role does not allow this.")).classes("empty")
        return
    chosen = await draw_workflow_choice(visit, ADDRESS)
    if chosen is None:
        return
    try:
        current = await current_schema(visit.context, visit.viewer, *chosen)
    except PermanentError as error:
        ui.label(str(error)).classes("empty")
        return
    Upload(visit, *chosen, targets(form_of(current.input))).draw()


class Upload:
    """What happens to one file on one open page."""

    def __init__(self, visit: Visit, account: str, workflow: str, wanted: list[Target]) -> None:
        self._visit = visit
        self._account, self._workflow = account, workflow
        self._targets = wanted
        self._file: File | None = None
        self._made: dict[str, Any] | None = None
        self._selects: dict[str, ui.select] = {}
        self._again: ui.checkbox | None = None
        self._shown: Verdict | None = None
        self._first = 0

    def draw(self) -> None:
        """The field for the file, and room for the rest."""
        _ = self._visit.text
        with card(f"1. {_('File')}").classes("narrow"):
            self._picker = ui.upload(
                max_files=1,
                max_file_size=FILE_BYTES_MAX,
                auto_upload=True,
                on_upload=self._came,
                on_rejected=lambda: ui.notify(_("A file has at most 16 MB; split it."), type="negative"),
            )
            self._picker.props(f'flat accept="{ENDINGS}"').classes("full pick")
            with ui.row().classes("picks"):
                choose = ui.button(_("Choose a file"), icon="upload_file").props("outline dense")
                choose.on("click", js_handler=f"() => getElement({self._picker.id}).pickFiles()")
                ui.label(_("or drop it above")).classes("dim")
                self._reading = ui.spinner(size="sm")
                self._reading.set_visibility(False)
            kinds = _("CSV, XLSX, JSON or NDJSON, up to 16 MB and")
            ui.label(f"{kinds} {ROWS_MAX:,} {_('rows; the first row names the columns.')}").classes("hint")
        self._mapping = ui.element("div")
        self._preview = ui.element("div")
        self._result = ui.element("div")

    async def _came(self, event: events.UploadEventArguments) -> None:
        self._picker.reset()
        self._file = File(event.file.name, await event.file.read())
        self._mapping.clear()
        self._preview.clear()
        self._result.clear()
        self._selects, self._again = {}, None
        await self._read()

    async def _read(self) -> None:
        """Preview the file with the mapping that is chosen; the first time with the guessed one."""
        visit, file = self._visit, self._file
        if file is None:
            return
        chosen = {name: select.value for name, select in self._selects.items() if select.value}
        again = bool(self._again and self._again.value)
        first = not self._selects

        async def ask() -> None:
            before, self._made = self._made, None
            if before is not None:
                await discard_upload(visit.context, visit.viewer, before["_id"])
            columns = mapping_of(chosen)
            made = await create_upload(
                visit.context, visit.viewer, self._account, self._workflow, file, columns, again=again
            )
            guessed = guess(made["columns"], self._targets) if first else {}
            if mapping_of(guessed) is not None and "input" not in made["columns"]:
                await discard_upload(visit.context, visit.viewer, made["_id"])
                made = await create_upload(
                    visit.context, visit.viewer, self._account, self._workflow, file, mapping_of(guessed), again=again
                )
            self._made = made
            if first:
                self._draw_mapping(made["columns"], guessed)
            elif self._selects:
                self._show_unused()

        self._reading.set_visibility(True)
        try:
            if await act(visit, Role.OPERATOR, ask, quiet=True):
                await self._draw_preview()
            else:
                self._preview.clear()
        finally:
            self._reading.set_visibility(False)

    def _draw_mapping(self, columns: list[str], guessed: dict[str, str]) -> None:
        """A select of columns for each field; without fields, columns go by their names."""
        _ = self._visit.text
        fields = [one for one in self._targets if not one.own]
        if not fields or "input" in columns:
            return
        choices = {NONE: "—", **{column: column for column in columns}}
        with self._mapping, card(f"2. {_('Columns')}"):
            with ui.element("div").classes("columns mapping"):
                for one in [*fields, *(one for one in self._targets if one.own)]:
                    label = self._own_name(one) if one.own else one.label + (" *" if one.required else "")
                    select = ui.select(choices, label=label, value=guessed.get(one.name, NONE))
                    self._selects[one.name] = select.props("outlined dense options-dense stack-label").classes("full")
            self._unused = ui.label().classes("hint")
            self._show_unused()
            self._again = ui.checkbox(_("These are new tasks, although the same file came before")).props("dense")
            with ui.row().classes("asks"):
                ui.button(_("Preview"), icon="preview", on_click=self._read).props("outline dense")

    def _show_unused(self) -> None:
        """The columns that the mapping leaves out."""
        taken = {select.value for select in self._selects.values()}
        unused = [column for column in (self._made or {}).get("columns", []) if column not in taken]
        _ = self._visit.text
        text = f"{_('Columns that no field takes')}: {', '.join(unused)[:300]}"
        self._unused.set_text(text if unused else "")

    def _own_name(self, one: Target) -> str:
        _ = self._visit.text
        return {
            "reference": _("Reference"),
            "priority": _("Priority"),
            "not_before": _("Not before"),
            "deadline": _("Deadline"),
        }[one.name]

    async def _draw_preview(self) -> None:
        made = self._made
        if made is None:
            return
        _ = self._visit.text
        self._shown, self._first = (Verdict.REFUSED if made["counts"]["refused"] else None), 0
        self._preview.clear()
        self._result.clear()
        with self._preview, card(f"3. {_('Preview')}: {made['name']}"):
            ui.html(counts_view(self._visit, made["counts"]), sanitize=False)
            if made["faults"]:
                ui.html(faults_view(self._visit, made["faults"]), sanitize=False)
            choices = {NONE: _("all rows"), **{one.value: verdict_name(_, one) for one in Verdict}}
            ui.toggle(choices, value=self._shown or NONE, on_change=self._filter).props("dense no-caps unelevated")
            self._rows = Live(self._page)
            good = made["counts"]["new"] + made["counts"]["duplicate"]
            with ui.row().classes("asks"):
                ui.button(_("Discard"), on_click=self._discard).props("flat dense")
                text = f"{_('Hand in')} {made['counts']['new']:,} {_('tasks')}"
                self._confirm = ui.button(text, icon="send", on_click=self._hand_in).props("unelevated dense")
                self._confirm.set_enabled(good > 0)
        await self._show_rows()

    async def _filter(self, event: Any) -> None:
        self._shown, self._first = (Verdict(event.value) if event.value else None), 0
        await self._show_rows()

    async def _page(self, action: str, key: str) -> None:
        if action == "page" and key.isdecimal():
            self._first = int(key)
            await self._show_rows()

    async def _show_rows(self) -> None:
        if self._made is None:
            return
        visit, _, id = self._visit, self._visit.text, self._made["_id"]
        try:
            rows = await upload_rows(
                visit.context, visit.viewer, id, after=self._first, limit=ROWS_SHOWN + 1, verdict=self._shown
            )
        except PermanentError as error:
            ui.notify(str(error), type="negative")
            return
        pages = [button(_("First"), "page", "0")] if self._first else []
        if len(rows) > ROWS_SHOWN:
            pages.append(button(_("More"), "page", str(rows[ROWS_SHOWN][0])))
        shown = rows_view(visit, [row for _place, row in rows[:ROWS_SHOWN]])
        self._rows.show(tag("div", shown, tag("div", pages, class_="pager")))

    async def _discard(self) -> None:
        visit, made = self._visit, self._made
        if made is not None and await act(
            visit, Role.OPERATOR, lambda: discard_upload(visit.context, visit.viewer, made["_id"])
        ):
            ui.navigate.to(f"{ADDRESS}?{urlencode({'account': self._account, 'workflow': self._workflow})}")

    async def _hand_in(self) -> None:
        visit, made = self._visit, self._made
        if made is None:
            return
        self._confirm.props("loading")
        asked: list[Asked] = []

        async def ask() -> Asked:
            asked.append(await confirm_upload(visit.context, visit.viewer, made["_id"]))
            return asked[0]

        done = await act(visit, Role.OPERATOR, ask)
        self._confirm.props(remove="loading")
        if done:
            self._file, self._made = None, None
            self._confirm.set_enabled(False)
            self._mapping.clear()
            await self._draw_result(made["_id"])

    async def _draw_result(self, upload: str) -> None:
        """What came of it; asked for until the collector has answered."""
        _, visit = self._visit.text, self._visit
        with self._result, card(f"4. {_('Handed in')}"):
            shown = Live()

        async def look() -> None:
            request = (await get_upload(visit.context, visit.viewer, upload))["request"] or {}
            shown.show(result_view(visit, upload, request))
            if request.get("state") != "pending":
                timer.deactivate()

        with self._result:
            timer = ui.timer(1.0, look, immediate=False)
        await look()


def verdict_name(_: Any, verdict: Verdict) -> str:
    """What becomes of a row, for people."""
    return {
        Verdict.NEW: _("new tasks"),
        Verdict.DUPLICATE: _("there already"),
        Verdict.REFUSED: _("refused rows"),
    }[verdict]


def counts_view(visit: Visit, counts: dict[str, int]) -> Html:
    """How many rows, and what becomes of them."""
    _ = visit.text
    css = {
        Verdict.REFUSED: "bad" if counts["refused"] else "",
        Verdict.DUPLICATE: "warn" if counts["duplicate"] else "",
    }
    tiles = [tag("div", tag("b", f"{counts['rows']:,}"), tag("span", _("rows")), class_="tile")]
    tiles += [
        tag(
            "div",
            tag("b", f"{counts[one.value]:,}"),
            tag("span", verdict_name(_, one)),
            class_=f"tile {css.get(one, '')}",
        )
        for one in Verdict
    ]
    return tag("div", tiles, class_="tiles four")


def faults_view(visit: Visit, faults: list[dict[str, Any]]) -> Html:
    """What rows are refused for, the most frequent first."""
    _ = visit.text
    rows = [(one["count"], mono(_where(one["path"])), one["message"], one["row"]) for one in faults[:8]]
    columns = (_("Rows"), _("Field"), _("Why they are refused"), _("First in row"))
    return table(columns, rows, "", classes=("num", "", "wrap", "num"))


def _where(path: str) -> str:
    """A complaint's pointer as people call it."""
    return path.removeprefix("/input/").lstrip("/").replace("/", ".")


def rows_view(visit: Visit, rows: list[dict[str, Any]]) -> Html:
    """Rows with what would become of them."""
    _ = visit.text
    css = {Verdict.NEW: "done", Verdict.DUPLICATE: "pending", Verdict.REFUSED: "refused"}
    names = {Verdict.NEW: _("new"), Verdict.DUPLICATE: _("there already"), Verdict.REFUSED: _("refused")}
    lines = []
    for one in rows:
        verdict = Verdict(one["verdict"])
        said = [tag("div", _complaint(error)) for error in one["errors"]]
        if one["task"]:
            said.append(link(_("its task"), f"/tasks/{one['task']}"))
        lines.append(
            (
                one["row"],
                badge(css[verdict], names[verdict]),
                tag("span", one["reference"] or "", class_="clip short"),
                said,
                tag("span", one["shown"], class_="clip", title=one["shown"]),
            )
        )
    columns = (_("Row"), "", _("Reference"), _("Why"), _("Input"))
    return table(columns, lines, _("No such row."), classes=("num", "", "", "wrap", ""))


def _complaint(error: dict[str, Any]) -> str:
    where = _where(error["path"])
    return f"{where}: {error['message']}" if where else str(error["message"])


def result_view(visit: Visit, upload: str, request: dict[str, Any]) -> Html:
    """What the collector made of it."""
    _ = visit.text
    batch = f"batch_{upload.removeprefix('upload_')}"
    progress = request.get("progress") or {}
    if request.get("state") == "pending":
        return tag("p", _("Asked for; it is done as soon as its service answers."))
    if request.get("state") == "refused":
        return tag("p", f"{_('Refused')}: {request.get('reason') or ''}", class_="bad")
    new = progress.get("accepted", 0) - progress.get("duplicates", 0)
    parts: list[Any] = [
        tag("p", f"{new:,} {_('new tasks')}, {progress.get('duplicates', 0):,} {_('there already')}, "
            f"{progress.get('rejected', 0):,} {_('refused rows')}")
    ]  # fmt: skip
    parts += [
        tag("div", f"{one['reference'] or one['index'] + 1}: {one['errors'][0]['message']}", class_="bad")
        for one in (progress.get("refused") or [])[:20]
    ]
    parts.append(link(_("The tasks of this file"), f"/tasks?{urlencode({'batch': batch})}", "act"))
    return tag("div", parts)
