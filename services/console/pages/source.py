"""One source: its settings, its looks, what it refused and why; on and off, a look now, and a try that keeps nothing.

Settings name secrets by the names of the account's documents; their values never come here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from services.console.core.access import Role
from services.console.pages.frame import add_page, card, heading
from services.console.pages.markup import Html, age, badge, code, facts, join, link, mono, seconds, strip, table, tag
from services.console.pages.sources import ADDRESS, kind_name, next_look, source_state, today, trouble
from services.console.pages.visit import Live, Visit, act, keep_fresh
from services.console.store.commands import Asked
from services.console.store.context import Context
from services.console.store.source_views import figures_since
from services.console.store.sources import Tried, get_source, run_source, source_log, switch_source, try_source
from shared.errors import PermanentError
from shared.obs.clock import now

LOOKS_SHOWN = 30
REFUSALS_SHOWN = 30
ITEMS_SHOWN = 5
REFRESH_S = 2.0


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, f"{ADDRESS}/{{account}}/{{name}}", ADDRESS, build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    account, name = visit.path["account"], visit.path["name"]
    try:
        source = await get_source(visit.context, visit.viewer, account, name)
    except PermanentError as error:
        heading(_("Source"))
        ui.label(str(error)).classes("empty")
        return
    about = f"{account}/{name}, {kind_name(visit, source['kind'])}"
    heading(source.get("title") or f"{_('Source')} {name}", tag("small", about))
    head = Live(classes="part")
    chosen: dict[str, str | None] = {"look": None}
    buttons = _draw_buttons(visit, account, name)
    tried = ui.element("div")
    buttons["try"].on_click(lambda: _try(visit, account, name, buttons["try"], tried))

    async def clicked(action: str, key: str) -> None:
        chosen["look"] = key if action == "step" else chosen["look"]
        await refresh()

    with ui.element("div").classes("split"):
        with card(_("Looks")):
            looks = Live(clicked)
            more = Live()
        with ui.element("div").classes("side"):
            with card(_("This look")):
                detail = Live()
            with card(_("Settings")):
                settings = Live()

    async def refresh() -> None:
        found = await get_source(visit.context, visit.viewer, account, name)
        figures = (await figures_since(visit.context, [found["_id"]], today(visit))).get(found["_id"], {})
        listed = await source_log(visit.context, visit.viewer, account, name, LOOKS_SHOWN, visit.query.get("cursor"))
        head.show(_head(visit, found, figures))
        show_buttons(visit, buttons, found)
        current = next((one for one in listed.items if one["_id"] == chosen["look"]), None) or _telling(listed.items)
        looks.show(_looks(visit, listed.items, current))
        more.show(_pager(visit, f"{ADDRESS}/{account}/{name}", listed.next))
        detail.show(_detail(visit, current))
        settings.show(code({"workflow": found["workflow"], **found["settings"]}))

    await keep_fresh(visit, refresh, REFRESH_S)


def _draw_buttons(visit: Visit, account: str, name: str) -> dict[str, Any]:
    """On, off, run now, try; all of them, of which `show_buttons` shows what is possible."""
    _ = visit.text

    async def switch(on: bool) -> None:
        await act(visit, Role.OPERATOR, lambda: switch_source(visit.context, visit.viewer, account, name, on=on))

    async def run_now() -> None:
        await act(visit, Role.OPERATOR, lambda: run_source(visit.context, visit.viewer, account, name))

    with ui.row().classes("filters"):
        return {
            "run": ui.button(_("Run now"), icon="play_arrow", on_click=run_now).props("unelevated dense size=sm"),
            "try": ui.button(_("Try, keep nothing"), icon="science").props("outline dense size=sm"),
            "on": ui.button(_("Switch on"), icon="toggle_on", on_click=lambda: switch(True)).props(
                "outline dense size=sm"
            ),
            "off": ui.button(_("Switch off"), icon="toggle_off", on_click=lambda: switch(False)).props(
                "outline dense size=sm color=negative"
            ),
        }


def show_buttons(visit: Visit, buttons: dict[str, Any], source: dict[str, Any]) -> None:
    """Those that the role and the source's state allow."""
    may = visit.viewer.may(Role.OPERATOR)
    on = bool(source.get("enabled"))
    wanted = {"run": may, "try": may, "on": may and not on, "off": may and on}
    for name, button in buttons.items():
        button.set_visibility(wanted[name])


