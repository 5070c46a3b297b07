"""The states of a delivery: one event of one task for one endpoint. Called by: delivery (owner), console, cli."""

from __future__ import annotations

from enum import StrEnum

from shared.domain.machine import Edge, Machine


class DeliveryState(StrEnum):
    """Where a delivery stands. `delivered` is final; `dead` waits for a person."""

    PENDING = "pending"
    """Made, not tried yet."""
    RETRYING = "retrying"
    """Tried without success; tried again at `next_at`."""
    DELIVERED = "delivered"
    """The endpoint answered 2xx."""
    DEAD = "dead"
    """The last attempt failed; a person may replay it."""


S = DeliveryState

DELIVERY = Machine(
    name="delivery",
    initial=S.PENDING,
    edges={
        (S.PENDING, S.DELIVERED): Edge("delivery", "the endpoint answered 2xx"),
        (S.PENDING, S.RETRYING): Edge("delivery", "the first attempt failed"),
        (S.PENDING, S.DEAD): Edge("delivery", "the endpoint is gone or disabled"),
        (S.RETRYING, S.DELIVERED): Edge("delivery", "the endpoint answered 2xx"),
        (S.RETRYING, S.DEAD): Edge("delivery", "the last attempt failed"),
        (S.DEAD, S.RETRYING): Edge("delivery", "a person replays it"),
    },
)
