"""Sends what was closed, and notes how that went.

Called by: service.py (a sweeper on every instance, and at once when something was closed). Survives a crash at any
line: a notification is claimed for a time before it is sent; when nobody noted how it went it becomes due again, is
sent again and says that it may be a repeat. Two instances send side by side, never the same one at the same time.
Change also: store.py, core/attempts.py.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from services.alerts.core.attempts import Next, after_attempt
from services.alerts.core.bundles import contents
from services.alerts.notify.channels import Channels
from services.alerts.notify.channels.outcome import Outcome
from services.alerts.notify.directory import Directory
from services.alerts.notify.message import Links, message_of
from services.alerts.notify.pictures import Pictures
from services.alerts.notify.settings import NotifySettings
from services.alerts.notify.store import NotifyStore
from shared.domain.notification_state import NotificationState
from shared.domain.recipients import ChannelKind
from shared.obs.clock import monotonic_s, now
from shared.obs.ids import new_id
from shared.obs.logs import get_logger
from shared.obs.metrics import counter, histogram

AT_ONCE_MAX = 8
CLAIM_GRACE_S = 15.0
"""On top of an attempt's time: noting how it went, also during a change of the database's primary."""
GONE = "the recipient, or its channel, is there no more"
SENT = counter(
    "alerts_notifications_total", "Attempts to send messages, by channel and how they went.", ["kind", "how"]
)
SECONDS = histogram("alerts_notification_seconds", "From the closing of a message until it was taken.", ["kind"])
log = get_logger(__name__)


class Sender:
    """Sends."""

    def __init__(
        self,
        store: NotifyStore,
        directory: Directory,
        channels: Channels,
        settings: NotifySettings,
        *,
        links: Callable[[str], Links],
    ) -> None:
        """links: where more is to be read about a notification."""
        self._store = store
        self._directory = directory
        self._channels = channels
        self._settings = settings
        self._links = links
        self._pictures = Pictures(store)

    async def begin(self) -> None:
        """What this instance had in hand when it died is due at once."""
        await self._store.release_own(self._settings.instance, now())

    async def sweep(self) -> None:
        """Everything that is due, several at once, the longest waiting first."""
        while due := await self._store.to_send(now(), AT_ONCE_MAX):
            await self._directory.refresh(now())  # a recipient may be newer than what was read last
            await asyncio.gather(*(self._send(one) for one in due))

    async def _send(self, found: Mapping[str, Any]) -> None:
        claim = new_id("claim_")
        until = now() + timedelta(seconds=self._channels.limit_s + CLAIM_GRACE_S)
        notification = await self._store.claim(found, self._settings.instance, claim, until)
        if notification is None:
            return  # another instance was first
        at, began = now(), monotonic_s()
        lane = self._directory.lanes.get(notification["lane"])
        if lane is None:
            outcome, following = Outcome(False, error=GONE), Next(NotificationState.DEAD, None)
        else:
            entries = contents(notification["items"]).entries
            pictures = await self._pictures.of(entries) if lane.channel.kind is ChannelKind.MAIL else []
            outcome = await self._channels.send(
                lane, message_of(notification, lane, self._links(notification["_id"]), pictures)
            )
            following = self._following(notification, outcome)
        attempt = {
            "at": at, "duration_s": round(monotonic_s() - began, 3), "status": outcome.status,
            "error": outcome.error or None, "by": self._settings.instance,
            "maybe_repeat": bool(notification["maybe_repeat"]),
        }  # fmt: skip
        noted = await self._store.note(
            notification["_id"], claim, following.state, attempt, due_at=following.due_at,
            reason=outcome.error or None, doubt=outcome.doubt, now=now(),
        )  # fmt: skip
        self._tell(notification, outcome, following, noted)

    def _following(self, notification: Mapping[str, Any], outcome: Outcome) -> Next:
        return after_attempt(
            taken=outcome.taken,
            failed_before=int(notification["failed"]),
            closed_at=notification["closed_at"],
            first_s=self._settings.alerts_retry_s,
            give_up_s=self._settings.alerts_give_up_s,
            retry_after_s=outcome.retry_after_s,
            now=now(),
            jitter=random.random(),
        )

    def _tell(self, notification: Mapping[str, Any], outcome: Outcome, following: Next, noted: bool) -> None:
        kind, id = notification["kind"], notification["_id"]
        about = {"notification": id, "recipient": notification["recipient"], "kind": kind}
        SENT.labels(kind, following.state.value).inc()
        if not noted:
            log.warning("attempt ended after its claim; it may be repeated", **about)
        elif following.state is NotificationState.SENT:
            SECONDS.labels(kind).observe((now() - notification["closed_at"]).total_seconds())
            log.info("people told", items=notification["count"], **about)
        elif following.state is NotificationState.DEAD:
            log.error("message given up; what it told stands in it", reason=outcome.error, **about)
        else:
            log.warning("message not sent; tried again", reason=outcome.error, **about)
