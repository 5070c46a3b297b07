"""The robots: who may work, what each does, and the buttons that change it."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from services.console.core.access import Role
from services.console.pages.frame import add_page, card, heading
from services.console.pages.markup import Html, age, button, link, mono, short_id, table, tag
from services.console.pages.robot_setup import set_up_robot, takes
from services.console.pages.texts import state
from services.console.pages.visit import Live, Visit, act, confirm, keep_fresh
from services.console.store.commands import Asked
from services.console.store.context import Context
from services.console.store.listing import account_names
from services.console.store.workers import authorise, get_worker, list_workers, request
from shared.domain.worker_state import Authorisation, WorkerMode
from shared.obs.clock import now

SHARED = "-"


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, "/fleet", "/fleet", build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    heading(_("Robots"))

    async def clicked(action: str, key: str) -> None:
        await on_click(visit, action, key)
        await refresh()

    waiting_card = card(_("Waiting to be authorised"))
    with waiting_card:
        waiting = Live(clicked)
    with card(_("Fleet")):
        fleet = Live(clicked)

    async def refresh() -> None:
        workers = await list_workers(visit.context, visit.viewer)
        asking = [one for one in workers if one.get("authorisation") == Authorisation.PENDING]
        waiting_card.set_visibility(bool(asking))
        waiting.show(_asking(visit, asking))
        fleet.show(_fleet(visit, [one for one in workers if one not in asking]))

    await keep_fresh(visit, refresh)


def _asking(visit: Visit, workers: list[dict[str, Any]]) -> Html:
    _ = visit.text
    at = now()
    acts = visit.viewer.may(Role.OPERATOR)
    rows = [
        (
            _name(one),
            mono(", ".join(one.get("addresses") or [])),
            one.get("os") or "",
            one.get("agent_version") or "",
            tag("span", (one.get("doubt") or {}).get("reason") or "", class_="warn"),
            age(one.get("enrolled_at"), at),
            [button(_("Authorise"), "authorise", one["_id"], "good"), button(_("Remove"), "remove", one["_id"])]
            if acts
            else "",
        )
        for one in workers
    ]
    columns = (_("Robot"), _("Addresses"), _("System"), _("Agent"), _("Doubt"), _("Asked"), "")
    return table(columns, rows, "", classes=("", "", "", "", "", "num", "acts"))


def _fleet(visit: Visit, workers: list[dict[str, Any]]) -> Html:
    _ = visit.text
    at = now()
    rows = [
        (
            _name(one),
            one.get("account") or _("shared"),
            _access(visit, one),
            state(_, "warm" if one.get("warm") else one.get("status")),
            state(_, one.get("mode")),
            link(mono(short_id(one["run"])), f"/runs/{one['run']}") if one.get("run") else "",
            age(_seen_at(one), at) if one.get("connected") else "",
            [takes(visit, one), _special(visit, one)],
            _buttons(visit, one),
        )
        for one in workers
    ]
    columns = (
        _("Robot"),
        _("Account"),
        _("Access"),
        _("Status"),
        _("Mode"),
        _("Run"),
        _("Beat"),
        _("Takes"),
        "",
    )
    empty = _("No robot is authorised yet: start an agent, it will ask here.")
    return table(columns, rows, empty, classes=("keep", "", "keep", "", "", "keep", "num", "", "acts many"))


def _access(visit: Visit, worker: dict[str, Any]) -> Any:
    """Whether it is connected; only what is not authorised says more."""
    _ = visit.text
    named = state(_, "connected" if worker.get("connected") else "disconnected")
    authorised = worker.get("authorisation") == Authorisation.AUTHORISED
    return named if authorised else [state(_, worker.get("authorisation")), named]


def _special(visit: Visit, worker: dict[str, Any]) -> Any:
    """Doubt, quarantine and drain; and whether it can't be sent secrets."""
    _ = visit.text
    sealed = worker.get("opens_sealed") or worker.get("authorisation") != Authorisation.AUTHORISED
    doubt, quarantine, drain = (worker.get(name) or {} for name in ("doubt", "quarantine", "drain"))
    until = f"{_('until')} {visit.moment(quarantine.get('until'), day=False)}" if quarantine else ""
    reason = str(quarantine.get("reason") or "")
    return [
        tag("span", doubt.get("reason") or "", class_="warn") if doubt else None,
        [state(_, "quarantine"), tag("span", f"{until}: {reason}", class_="clip short", title=reason)]
        if quarantine
        else None,
        [state(_, "drain"), f"{_('by')} {drain.get('by')}"] if drain else None,
        None if sealed else tag("span", _("no secrets: its agent is too old"), class_="warn"),
    ]


