"""When collected results become a file, and which. Pure. Called by: collecting.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from services.delivery.core.plan import Event, delivery
from shared.domain.delivery_state import DeliveryState
from shared.domain.endpoint_options import Collect

EVENT = "file"
FILE_PREFIX = "file_"
EDGES_TO = {
    DeliveryState.RETRYING: (DeliveryState.PENDING, DeliveryState.DEAD),
    DeliveryState.DELIVERED: (DeliveryState.PENDING, DeliveryState.RETRYING),
    DeliveryState.DEAD: (DeliveryState.PENDING, DeliveryState.RETRYING),
}
"""Of a result in a file, when the file reaches the state."""


def period_end(at: datetime, every_s: int) -> datetime:
    """The end of the period in which a moment lies; periods are counted from 1970-01-01 UTC."""
    seconds = int(at.timestamp()) // every_s * every_s + every_s
    return datetime.fromtimestamp(seconds, UTC)


def part_due(
    items: Sequence[tuple[str, datetime]], collect: Collect | None, now: datetime
) -> tuple[list[str], datetime] | None:
    """The results that become the next file, and the end of the period that it covers; none when nothing is due yet.

    items: (id, created_at) of results that wait, oldest first. collect: none when the endpoint collects no longer (or
    is gone): whatever waits is due.
    """
    if not items:
        return None
    most = collect.items_max if collect else len(items)
    end = period_end(items[0][1], collect.every_s) if collect else now
    if now < end:
        return ([id for id, _ in items[:most]], now) if len(items) >= most else None
    return [id for id, at in items if at < end or not collect][:most], end


def file_document(
    id: str, *, account: str, endpoint: str, items: Sequence[str], until: datetime, at: datetime
) -> dict[str, Any]:
    """The delivery of a file: due at once, tried again and replayed like any other. Its bytes follow from its items,
    whose bodies never change."""
    made = delivery(
        id, account, endpoint, Event(EVENT), body="", at=at, task=None, workflow=None, order=0, traceparent=None
    )
    return {**made, "items": list(items), "until": until, "told": made["state"]}


def waiting(document: Mapping[str, Any]) -> dict[str, Any]:
    """A new delivery that waits for its file, in no lane, instead of being sent by itself."""
    kept = {name: value for name, value in document.items() if name not in ("lane", "next_at")}
    return {**kept, "collect": True, "file": None}
