"""Looks at alerts that people are to be told of, and gathers for each lane what it is told.

Called by: service.py (a sweeper, on the instance that leads, and at once when an alert changed). Decisions:
core/telling.py. Survives a crash at any line: first what is told is gathered, then the alert's marker is changed; in
between it is found gathered already. Two at once do no harm: a lane's head is read before what it was given, and
gathering expects that head. Change also: store.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from services.alerts.core.bundles import ITEMS_MAX, due_at
from services.alerts.core.inhibition import Sources
from services.alerts.core.telling import Held, Lane, Plan, Rules, plan
from services.alerts.notify.directory import Directory
from services.alerts.notify.store import Head, NotifyStore
from services.alerts.store import AlertStore
from shared.domain.alert_rules import Rule
from shared.domain.alert_state import AlertState
from shared.errors import TemporaryError
from shared.obs.clock import now
from shared.obs.logs import get_logger
from shared.obs.metrics import counter

TRIES_MAX = 5
FULL_LOOK = timedelta(seconds=5)
"""What is for a lane that takes nothing more now is looked at again after this time."""
REPEAT_S = 4 * 3600.0
"""Of an alert whose rule is gone."""
History = Mapping[tuple[str, str], set[str]]
ITEMS = counter("alerts_told_total", "What people were to be told of alerts, by channel and what.", ["kind", "what"])
HELD = counter("alerts_held_back_total", "Looks at alerts that were held back, by why.", ["why"])
log = get_logger(__name__)


class Planner:
    """Gathers."""

    def __init__(self, store: NotifyStore, alerts: AlertStore, directory: Directory) -> None:
        self._store = store
        self._alerts = alerts
        self._directory = directory
        self._nobody = False

    async def sweep(self) -> None:
        """Everything that is due."""
        await self._directory.refresh(now())
        if not self._directory.lanes:
            if not self._nobody:
                log.warning("nobody is told of alerts: there are no recipients, and REGENTE_ALERTS_MAIL_TO is not set")
            self._nobody = True
            return
        self._nobody = False
        while alerts := await self._store.due(now()):
            await self._round(alerts, now())

    async def _round(self, alerts: Sequence[Mapping[str, Any]], at: datetime) -> None:
        rules = await self._alerts.rules()
        sources = Sources(await self._store.sources(at), at)
        held = {one["_id"]: self._held(one, sources, at) for one in alerts}
        for _ in range(TRIES_MAX):
            if await self._try(alerts, rules, held, at):
                return
        raise TemporaryError("alerts can't be gathered: the lanes move all the time; tried again")

    async def _try(
        self,
        alerts: Sequence[Mapping[str, Any]],
        rules: Mapping[str, Rule],
        held: Mapping[str, Held | None],
        at: datetime,
    ) -> bool:
        """Once; false when a lane moved on meanwhile, be it by what was gathered here before."""
        ids = [one["_id"] for one in alerts]
        lanes = self._concerned(alerts, rules, await self._store.history(ids))
        heads = await self._store.heads(lanes.values())
        history = await self._store.history(ids)  # after the heads: what was given later than this moves them
        if any(lane in self._directory.lanes and lane not in heads for lane, _ in history):
            return False
        plans = [(one, self._plan(one, rules.get(one["rule"]), held[one["_id"]], history, at)) for one in alerts]
        full = {id for id, head in heads.items() if head.gathering and head.count >= ITEMS_MAX}
        fits = [(one, made) for one, made in plans if not full & set(made.items)]
        for id, head in heads.items():
            items = [made.items[id] for _, made in fits if id in made.items]
            new = [one for one in items if one["id"] not in history.get((id, one["alert"]), ())]
            if new and not await self._gather(lanes[id], head, new, at):
                return False
        later = [(one, {**one["notify"], "due_at": at + FULL_LOOK}) for one, made in plans if full & set(made.items)]
        await self._store.mark([*((one, made.marker) for one, made in fits), *later], at)
        return True

    def _concerned(
        self, alerts: Sequence[Mapping[str, Any]], rules: Mapping[str, Rule], history: History
    ) -> dict[str, Lane]:
        """Lanes that may be told of some of these."""
        found = {lane.id: lane for one in alerts for lane in self._directory.routes(one, rules.get(one["rule"]))}
        known = self._directory.lanes
        return {**found, **{lane: known[lane] for lane, _ in history if lane in known}}

    def _plan(
        self, alert: Mapping[str, Any], rule: Rule | None, held: Held | None, history: History, at: datetime
    ) -> Plan:
        told = {lane for lane, id in history if id == alert["_id"]} if history else set()
        said = Rules(rule.title, rule.repeat_s) if rule else Rules(str(alert["kind"]), REPEAT_S)
        routes = self._directory.routes(alert, rule)
        if alert["state"] == AlertState.RESOLVED:
            known = self._directory.lanes
            routes += [known[lane] for lane in told if lane in known and lane not in {one.id for one in routes}]
        return plan(alert, routes, told, held, said, at)

    def _held(self, alert: Mapping[str, Any], sources: Sources, at: datetime) -> Held | None:
        until = self._directory.silenced_until(alert, at)
        if until is not None:
            HELD.labels("silence").inc()
            return Held("silence", until)
        source = sources.holding(alert)
        if source is not None:
            HELD.labels("alert").inc()
            return Held(f"alert {source}")
        return None

    async def _gather(self, lane: Lane, head: Head, items: Sequence[Mapping[str, Any]], at: datetime) -> bool:
        sent = head.sent()
        flush_at = min(due_at(item, lane.recipient, sent, at) for item in items)
        done = await self._store.gather(lane, head, items, flush_at, at)
        if done:
            for item in items:
                ITEMS.labels(lane.channel.kind.value, item["what"]).inc()
        return done
