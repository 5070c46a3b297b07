"""The states of a notification: one message to one channel of one recipient, and what it tells.

Called by: alerts (owner), console, cli (show it). Change also: services/alerts/notify, docs/notifications.md.
"""

from __future__ import annotations

from enum import StrEnum

from shared.domain.machine import Edge, Machine


class NotificationState(StrEnum):
    """Where a notification stands. `sent` and `dead` are final; what a dead one told stands in it."""

    GATHERING = "gathering"
    """What is to be told is gathered; there is at most one for a channel of a recipient."""
    PENDING = "pending"
    """It is closed and to be sent."""
    RETRYING = "retrying"
    """It was tried without success; tried again at `due_at`."""
    SENT = "sent"
    """The mail server, the gateway or the receiver took it."""
    DEAD = "dead"
    """Given up: the channel took nothing for too long, or is there no more."""


S = NotificationState
LIVE = (S.PENDING, S.RETRYING)
"""Under way."""

NOTIFICATION = Machine(
    name="notification",
    initial=S.GATHERING,
    edges={
        (S.GATHERING, S.PENDING): Edge("alerts", "its time has come and the channel's cap allows it"),
        (S.PENDING, S.SENT): Edge("alerts", "it was taken"),
        (S.PENDING, S.RETRYING): Edge("alerts", "the first attempt failed"),
        (S.PENDING, S.DEAD): Edge("alerts", "the channel is there no more"),
        (S.RETRYING, S.SENT): Edge("alerts", "it was taken"),
        (S.RETRYING, S.DEAD): Edge("alerts", "it was not taken for too long, or the channel is there no more"),
    },
)
