"""Looks at broker, database and services every few seconds, from every instance of alerts, also before it is ready.

Called by: main.py (a loop that needs neither broker nor database), evaluation.py (takes over what was seen). Survives a
crash: nothing; the next process looks anew. While nothing can be stored, what is wrong is told all the same
(core/unstored.py), and stored as over once that is possible. Change also: docs/runbooks of the four kinds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pymongo.errors import PyMongoError

from services.alerts.core.findings import Observation, Observed, key_of
from services.alerts.core.judging import judge
from services.alerts.core.unstored import Telling, UnstoredAlerts
from services.alerts.evaluation import Ask
from services.alerts.reads.servers import Instances, look_at_broker, look_at_database, look_at_services
from services.alerts.store import AlertStore
from shared.broker.admin import BrokerAdmin
from shared.domain.alert_rules import DEFAULTS, INSTALLATION_KINDS, Rule, RuleKind
from shared.errors import RegenteError, TemporaryError
from shared.mongo import Mongo, first_line
from shared.obs.clock import now
from shared.obs.logs import get_logger
from shared.obs.loops import Loop
from shared.obs.metrics import gauge
from shared.outbound.trust import tls_context

LOOK_TIMEOUT_S = 15.0
HEALTHY = gauge("alerts_server_healthy", "1 while alerts finds nothing wrong with it.", ["server"])
UNSTORED = gauge("alerts_unstored", "Alerts that can't be stored now, because there is no database.")
log = get_logger(__name__)


class Health:
    """What is wrong with the installation itself, as this instance sees it."""

    def __init__(
        self, mongo: Mongo, admin: BrokerAdmin | None, store: AlertStore, instances: Instances, *,
        services: Mapping[str, str], connected: Callable[[], bool], working: Callable[[], bool], tell: Telling,
        interval_s: float, ca_file: str = "",
    ) -> None:  # fmt: skip
        """services: address of each that must answer. connected: whether the broker's connection stands.

        working: whether this instance evaluates and stores; until then it tells what it sees as if it couldn't store.
        """
        self._mongo = mongo
        self._admin = admin
        self._store = store
        self._instances = instances
        self._services = services
        self._connected = connected
        self._trust = tls_context(ca_file)
        self._working = working
        self._tell = tell
        self._interval_s = interval_s
        self._seen: dict[RuleKind, Observed] = {}
        self._began: dict[str, datetime] = {}
        self.rules_known: dict[str, Rule] = {rule.id: rule for rule in DEFAULTS}
        self.unstored = UnstoredAlerts()
        self._task: asyncio.Task[None] | None = None
        self._ending = False

    def start(self) -> None:
        """Begin to look."""
        self._ending = False
        self._task = asyncio.get_running_loop().create_task(self._work(), name="health")

    async def stop(self) -> None:
        """End."""
        self._ending = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._admin is not None:
            await self._admin.close()

    async def read(self, kind: RuleKind) -> Observed:
        """What was seen last of a kind, for the evaluation.

        Raises: TemporaryError when nothing was seen yet, or there was no database to store it.
        """
        if kind not in self._seen:
            raise TemporaryError("not looked at yet")
        if any(one.measures.get("lost") for one in self._seen[RuleKind.DATABASE_UNHEALTHY].items):
            raise TemporaryError("there was no database at the last look: what was wrong is told and stored from here")
        return self._seen[kind]

    def reads(self) -> dict[RuleKind, Callable[[Ask], Any]]:
        """The reads of the four kinds."""

        def reader(kind: RuleKind) -> Callable[[Ask], Any]:
            return lambda ask: self.read(kind)

        return {kind: reader(kind) for kind in sorted(INSTALLATION_KINDS - {RuleKind.CANARY_FAILING})}

    async def _work(self) -> None:
        with Loop("alerts.health") as loop:
            while not self._ending:
                loop.turn()
                try:
                    await self.look()
                except (RegenteError, PyMongoError, TimeoutError) as error:
                    log.warning("health can't be looked at", reason=first_line(error) or type(error).__name__)
                except Exception:
                    log.exception("health can't be looked at")
                loop.turn(self._interval_s)
                await asyncio.sleep(self._interval_s)

    async def look(self) -> None:
        """Look once at everything, and tell what can't be stored."""
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            database, broker, services = await asyncio.gather(
                look_at_database(self._mongo),
                look_at_broker(self._admin, self._connected()),
                look_at_services(self._services, self._trust),
            )
        at = now()
        storable = not any(one.measures.get("lost") for one in database)
        instances = await self._instances.look(at) if storable else []
        queues = [one for one in broker if one.target.startswith("queue/")]
        self._seen = {
            RuleKind.DATABASE_UNHEALTHY: self._dated(database, at),
            RuleKind.BROKER_UNHEALTHY: self._dated([one for one in broker if one.target == "broker"], at),
            RuleKind.SERVICE_DOWN: self._dated([*services, *instances], at, complete=storable),
        }
        if self._admin is not None and (queues or not broker):
            self._seen[RuleKind.QUEUE_DEEP] = Observed(queues)
        troubled = self._current()
        self._began = {key: since for key, since in self._began.items() if key in troubled}
        HEALTHY.labels("database").set("database" not in troubled)
        HEALTHY.labels("broker").set(not any(one.target == "broker" for one in broker))
        await self._tell_or_store(storable, at)

    def _dated(self, found: list[Observation], at: datetime, *, complete: bool = True) -> Observed:
        """With the time at which each was seen first."""
        dated = []
        for one in found:
            since = self._began.setdefault(one.target, at) if _troubled(one) else at
            dated.append(
                Observation(one.target, one.text, None, one.since or since, one.facts, one.scope, one.measures)
            )
        return Observed(dated, complete=complete)

    def _current(self) -> set[str]:
        """Targets with which something is wrong, whatever the rules' parameters are."""
        return {one.target for observed in self._seen.values() for one in observed.items if _troubled(one)}

    async def _tell_or_store(self, storable: bool, at: datetime) -> None:
        if storable:
            self.rules_known = await self._store.rules() or self.rules_known
        if storable and self._working():
            current = self._current()
            for one in self.unstored.stored_again(at):
                if one.finding.target not in current:  # else the evaluation opens an alert of its own
                    await self._store.store_late(one, at)
                self.unstored.forget(one.finding.key)
        else:
            findings = judge(self.rules_known, self._seen, at)
            known = {key_of(one.rule.id, one.target) for one in findings}
            self.unstored.gone(known)
            for one in self.unstored.look(findings, at):
                if one.finding.key in known and await self._tell(one):
                    self.unstored.told(one.finding.key, at)
        UNSTORED.set(len(self.unstored.held))


def _troubled(one: Observation) -> bool:
    """Of the database: more than some member that is a moment behind."""
    return bool(one.measures.get("troubles", True))
