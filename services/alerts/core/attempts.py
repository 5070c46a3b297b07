"""What becomes of a message after an attempt to send it.

Called by: notify/sender.py. Pure: moment and chance are arguments. Change also: shared/domain/notification_state.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.domain.notification_state import NotificationState
from shared.domain.retry import backoff_s

FACTOR = 3.0
WAIT_S_MAX = 900.0


@dataclass(frozen=True)
class Next:
    """What becomes of it."""

    state: NotificationState
    due_at: datetime | None


def after_attempt(
    *,
    taken: bool,
    failed_before: int,
    closed_at: datetime,
    first_s: float,
    give_up_s: float,
    retry_after_s: float | None,
    now: datetime,
    jitter: float,
) -> Next:
    """After an attempt at a message that had failed `failed_before` times.

    closed_at: from then on it was to be sent. first_s: the first wait, tripled after each failure. retry_after_s: what
    the other side asked for; it only ever lengthens a wait. jitter: a random number from 0 to 1.
    """
    if taken:
        return Next(NotificationState.SENT, None)
    wait_s = backoff_s(failed_before + 1, first_s=first_s, factor=FACTOR, max_s=WAIT_S_MAX, jitter=jitter)
    if retry_after_s is not None:
        wait_s = max(wait_s, min(retry_after_s, give_up_s))
    if now - closed_at >= timedelta(seconds=give_up_s):
        return Next(NotificationState.DEAD, None)
    return Next(NotificationState.RETRYING, now + timedelta(seconds=wait_s))