async def _try(visit: Visit, account: str, name: str, button: Any, place: ui.element) -> None:
    """Ask what a look would bring, and show it."""
    _ = visit.text
    tried: list[Tried] = []

    async def ask() -> Asked:
        tried.append(await try_source(visit.context, visit.viewer, account, name, None, None))
        return tried[0].asked

    button.props("loading")
    done = await act(visit, Role.OPERATOR, ask)
    button.props(remove="loading")
    place.clear()
    if done and tried:
        with place, card(_("What a look would bring")):
            ui.html(trial_view(visit, tried[0].report), sanitize=False)


def trial_view(visit: Visit, report: Mapping[str, Any] | None) -> Html:
    """The report of a trial."""
    _ = visit.text
    if report is None:
        return tag("div", _("It takes longer; try again in a moment."), class_="empty")
    figures = strip(
        [
            (_("Came"), report["came"]),
            (_("Would be taken"), str(report["would_be_taken"])),
            (_("Refused"), str(report["refused"])),
            (_("Pages"), report["pages"] or ""),
            (_("Cursor"), mono(json.dumps(report["cursor"])) if report.get("cursor") is not None else ""),
            (_("Next times"), ", ".join(report.get("times") or [])),
        ]
    )
    words = [tag("div", one, class_="hint") for one in report["words"]]
    items = [code(one) for one in report["items"][:ITEMS_SHOWN]]
    refusals = refusals_view(visit, report["refusals"]) if report["refusals"] else None
    return tag("div", figures, words, refusals, items, class_="trial")


