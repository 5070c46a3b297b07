"""One workflow: its versions, its files, its settings."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from services.console.core.access import Role
from services.console.pages.frame import add_page, card, heading
from services.console.pages.holding import hold_buttons, hold_or_release, limit_bars, standing
from services.console.pages.markup import Html, facts, link, mono, seconds, table, tag
from services.console.pages.objects import objects_view
from services.console.pages.pacing import draw_pacing
from services.console.pages.robot_setup import window_text
from services.console.pages.script import source
from services.console.pages.texts import priority_name
from services.console.pages.visit import Live, Visit, act, keep_fresh
from services.console.store.context import Context
from services.console.store.objects import workflow_objects
from services.console.store.queue import queue_depths
from services.console.store.workflows import get_version, get_workflow, list_versions, patch_settings
from shared.errors import PermanentError

VERSIONS_SHOWN = 30


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, "/workflows/{account}/{name}", "/workflows", build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    account, name = visit.path["account"], visit.path["name"]
    try:
        workflow = await get_workflow(visit.context, visit.viewer, account, name)
        versions = (await list_versions(visit.context, visit.viewer, account, name, VERSIONS_SHOWN, None)).items
        number = visit.query.get("version") or workflow.get("current") or 0
        version = await get_version(visit.context, visit.viewer, account, name, int(number)) if number else None
    except (PermanentError, ValueError) as error:
        heading(_("Workflow"))
        ui.label(str(error)).classes("empty")
        return
    heading(workflow.get("title") or name, tag("small", f"{account}/{name}"))
    if version is not None:
        _draw_ways(visit, account, name, version["number"])
    with ui.element("div").classes("columns"):
        with card(_("Settings")):
            await _draw_standing(visit, account, name)
            ui.html(_settings(visit, workflow["settings"]), sanitize=False)
            if visit.viewer.may(Role.ADMIN):
                _draw_change(visit, account, name, workflow["settings"])
        with card(_("Versions")).classes("wide"):
            ui.html(_versions(visit, workflow, versions), sanitize=False)
        if version is not None:
            with card(_("Objects")).classes("wide full"):
                await _draw_objects(visit, account, name)
            with card(_("Learned waits")).classes("wide full"):
                await draw_pacing(visit, account, name)
            _draw_version(visit, version)


def _draw_ways(visit: Visit, account: str, name: str, number: int) -> None:
    """What can be done with it by hand, as the role allows."""
    _ = visit.text
    named = urlencode({"account": account, "workflow": name})
    ways = []
    if visit.viewer.may(Role.OPERATOR):
        ways.append((f"/tasks/new?{named}", "add", _("New task")))
        ways.append((f"/tasks/upload?{named}", "upload_file", _("Upload a file")))
    if visit.viewer.may(Role.ADMIN):
        ways.append((f"/workflows/{account}/{name}/once?version={number}", "play_arrow", _("Run once on a robot")))
    with ui.row().classes("filters ways"):
        for address, icon, text in ways:
            ui.button(text, icon=icon, on_click=lambda address=address: ui.navigate.to(address)).props(
                "outline dense size=sm"
            )


async def _draw_objects(visit: Visit, account: str, name: str) -> None:
    """Which selectors match and which have gone stale, in the environment that the address names."""
    environment = visit.query.get("environment")
    found = await workflow_objects(visit.context, visit.viewer, account, name, environment)
    ui.html(objects_view(visit, found, f"/workflows/{account}/{name}"), sanitize=False)


async def _draw_standing(visit: Visit, account: str, name: str) -> None:
    """Whether it takes tasks, its limits, and the button that holds or releases it; these keep themselves fresh."""

    async def clicked(action: str, key: str) -> None:
        await hold_or_release(visit, action, key)
        await refresh()

    now_ = Live(clicked, classes="standing")

    async def refresh() -> None:
        rows = await queue_depths(visit.context, visit.viewer, account)
        row = next((one for one in rows if one["workflow"] == name), None)
        if row is not None:
            buttons = hold_buttons(visit, f"{account}/{name}", row)
            now_.show(tag("div", standing(visit, row), limit_bars(visit, row["limits"]), buttons))

    await keep_fresh(visit, refresh)


def _settings(visit: Visit, settings: dict[str, Any]) -> Html:
    _ = visit.text
    retry, price, delivery, concurrency, breaker = (
        settings.get(one) or {} for one in ("retry", "price", "delivery", "concurrency", "breaker")
    )
    in_doubt = {"hold": _("hold for a person"), "fail": _("fail"), "retry": _("try again")}
    position = {"end": _("end of its list"), "front": _("front of its list")}
    return facts(
        [
            (_("Priority"), priority_name(_, settings.get("priority"))),
            (_("Attempts"), retry.get("attempts")),
            (_("Next attempt after"), seconds(retry.get("delay_s"))),
            (_("Retried at the"), position.get(str(retry.get("position")))),
            (_("When in doubt"), in_doubt.get(str(retry.get("in_doubt")))),
            (_("Time zone"), settings.get("timezone")),
            (_("One level up each"), seconds((settings.get("aging") or {}).get("every_s"))),
            (_("Windows"), [tag("div", window_text(one)) for one in settings.get("windows") or []]),
            (_("Holiday calendars"), ", ".join(settings.get("holidays") or [])),
            (_("Portals"), ", ".join(settings.get("portals") or [])),
            (_("Runs at once"), concurrency.get("runs")),
            (_("Runs with the same group"), concurrency.get("group")),
            (
                _("Kept warm for"),
                [tag("div", _group_text(one)) for one in (settings.get("warm") or {}).get("groups") or []],
            ),
            (_("Tags it needs"), ", ".join(settings.get("tags") or [])),
            (_("Held after failures in a row"), breaker.get("failures")),
            (_("Held by a rejected log-in"), _("yes") if breaker.get("login_rejected") else _("no")),
            (_("Environment"), settings.get("environment")),
            (_("Price"), f"{price['per_dispatch']} {price['currency']}" if price else _("free")),
            (_("Delivered to"), delivery.get("endpoint") or _("the results feed only")),
            (_("Events"), ", ".join(delivery.get("events") or [])),
        ]
    )


def _group_text(values: dict[str, Any]) -> str:
    return ", ".join(f"{field} {value}" for field, value in values.items())


def _draw_change(visit: Visit, account: str, name: str, settings: dict[str, Any]) -> None:
    """The settings that are changed most, as a form; all of them are in the API."""
    _ = visit.text
    retry = settings.get("retry") or {}
    with ui.dialog() as dialog, ui.card().classes("ask"):
        ui.label(_("Change settings"))
        levels = {level: priority_name(_, level) for level in range(6)}
        priority = ui.select(levels, label=_("Priority"), value=settings.get("priority", 1))
        attempts = ui.number(_("Attempts"), value=retry.get("attempts", 1), min=1, max=20, precision=0)
        delay = ui.number(_("Next attempt after, seconds"), value=retry.get("delay_s", 60), min=0, max=604800)
        choices = {"hold": _("hold for a person"), "fail": _("fail"), "retry": _("try again")}
        in_doubt = ui.select(choices, label=_("When in doubt"), value=retry.get("in_doubt", "hold"))
        for field in (priority, attempts, delay, in_doubt):
            field.props("outlined dense").classes("full")
        with ui.row().classes("asks"):
            ui.button(_("No"), on_click=dialog.close).props("flat dense")
            ui.button(_("Change"), on_click=lambda: change()).props("unelevated dense")

    async def change() -> None:
        wanted = {
            "priority": priority.value,
            "retry": {
                "attempts": int(attempts.value or 1),
                "delay_s": float(delay.value or 0),
                "in_doubt": in_doubt.value,
            },
        }
        dialog.close()
        if await act(visit, Role.ADMIN, lambda: patch_settings(visit.context, visit.viewer, account, name, wanted)):
            ui.navigate.reload()

    ui.button(_("Change"), icon="tune", on_click=dialog.open).props("outline dense size=sm")


def _versions(visit: Visit, workflow: dict[str, Any], versions: list[dict[str, Any]]) -> Html:
    _ = visit.text
    address = f"/workflows/{workflow['account']}/{workflow['name']}?version="
    rows = [
        (
            link(one["number"], f"{address}{one['number']}"),
            tag("span", _("current"), class_="badge s-authorised") if one["number"] == workflow.get("current") else "",
            visit.moment(one["published_at"]),
            one["published_by"],
            mono(one["digest"][:12]),
        )
        for one in versions
    ]
    columns = (_("Version"), "", _("Published"), _("By"), _("Digest"))
    return table(columns, rows, _("Nothing is published."), classes=("num", "", "", "", ""))


def _draw_version(visit: Visit, version: dict[str, Any]) -> None:
    """The files of a version, one tab each, the scripts first."""
    _ = visit.text
    names = sorted(version["files"], key=lambda one: (not one.endswith(".py"), one))
    with card(f"{_('Version')} {version['number']}").classes("wide full"):
        with ui.tabs().props("dense align=left no-caps") as tabs:
            shown = [ui.tab(name) for name in names]
        with ui.tab_panels(tabs, value=shown[0] if shown else None).classes("full"):
            for name, one in zip(names, shown, strict=True):
                with ui.tab_panel(one):
                    ui.html(source(version["files"][name].splitlines(), 1), sanitize=False)
