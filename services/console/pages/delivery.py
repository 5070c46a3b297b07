"""One delivery: what is sent, every attempt that is kept, and what came back. Called by: pages/__init__.py."""

from __future__ import annotations

import json
from typing import Any

from services.console.core.access import Role
from services.console.pages.endpoints import ENDPOINTS
from services.console.pages.frame import add_page, card, heading
from services.console.pages.markup import Html, button, code, facts, link, mono, seconds, table, tag
from services.console.pages.texts import state, words
from services.console.pages.visit import Live, Visit, act, keep_fresh
from services.console.store.context import Context
from services.console.store.deliveries import get_delivery, replay_ids
from shared.domain.delivery_state import DeliveryState

BODY_CHARS_SHOWN = 20_000


def add(context: Context) -> None:
    """Register the page."""
    add_page(context, "/deliveries/{delivery}", ENDPOINTS, build)


async def build(visit: Visit) -> None:
    """Draw the page."""
    _ = visit.text
    id = visit.path["delivery"]

    async def clicked(action: str, key: str) -> None:
        if action == "again":
            await act(visit, Role.OPERATOR, lambda: replay_ids(visit.context, visit.viewer, [key]))

    heading(_("Delivery"))
    with card(_("Where it stands")):
        about = Live(clicked)
    with card(_("Attempts")):
        attempts = Live()
    with card(_("What is sent")):
        body = Live()

    async def refresh() -> None:
        found = await get_delivery(visit.context, visit.viewer, id)
        about.show(_about(visit, found))
        attempts.show(_attempts(visit, found.get("attempts") or []))
        body.show(_body(str(found.get("body") or "")))

    await keep_fresh(visit, refresh)


def _about(visit: Visit, delivery: dict[str, Any]) -> Html:
    _ = visit.text
    endpoint, task = f"{delivery['account']}/{delivery['endpoint']}", delivery.get("task")
    may = delivery["state"] == DeliveryState.DEAD and visit.viewer.may(Role.OPERATOR)
    rows: list[tuple[str, Any]] = [
        (_("Id"), mono(delivery["_id"])),
        (_("State"), state(_, delivery["state"])),
        (_("Why"), delivery.get("reason")),
        (_("Endpoint"), link(endpoint, f"{ENDPOINTS}?endpoint={endpoint}")),
        (_("Event"), words(_).get(delivery["event"], delivery["event"])),
        (_("Task"), link(mono(task), f"/tasks/{task}") if task else None),
        ("webhook-id", mono(delivery["webhook_id"])),
        (_("Next"), visit.moment(delivery.get("next_at")) if delivery.get("attempts") else None),
        (_("Delivered"), visit.moment(delivery.get("delivered_at"))),
        ("", button(_("Send again"), "again", str(delivery["_id"]), "good") if may else None),
    ]
    return facts(rows)


def _attempts(visit: Visit, attempts: list[dict[str, Any]]) -> Html:
    _ = visit.text
    rows = [
        (
            visit.moment(one["at"]),
            one.get("status") or "",
            seconds(one.get("duration_s")),
            one.get("error") or "",
            tag("span", one.get("answer") or "", class_="wrap mono"),
        )
        for one in reversed(attempts)
    ]
    columns = (_("When"), _("Status"), _("Took"), _("What was wrong"), _("What came back"))
    return table(columns, rows, _("Not tried yet."), classes=("keep", "num", "num", "", ""))


def _body(text: str) -> Html:
    """The bytes, laid out for reading when they are JSON of a readable size."""
    if len(text) > BODY_CHARS_SHOWN:
        return tag("pre", text[:BODY_CHARS_SHOWN], "…", class_="code")
    try:
        return code(json.loads(text))
    except ValueError:
        return tag("pre", text, class_="code")
