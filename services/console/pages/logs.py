"""The live log: by robot, task, run, service and level. Every line says whose it is, so two robots' lines never mix."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from services.console.pages.frame import add_page, heading
from services.console.pages.markup import Html, link, tag
from services.console.pages.visit import Visit, keep_fresh
from services.console.store.context import Context
from services.console.store.logs import LEVELS, LogFilter, lines_after, newest_lines
from services.console.store.workers import list_workers

FIRST_LINES = 200
SHOWN_MAX = 600
OVERLAP_S = 15.0
ROBOTS = "agent"
SERVICES = (ROBOTS, "collector", "scheduler", "executor", "delivery", "alerts", "console")
HUES = 12
_SCROLL = """
const box = document.querySelector('.loglines');
if (box && box.dataset.follow !== 'no') box.scrollTop = box.scrollHeight;
"""
_FOLLOW = """
const box = document.querySelector('.loglines');
box.addEventListener('scroll', () => {
  box.dataset.follow = box.scrollHeight - box.scrollTop - box.clientHeight < 40 ? 'yes' : 'no';
});
box.scrollTop = box.scrollHeight;
"""


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, "/logs", "/logs", build)


class Tail:
    """The lines that are shown: new ones at the end, the oldest gone when there are too many."""

    def __init__(self, visit: Visit, wanted: LogFilter) -> None:
        self._visit, self._wanted = visit, wanted
        self._after: str | None = None
        self._seen: OrderedDict[str, ui.html] = OrderedDict()
        self._box = ui.element("div").classes("loglines")
        self._empty: ui.label | None = None

    async def read(self) -> None:
        """Add what is new. Lines that came late are added when they come, with their own time."""
        context, viewer = self._visit.context, self._visit.viewer
        if self._after is None:
            lines = await newest_lines(context, viewer, self._wanted, FIRST_LINES)
        else:
            lines = await lines_after(context, viewer, self._wanted, self._after, SHOWN_MAX, OVERLAP_S)
        self._after = lines.after
        new = [line for line in lines.items if line["_id"] not in self._seen]
        if not new and not self._seen and self._empty is None:
            with self._box:
                self._empty = ui.label(self._visit.text("No line matches yet.")).classes("empty")
        if new:
            self._add(new)

    def _add(self, lines: list[dict[str, Any]]) -> None:
        if self._empty is not None:
            self._empty.delete()
            self._empty = None
        with self._box:
            for line in lines:
                self._seen[line["_id"]] = ui.html(line_view(self._visit, line), sanitize=False)
        while len(self._seen) > SHOWN_MAX:
            __, element = self._seen.popitem(last=False)
            element.delete()
        ui.run_javascript(_SCROLL)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    heading(_("Logs"))
    names = ("worker", "task", "run", "service", "level")
    wanted = {name: visit.query.get(name, "") for name in names}
    await _draw_filters(visit, wanted)
    tail = Tail(visit, LogFilter(**{name: value or None for name, value in wanted.items()}))
    await keep_fresh(visit, tail.read)
    ui.timer(0.2, lambda: ui.run_javascript(_FOLLOW), once=True)


async def _draw_filters(visit: Visit, wanted: dict[str, str]) -> None:
    _ = visit.text

    def reopen(name: str, value: Any) -> None:
        chosen = {**wanted, name: value or ""}
        ui.navigate.to("/logs?" + urlencode({key: one for key, one in chosen.items() if one}))

    workers = {"": _("every robot")}
    for one in await list_workers(visit.context, visit.viewer):
        workers[one["_id"]] = f"{one.get('name') or ''} {one['_id']}".strip()
    if wanted["worker"]:
        workers.setdefault(wanted["worker"], wanted["worker"])
    choices = {
        "worker": (_("Robot"), workers),
        "service": (_("Service"), {"": _("every service"), **{one: one for one in SERVICES}}),
        "level": (_("Level"), {"": _("every level"), **{one: one for one in LEVELS}}),
    }
    with ui.row().classes("filters"):
        for name, (label, options) in choices.items():
            ui.select(
                options,
                label=label,
                value=wanted[name] if wanted[name] in options else "",
                on_change=lambda event, name=name: reopen(name, event.value),
            ).props("outlined dense options-dense")
        for name, label in (("run", _("Run")), ("task", _("Task"))):
            field = ui.input(label=label, value=wanted[name]).props("outlined dense clearable").classes("mono")
            field.on("keydown.enter", lambda name=name, field=field: reopen(name, field.value))
            field.on("clear", lambda name=name: reopen(name, ""))


def line_view(visit: Visit, line: dict[str, Any]) -> Html:
    """One line: when, whose, how severe, what, and where it belongs."""
    whose = line.get("worker") or line.get("instance") or line["service"]
    hue = zlib.crc32(str(whose).encode()) % HUES
    fields = " ".join(
        f"{name}={value}" for name, value in (line.get("fields") or {}).items() if value not in ("", None)
    )
    filter_ = {"worker": line["worker"]} if line.get("worker") else {"service": line["service"]}
    return tag(
        "div",
        tag("time", visit.moment(line["at"], day=False), title=visit.moment(line["at"])),
        link(whose, "/logs?" + urlencode(filter_), f"whose h{hue}"),
        tag("span", line["level"], class_="level"),
        tag("span", line["service"], class_="dim") if line.get("worker") and line["service"] != ROBOTS else None,
        tag("span", line["event"], class_="event"),
        tag(
            "span",
            link(line["run"][-8:], f"/runs/{line['run']}"),
            f"#{line['seq']}" if line.get("seq") else "",
            class_="dim",
        )
        if line.get("run")
        else None,
        tag("span", link(line["task"][-8:], f"/tasks/{line['task']}"), class_="dim") if line.get("task") else None,
        tag("span", fields, class_="dim") if fields else None,
        class_=f"line l-{line['level']}",
        data_worker=line.get("worker"),
    )
