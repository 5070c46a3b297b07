"""Notify as a whole: what alerts' process starts, kicks and asks.

Called by: services/alerts/main.py. Owns the order: the directory is read before anything is planned, closed or sent.
Survives a crash: see planner.py, closing.py, sender.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from fastapi import APIRouter

from services.alerts.core.telling import trial_item
from services.alerts.core.unstored import Unstored
from services.alerts.notify.beat import Able, Beat
from services.alerts.notify.channels import Channels
from services.alerts.notify.closing import Closing
from services.alerts.notify.digest import PATH, digest_router, token_of
from services.alerts.notify.directory import Directory, own_recipient
from services.alerts.notify.message import Links
from services.alerts.notify.planner import Planner
from services.alerts.notify.sender import Sender
from services.alerts.notify.settings import NotifySettings
from services.alerts.notify.store import NotifyStore
from services.alerts.notify.unstored import UnstoredTeller
from services.alerts.store import AlertStore
from shared.domain.alert_link import PURPOSE, link_url
from shared.domain.alert_rules import RUNBOOK_PAGE
from shared.errors import TemporaryError
from shared.mongo import Mongo
from shared.obs.clock import monotonic_s, now
from shared.obs.logs import get_logger
from shared.runtime.sweeper import Sweeper
from shared.seal import Sealer

STILL_MIN_S = 60.0
"""What did not run for so long, or for ten of its intervals, does not run."""
STUCK = timedelta(minutes=15)
"""While nothing was sent for so long although something is to be, people are not told."""
TRIES_MAX = 5
log = get_logger(__name__)


class Notify:
    """Tells people."""

    def __init__(
        self, mongo: Mongo, sealer: Sealer, settings: NotifySettings, alerts: AlertStore, *,
        leads: Callable[[], bool], evaluated_s_ago: Callable[[], float], evaluate_s: float, keep_days: int,
    ) -> None:  # fmt: skip
        """leads: whether this instance evaluates. evaluated_s_ago: when a pass last ended well, in seconds.

        Raises: OSError, ValueError, ssl.SSLError for a setting that can't be used.
        """
        self.store = NotifyStore(mongo, keep_days=keep_days)
        self.directory = Directory(mongo, own_recipient(settings, sealer))
        self.channels = Channels(settings, sealer)
        self._mongo = mongo
        self._sealer = sealer
        self._settings = settings
        self._leads = leads
        self._evaluated_s_ago = evaluated_s_ago
        self._evaluate_s = evaluate_s
        self._began_at_s = monotonic_s()
        self._ran_at_s: dict[str, float] = {}
        self.planner = Planner(self.store, alerts, self.directory)
        self.closing = Closing(self.store, self.directory, closed=self._closed)
        self.sender = Sender(self.store, self.directory, self.channels, settings, links=self._links)
        self.unstored = UnstoredTeller(self.directory, self.channels, self._links(None))
        self.beat = Beat(
            self.channels.poster, self.able, url=settings.alerts_beat_url.get_secret_value(),
            fail_url=settings.alerts_beat_fail_url.get_secret_value(), interval_s=settings.alerts_beat_interval_s,
            instance=settings.instance,
        )  # fmt: skip
        self._sweepers: dict[str, Sweeper] = {}

    def router(self) -> APIRouter:
        """The lists behind messages."""
        return digest_router(self.store, self._sealer)

    async def start(self) -> None:
        """Begin to plan, close and send; the database is there."""
        await self.directory.refresh(now())
        await self.sender.begin()
        for name, work, led in (
            ("plan", self.planner.sweep, True), ("close", self.closing.sweep, True), ("send", self.sender.sweep, False),
        ):  # fmt: skip
            run = self._noted(name, work, led)
            self._sweepers[name] = Sweeper(f"alerts.notify.{name}", self._settings.alerts_notify_s, run, log)
        for sweeper in self._sweepers.values():
            await sweeper.start()

    async def stop(self) -> None:
        """Take no more; what is being sent may end."""
        await asyncio.gather(*(sweeper.stop() for sweeper in self._sweepers.values()))

    async def end(self) -> None:
        """With the process."""
        await self.beat.stop()
        await self.unstored.stop()
        self.channels.close()

    def changed(self) -> None:
        """An alert changed: look at once."""
        if "plan" in self._sweepers:
            self._sweepers["plan"].kick()

    async def tell_unstored(self, one: Unstored) -> bool:
        """Tell what can't be stored; true when somebody was told."""
        return await self.unstored.tell(one)

    async def test(self, command: Mapping[str, Any]) -> str | None:
        """Send a test message for a request `alert.test` {recipient, channel?}; why not, or none. A repeat of the
        request sends nothing more. Raises: TemporaryError."""
        args = command["args"]
        recipient, channel = str(args.get("recipient") or command["target"]), args.get("channel")
        await self.directory.refresh(now())
        lanes = [
            lane for lane in self.directory.lanes.values()
            if lane.recipient.id == recipient and channel in (None, lane.channel.id)
        ]  # fmt: skip
        if not lanes:
            return f"there is no recipient {recipient} that is enabled" + (
                f" with channel {channel}" if channel else ""
            )
        item = trial_item(command["_id"], str(command["by"]), now())
        for lane in lanes:
            for _ in range(TRIES_MAX):
                head = await self.store.head(lane)
                given = (await self.store.history([item["alert"]])).get((lane.id, item["alert"]))
                if given or await self.store.gather(lane, head, [item], now(), now()):
                    break
            else:
                raise TemporaryError("the lane moves all the time; tried again")
        if "close" in self._sweepers:
            self._sweepers["close"].kick()
        return None

    async def able(self) -> Able:
        """Whether people would be told of an alert now, as far as can be seen from here."""
        leads, problems = self._leads(), []
        if leads and self._evaluated_s_ago() > max(STILL_MIN_S, 10 * self._evaluate_s):
            problems.append("the rules were not evaluated for a while")
        try:
            await self._mongo.ping()
            problems += await self._stuck()
        except Exception as error:
            problems.append(f"the database does not answer: {type(error).__name__}")
        limit_s = max(STILL_MIN_S, 10 * self._settings.alerts_notify_s)
        for name in ("plan", "close", "send"):
            if monotonic_s() - self._ran_at_s.get(name, self._began_at_s) > limit_s and (leads or name == "send"):
                problems.append(f"messages: {name} did not run for a while")
        if self.directory.read and not self.directory.lanes:
            problems.append("there is nobody to tell")
        return Able(leads, tuple(problems))

    async def _stuck(self) -> list[str]:
        """Whether messages wait and none arrives."""
        newest = await self.store.newest()
        stuck = [one["closed_at"] for one in newest if one.get("closed_at") and one["state"] in ("pending", "retrying")]
        oldest = min(stuck, default=None)
        if oldest is None or now() - oldest < STUCK:
            return []
        arrived = [one["sent_at"] for one in newest if one.get("sent_at") and one["sent_at"] > oldest]
        return [] if arrived else ["messages wait, and none arrives"]

    def _noted(self, name: str, work: Callable[[], Awaitable[None]], led: bool) -> Callable[[], Awaitable[None]]:
        async def run() -> None:
            if not led or self._leads():
                await work()
            self._ran_at_s[name] = monotonic_s()

        return run

    def _closed(self) -> None:
        if "send" in self._sweepers:
            self._sweepers["send"].kick()

    def _links(self, id: str | None) -> Links:
        settings = self._settings
        where = settings.alerts_public_url or settings.alerts_url.rstrip("/")
        digest = f"{where}{PATH}/{id}?t={token_of(self._sealer, id)}" if id is not None else ""
        take = link_url(settings.console_url, id, self._sealer.derive(PURPOSE, id)) if id is not None else ""
        runbook = settings.alerts_runbook_url or settings.console_url.rstrip("/") + RUNBOOK_PAGE
        return Links(console=settings.console_url, digest=digest, runbook=runbook, take=take)
