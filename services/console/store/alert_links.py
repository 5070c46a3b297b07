"""What is behind the link of a message: its alerts, and saying without a log-in that somebody looks at them.

Called by: pages/alert_link.py. Owns nothing: alerts is asked by the durable request `alert.ack`, once for the whole
message. Survives a crash: the request is a document. Change also: shared/domain/alert_link.py.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any

from services.console.store.commands import Asked, ask_as
from services.console.store.context import Context
from services.console.store.listing import QUERY_TIME_MS_MAX
from shared.domain.alert_link import PURPOSE, is_id, said_by

KIND = "alert.ack"
SHOWN_MAX = 100


@dataclass(frozen=True)
class Named:
    """A message and what fires of it."""

    notification: dict[str, Any]
    firing: list[dict[str, Any]]
    """The worst first, SHOWN_MAX at most; of these some may be looked at already."""
    free: int
    """How many fire and nobody looks at."""
    on_its_way: bool
    """Somebody said so, and alerts has not noted it yet."""


def opens(context: Context, id: str, token: str) -> bool:
    """Whether a token is the one of this message's link; asks no database."""
    expected = context.sealer.derive(PURPOSE, id if is_id(id) else "")
    right = hmac.compare_digest(expected.encode(), token.encode(errors="replace"))
    return right and is_id(id)


async def find_named(context: Context, id: str) -> Named | None:
    """What a message whose link's token was right tells of, as it is now; none: it is gone."""
    fields = {"items.alert": 1, "recipient": 1, "account": 1, "closed_at": 1}
    notification = await context.mongo["notifications"].find_one({"_id": id}, fields)
    if notification is None or not notification.get("closed_at"):
        return None
    ids = sorted({item["alert"] for item in notification["items"]})
    query = {"_id": {"$in": ids}, "state": "firing"}
    alerts = context.mongo["alerts"]
    free = await alerts.count_documents({**query, "acked": None}, maxTimeMS=QUERY_TIME_MS_MAX)
    found = alerts.find(query, {"events": 0}).sort([("acked", 1), ("since", 1)]).limit(SHOWN_MAX)
    firing = [dict(one) async for one in found.max_time_ms(QUERY_TIME_MS_MAX)]
    sent = await context.mongo["commands"].find_one({"target": id, "kind": KIND, "state": "pending"}, {"_id": 1})
    return Named(dict(notification), firing, int(free), sent is not None)


async def take_named(context: Context, named: Named, note: str, address: str) -> Asked:
    """Say that somebody looks at all of it, in the name of the recipient that got the link.

    address: of the network, for the audit. One that is on its way counts already.
    """
    id = str(named.notification["_id"])
    if named.on_its_way:
        return Asked("", "pending", None)
    recipient = str(named.notification["recipient"])
    return await ask_as(
        context, said_by(recipient), kind=KIND, to="alerts", target=id, account=named.notification.get("account"),
        args={"notification": id, "note": note}, details={"address": address},
    )  # fmt: skip
