"""The states of an alert: one thing that is wrong, from when it was first seen until it is over.

Called by: alerts (owner), console, cli. Change also: services/alerts/core (what moves them), docs/alerts.md.
"""

from __future__ import annotations

from enum import StrEnum

from shared.domain.machine import Edge, Machine


class AlertState(StrEnum):
    """Where an alert stands. `resolved` is final: what begins again is another alert."""

    PENDING = "pending"
    """The condition holds, but not yet for as long as its rule asks. Nobody was told."""
    FIRING = "firing"
    """It holds; people are told, until it is over."""
    RESOLVED = "resolved"
    """It is over, or its rule no longer asks for it; `resolved_why` says which."""


S = AlertState
OPEN = frozenset({S.PENDING, S.FIRING})
"""There is at most one of these for each rule and target."""

ALERT = Machine(
    name="alert",
    initial=S.PENDING,
    edges={
        (S.PENDING, S.FIRING): Edge("alerts", "the condition held for as long as the rule asks"),
        (S.PENDING, S.RESOLVED): Edge("alerts", "it was over before that; nobody was told"),
        (S.FIRING, S.RESOLVED): Edge("alerts", "it is over"),
    },
)