def _head(visit: Visit, source: dict[str, Any], figures: dict[str, int]) -> Html:
    _ = visit.text
    why = trouble(source)
    at = now()
    shown = strip(
        [
            ("", source_state(visit, source)),
            (_("Workflow"), link(source["workflow"], f"/workflows/{source['account']}/{source['workflow']}")),
            (_("Last success"), age(source.get("last_success_at"), at)),
            (_("Next run"), next_look(visit, source)),
            (_("Tasks today"), f"{figures.get('taken', 0):,}"),
            (_("Known before"), f"{figures.get('duplicates', 0):,}"),
            (_("Refused today"), f"{figures.get('refused', 0):,}"),
            (_("Tasks in all"), f"{(source.get('counters') or {}).get('taken', 0):,}"),
            (_("Cursor"), mono(_short(source["cursor"])) if source.get("cursor") is not None else ""),
        ]
    )
    if refused := source.get("unacknowledged"):
        said = _("The partner refused acknowledgements for good; the newest is of")
        newest = [" ", visit.moment(refused[-1]["at"]), code(refused[-1])]
        shown = join([shown, tag("div", said, newest, class_="wrap untold")])
    if not why:
        return shown
    failed = f"{source.get('failures', 0)} {_('failed looks in a row')}: "
    return join([shown, tag("p", failed, tag("b", why, class_="bad"), class_="wrap")])


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _telling(looks: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The look that says most: the newest that failed or refused something, else the newest."""
    told = next((one for one in looks if one["outcome"] == "failed" or one["refused"]), None)
    return told or (looks[0] if looks else None)


def _looks(visit: Visit, looks: list[dict[str, Any]], current: dict[str, Any] | None) -> Html:
    """The table; a click on a row shows it."""
    _ = visit.text
    if not looks:
        return tag("div", _("It has not looked yet."), class_="empty")
    names = (_("When"), "", _("Came"), _("Tasks"), _("Known before"), _("Refused"), _("Took"), _("Why"))
    css = ("keep", "", "num", "num", "num", "num", "num", "")
    head = tag("tr", [tag("th", name, class_=css[n] or None) for n, name in enumerate(names)])
    rows = [_look_row(visit, one, css, current) for one in looks]
    return tag("table", tag("thead", head), tag("tbody", rows), class_="grid steps")


def _look_row(visit: Visit, look: dict[str, Any], css: tuple[str, ...], current: dict[str, Any] | None) -> Html:
    _ = visit.text
    ok = look["outcome"] == "ok"
    said = look.get("reason") or "; ".join(look.get("words") or [])
    by = f"{_('asked by')} {look['asked_by']}" if look.get("asked_by") else ""
    cells = (
        visit.moment(look["at"]),
        badge("done" if ok else "failed", _("done") if ok else _("failed")),
        look["came"] or "",
        look["taken"] or "",
        look["duplicates"] or "",
        tag("span", look["refused"], class_="bad") if look["refused"] else "",
        seconds(look["duration_s"]),
        tag("span", " · ".join(part for part in (said, by) if part), class_="clip"),
    )
    row = [tag("td", cell, class_=css[n] or None) for n, cell in enumerate(cells)]
    here = " here" if current is look else ""
    return tag("tr", row, class_=f"step{here}", data_action="step", data_key=look["_id"])


def _detail(visit: Visit, look: dict[str, Any] | None) -> Html:
    """What one look took, refused and said."""
    _ = visit.text
    if look is None:
        return tag("div", _("Nothing yet."), class_="empty")
    batches = [
        tag("div", link(mono(f"…{one[-8:]}"), f"/tasks?{urlencode({'batch': one})}")) for one in look["batches"][:10]
    ]
    missed = look.get("missed")
    shown = facts(
        [
            (_("When"), visit.moment(look["at"])),
            (_("Why"), tag("span", look["reason"], class_="bad wrap") if look.get("reason") else ""),
            (_("Notes"), [tag("div", one) for one in look.get("words") or []]),
            (_("Pages"), look.get("pages")),
            (_("Acknowledged"), look.get("acknowledged")),
            (_("Batches"), batches),
            (_("Missed times"), code(missed) if missed else ""),
            (_("Files"), [_file(visit, one) for one in look.get("files") or []]),
            (_("Collector"), look.get("by")),
        ]
    )
    refusals = look.get("refusals") or []
    if not refusals:
        return shown
    return join([shown, tag("h3", _("What was refused and why")), refusals_view(visit, refusals)])


def _file(visit: Visit, file: dict[str, Any]) -> Html:
    """A file that was taken or refused."""
    _ = visit.text
    figures = f"{file.get('taken', 0)} {_('tasks')}, {file.get('refused', 0)} {_('refused')}"
    why = tag("div", file["why"], class_="bad wrap") if file.get("why") else None
    return tag("div", mono(file.get("name") or ""), f" ({figures})", why)


def refusals_view(visit: Visit, refusals: list[dict[str, Any]]) -> Html:
    """Items that were refused, each with its complaints."""
    _ = visit.text
    rows = []
    for one in refusals[:REFUSALS_SHOWN]:
        where = one.get("place") or one.get("row") or (one["index"] + 1 if one.get("index") is not None else "")
        said = [tag("div", _complaint(error)) for error in one.get("errors") or []]
        rows.append(
            (where, tag("span", one.get("reference") or "", class_="clip short"), tag("div", said, class_="wrap"))
        )
    return table((_("Item"), _("Reference"), _("Why")), rows, _("Nothing yet."))


def _complaint(error: dict[str, Any]) -> str:
    path = str(error.get("path") or "").removeprefix("/input/").lstrip("/").replace("/", ".")
    return f"{path}: {error.get('message')}" if path else str(error.get("message"))


def _pager(visit: Visit, address: str, cursor: str | None) -> Html:
    _ = visit.text
    first = link(_("Newest"), address, "act") if visit.query.get("cursor") else None
    older = link(_("Older"), f"{address}?{urlencode({'cursor': cursor})}", "act") if cursor else None
    return tag("div", first, older, class_="pager")
