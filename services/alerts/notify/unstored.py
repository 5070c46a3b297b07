"""Tells people what can't be stored: there is no database, so what is wrong with it is told from memory.

Called by: health.py through service.py (`tell`). Who is told is what the directory read last, or whom the settings
name. Survives a crash: nothing; the next process looks again. Two instances both tell: nobody can agree without a
database.

`tell` answers at once: what it is given waits a moment for what else is wrong (a dead database takes services with it),
is sent in the background, and the answer is yes at a later look, when somebody was told. While nobody takes it, it is
tried again, ever more rarely.
"""

from __future__ import annotations

import asyncio
from typing import Any

from services.alerts.core.bundles import contents
from services.alerts.core.inhibition import Source, Sources
from services.alerts.core.telling import Lane, What, item_of
from services.alerts.core.unstored import Unstored
from services.alerts.notify.channels import Channels
from services.alerts.notify.directory import Directory
from services.alerts.notify.message import Links, Message, zone_of
from shared.domain.alert_state import AlertState
from shared.domain.retry import backoff_s
from shared.obs.clock import now
from shared.obs.logs import get_logger
from shared.obs.metrics import counter

GATHER_S = 2.0
RETRY_S, RETRY_S_MAX = 5.0, 60.0
SENT = counter("alerts_unstored_sent_total", "Messages about what can't be stored, by channel.", ["kind", "taken"])
log = get_logger(__name__)
Key = tuple[str, int]


class UnstoredTeller:
    """Tells without a database."""

    def __init__(self, directory: Directory, channels: Channels, links: Links, *, gather_s: float = GATHER_S) -> None:
        self._directory = directory
        self._channels = channels
        self._links = links
        self._gather_s = gather_s
        self._waiting: dict[Key, Unstored] = {}
        self._told: dict[str, int] = {}
        self._sources: dict[str, Source] = {}
        self._task: asyncio.Task[None] | None = None

    async def tell(self, one: Unstored) -> bool:
        """Whether somebody was told of it for the nth time; else it is on its way."""
        if self._told.get(one.id, 0) > one.times:
            return True
        if not self._directory.lanes:
            log.error("alert that can't be stored, and nobody to tell", text=one.finding.text)
            return True
        if (one.id, one.times) not in self._waiting:
            log.error("alert that can't be stored", rule=one.finding.rule.id, text=one.finding.text)
            self._waiting[one.id, one.times] = one
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._send_waiting(), name="tell-unstored")
        return False

    async def stop(self) -> None:
        """End; what was not told is told by the next process."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _send_waiting(self) -> None:
        await asyncio.sleep(self._gather_s)
        tries = 0
        while self._waiting:
            batch = dict(self._waiting)
            if await self._send(batch):
                for key in batch:
                    self._told[key[0]] = key[1] + 1
                    self._waiting.pop(key, None)
            else:
                tries += 1
                await asyncio.sleep(backoff_s(tries, first_s=RETRY_S, factor=2, max_s=RETRY_S_MAX))

    async def _send(self, batch: dict[Key, Unstored]) -> bool:
        """One message to each lane; whether somebody was told, or nobody wanted to be."""
        by_lane: dict[str, tuple[Lane, list[dict[str, Any]]]] = {}
        for one in self._not_following(batch):
            alert = _as_alert(one)
            for lane in self._directory.routes(alert, one.finding.rule):
                what = What.REPEAT if one.times else What.FIRING
                item = item_of(alert, one.finding.rule.title, what, one.times, now())
                by_lane.setdefault(lane.id, (lane, []))[1].append(item)
        if not by_lane:
            return True
        sent = await asyncio.gather(*(self._to(lane, items) for lane, items in by_lane.values()))
        return any(sent)

    async def _to(self, lane: Lane, items: list[dict[str, Any]]) -> bool:
        first = sorted(item["id"] for item in items)[0].replace("/", "-")
        message = Message(
            id=f"unstored-{first}", at=now(), contents=contents(items), language=lane.recipient.language,
            zone=zone_of(lane), links=self._links,
        )  # fmt: skip
        outcome = await self._channels.send(lane, message)
        SENT.labels(lane.channel.kind.value, str(outcome.taken).lower()).inc()
        if not outcome.taken:
            log.warning("message not sent", recipient=lane.recipient.id, reason=outcome.error)
        return outcome.taken

    def _not_following(self, batch: dict[Key, Unstored]) -> list[Unstored]:
        """Those that do not merely follow from another one, of now or before; these count as told with it."""
        for one in batch.values():
            self._sources[one.id] = Source(one.id, one.finding.rule.kind, one.finding.target)
        sources = Sources(self._sources.values(), now())
        return [one for one in batch.values() if sources.holding(_as_alert(one)) is None]


def _as_alert(one: Unstored) -> dict[str, Any]:
    """As the stored one would be."""
    finding = one.finding
    return {
        "_id": one.id, "changes": 1, "account": finding.account, "rule": finding.rule.id,
        "kind": finding.rule.kind.value, "severity": finding.rule.severity.value, "target": finding.target,
        "text": finding.text, "since": finding.since, "facts": dict(finding.facts), "count": 1, "acked": None,
        "state": AlertState.FIRING.value,
    }  # fmt: skip
