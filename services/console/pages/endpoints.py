"""Endpoints: where partners are told of outcomes, whether anything gets through, and the deliveries that it is about.

Called by: pages/__init__.py. One delivery, with every attempt that is kept and its bytes: delivery.py.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

from nicegui import ui

from services.console.core.access import Role
from services.console.pages.frame import add_page, card, heading
from services.console.pages.markup import Html, age, badge, button, join, link, mono, table, tag
from services.console.pages.texts import state, words
from services.console.pages.visit import Live, Visit, act, confirm, keep_fresh
from services.console.store.context import Context
from services.console.store.deliveries import list_deliveries, replay_dead, replay_ids
from services.console.store.endpoints import list_endpoints, rotate_endpoint, send_test
from shared.contracts.endpoint_file import OVERLAP_S
from shared.domain.delivery_state import DeliveryState
from shared.obs.clock import now

ENDPOINTS = "/endpoints"
ROWS = 100
REFRESH_S = 2.0


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, ENDPOINTS, ENDPOINTS, build)


async def build(visit: Visit) -> None:
    """Draw the page. `?endpoint=<account>/<name>` and `?state=` choose the deliveries that it shows."""
    _ = visit.text

    async def clicked(action: str, key: str) -> None:
        await _act(visit, action, key)

    heading(_("Endpoints"))
    with card(_("Where partners are told of outcomes")):
        endpoints = Live(clicked)
    with card(_("Deliveries")):
        chosen = Live()
        deliveries = Live(clicked)

    async def refresh() -> None:
        found = await list_endpoints(visit.context, visit.viewer, None, ROWS, None)
        endpoints.show(_endpoints(visit, found.items))
        account, _sep, name = visit.query.get("endpoint", "").partition("/")
        wanted = visit.query.get("state", "")
        shown = await list_deliveries(
            visit.context, visit.viewer, account=account or None, endpoint=name or None,
            state=DeliveryState(wanted) if wanted in set(DeliveryState) else None, limit=ROWS,
        )  # fmt: skip
        chosen.show(_filters(visit))
        deliveries.show(_deliveries(visit, shown.items))

    await keep_fresh(visit, refresh, REFRESH_S)


async def _act(visit: Visit, action: str, key: str) -> None:
    """What a button asks for; key: `<account>/<name>` of an endpoint, or a delivery's id."""
    _ = visit.text
    account, __, name = key.partition("/")
    if action == "test":
        await act(visit, Role.OPERATOR, lambda: send_test(visit.context, visit.viewer, account, name))
    elif action == "again":
        await act(visit, Role.OPERATOR, lambda: replay_ids(visit.context, visit.viewer, [key]))
    elif action == "all":
        question = _("Send every dead delivery of this endpoint again? The bytes and their ids stay the same.")
        if await confirm(visit, question, _("Send again")):
            filters = {"endpoint": name}
            await act(visit, Role.OPERATOR, lambda: replay_dead(visit.context, visit.viewer, account, filters))
    elif action == "rotate":
        await _rotate(visit, account, name)


async def _rotate(visit: Visit, account: str, name: str) -> None:
    """New secrets and keys, shown once."""
    _ = visit.text
    question = _("Make a new secret or key? The one before signs beside it for a day.")
    if not await confirm(visit, question, _("Rotate")):
        return
    made: list[str] = []

    async def rotate() -> None:
        put = await rotate_endpoint(visit.context, visit.viewer, account, name, OVERLAP_S)
        made.extend([one for one in (put.secret, *_public_keys(put.document)[:1]) if one])

    if await act(visit, Role.ADMIN, rotate):
        with ui.dialog(value=True) as dialog, ui.card().classes("ask"):
            ui.label(_("Shown this once:"))
            for text in made:
                ui.label(text).classes("mono wrap")
            ui.button(_("Close"), on_click=dialog.close).props("flat dense")