def _name(worker: dict[str, Any]) -> Html:
    logs = f"/logs?worker={worker['_id']}"
    return tag(
        "span", tag("b", worker.get("name") or worker["_id"]), " ", link(mono(worker["_id"]), logs), id=worker["_id"]
    )


def _seen_at(worker: dict[str, Any]) -> Any:
    """The heartbeat's moment, as the scheduler noted it."""
    seen = worker.get("seen") or {}
    return seen.get("at") if hasattr(seen.get("at"), "isoformat") else None


def _buttons(visit: Visit, worker: dict[str, Any]) -> Any:
    _ = visit.text
    if not visit.viewer.may(Role.OPERATOR):
        return ""
    if worker.get("authorisation") != Authorisation.AUTHORISED:
        return [
            button(_("Authorise"), "authorise", worker["_id"], "good"),
            button(_("Remove"), "remove", worker["_id"]),
        ]
    modes = [
        (WorkerMode.RUN, _("Run")),
        (WorkerMode.PAUSE, _("Pause")),
        (WorkerMode.STOP, _("Stop")),
        (WorkerMode.ABORT, _("Abort")),
    ]
    css = {WorkerMode.ABORT: "bad"}
    shown = [
        button(name, f"mode:{mode.value}", worker["_id"], css.get(mode, ""))
        for mode, name in modes
        if mode != worker.get("mode")
    ]
    key = worker["_id"]
    ends = button(_("End quarantine"), "release", key, "good") if worker.get("quarantine") else None
    drain = None if worker.get("drain") else button(_("Drain"), "drain", key)
    set_up = button(_("Set up"), "config", key)
    return [ends, *shown, drain, set_up, button(_("Revoke"), "revoke", key, "bad")]


async def on_click(visit: Visit, action: str, worker: str) -> None:
    """A button of a robot."""
    if action == "authorise":
        await _authorise(visit, worker)
        return
    if action == "config":
        await set_up_robot(visit, worker)
        return
    _ = visit.text
    questions = {
        "revoke": (_("Take this robot's authorisation away? Its connection is cut, what it does ends."), _("Revoke")),
        "remove": (_("Forget this robot? It may ask again."), _("Remove")),
        "mode:abort": (_("Cut the instruction in flight? What it does may be left half done."), _("Abort")),
        "mode:stop": (_("Stop this robot after its task?"), _("Stop")),
        "drain": (_("Let this robot finish the run in hand, and then stop?"), _("Drain")),
        "release": (_("End this robot's quarantine? See first that what made it fail is gone."), _("End quarantine")),
    }
    harmless = {"mode:stop", "drain", "release"}
    question = questions.get(action)
    danger = action not in harmless
    if question and not await confirm(visit, f"{worker}: {question[0]}", question[1], danger=danger):
        return
    name, __, mode = action.partition(":")
    args = {"mode": WorkerMode(mode).value} if name == "mode" and mode in set(WorkerMode) else None
    if name in {"revoke", "remove", "drain", "release"} or args:
        await act(visit, Role.OPERATOR, lambda: request(visit.context, visit.viewer, worker, name, args))


async def _authorise(visit: Visit, worker: str) -> None:
    """Ask whose robot it becomes, and let it in."""
    _ = visit.text
    document = await get_worker(visit.context, visit.viewer, worker)
    everywhere = visit.viewer.everywhere
    names = await account_names(visit.context) if everywhere else list(visit.viewer.accounts)
    choices = {**({SHARED: _("shared by all accounts")} if everywhere else {}), **{name: name for name in names}}
    with ui.dialog() as dialog, ui.card().classes("ask"):
        ui.label(_("Let this robot connect and take work?"))
        ui.label(f"{document.get('name') or ''} · {worker} · {document.get('os') or ''}").classes("mono")
        account = ui.select(choices, label=_("Account"), value=document.get("account") or next(iter(choices), None))
        account.props("outlined dense").classes("full")
        with ui.row().classes("asks"):
            ui.button(_("No"), on_click=lambda: dialog.submit(False)).props("flat dense")
            ui.button(_("Authorise"), on_click=lambda: dialog.submit(True)).props("unelevated dense")
    said = await dialog
    chosen = None if account.value == SHARED else account.value
    dialog.delete()
    if not said:
        return

    async def ask() -> Asked:
        return await authorise(visit.context, visit.viewer, worker, {"account": chosen})

    await act(visit, Role.OPERATOR, ask)