def _endpoints(visit: Visit, found: list[dict[str, Any]]) -> Html:
    _ = visit.text
    rows = [
        (
            link(str(one["_id"]), f"{ENDPOINTS}?{urlencode({'endpoint': one['_id']})}"),
            one.get("kind", "webhook"),
            tag("span", one.get("url") or "", class_="clip"),
            ", ".join(words(_).get(event, event) for event in one.get("events") or ()) or _("the workflow's"),
            ", ".join(one.get("signatures") or ["v1"]),
            standing(visit, one),
            _buttons(visit, one),
        )
        for one in found
    ]
    columns = (_("Endpoint"), _("Kind"), _("Address"), _("Events"), _("Signatures"), _("State"), "")
    return table(columns, rows, _("No endpoint yet."), classes=("", "", "", "", "", "", "acts"))


def standing(visit: Visit, endpoint: dict[str, Any]) -> Html:
    """Whether anything gets through, and why not."""
    _ = visit.text
    circuit = endpoint.get("circuit") or {}
    if not endpoint.get("enabled", True):
        return join([badge("stopped", _("disabled")), " ", endpoint.get("disabled_reason") or ""])
    if circuit.get("open"):
        at = circuit.get("probe_at")
        next_ = f"{_('tried again')} {visit.moment(at, day=False)}" if at else ""
        since = age(circuit.get("opened_at"), now())
        return join([badge("error", _("down")), " ", since, " ", tag("span", circuit.get("reason") or "", next_)])
    waits = circuit.get("slow_until")
    if waits is not None and waits > now():
        return join([badge("waiting", _("slowed down")), " ", visit.moment(waits, day=False)])
    return badge("ready", _("up"))


def _buttons(visit: Visit, endpoint: dict[str, Any]) -> Any:
    _ = visit.text
    if not visit.viewer.may(Role.OPERATOR):
        return ""
    key = str(endpoint["_id"])
    found = [button(_("Send a test"), "test", key, "good"), button(_("Send the dead again"), "all", key)]
    if visit.viewer.may(Role.ADMIN) and endpoint.get("kind", "webhook") == "webhook":
        found.append(button(_("Rotate"), "rotate", key))
    return found


def _filters(visit: Visit) -> Html:
    """Links that choose a state, within the endpoint that is chosen."""
    _ = visit.text
    endpoint, named = visit.query.get("endpoint", ""), words(_)
    choices = [("", _("all")), *((one.value, named[one.value]) for one in DeliveryState)]

    def href(wanted: str) -> str:
        query = {"endpoint": endpoint, "state": wanted}
        return f"{ENDPOINTS}?{urlencode({name: value for name, value in query.items() if value})}"

    parts: list[Any] = [tag("b", endpoint), " "] if endpoint else []
    for wanted, text in choices:
        parts += [tag("b", text) if wanted == visit.query.get("state", "") else link(text, href(wanted)), " "]
    return tag("div", parts, class_="said")


def _deliveries(visit: Visit, found: list[dict[str, Any]]) -> Html:
    _ = visit.text
    at = now()
    rows = [
        (
            link(mono(f"…{str(one['_id'])[-28:]}"), f"/deliveries/{one['_id']}"),
            f"{one['account']}/{one['endpoint']}",
            words(_).get(one["event"], one["event"]),
            state(_, one["state"]),
            one.get("attempts_made", 0),
            tag("span", one.get("reason") or "", class_="clip"),
            visit.moment(one.get("next_at"), day=False) if (one.get("next_at") or at) > at else "",
            age(one["created_at"], at),
            _again(visit, one),
        )
        for one in found
    ]
    columns = (
        _("Delivery"), _("Endpoint"), _("Event"), _("State"), _("Attempts"), _("Why"), _("Next"), _("Age"), "",
    )  # fmt: skip
    return table(columns, rows, _("Nothing yet."), classes=("", "", "", "", "num", "", "num", "num", "acts"))


def _again(visit: Visit, delivery: dict[str, Any]) -> Any:
    _ = visit.text
    may = delivery["state"] == DeliveryState.DEAD and visit.viewer.may(Role.OPERATOR)
    return button(_("Send again"), "again", str(delivery["_id"])) if may else ""


def _public_keys(endpoint: dict[str, Any]) -> list[str]:
    return [str(key["public"]) for key in endpoint.get("keys") or ()]
