"""Wires alerts: settings, connections, queue, sweepers, evaluation, health. Called by: `python -m services.alerts`."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI

from services.alerts.api import app_of
from services.alerts.canary import Canary
from services.alerts.config import SERVICES, AlertsSettings
from services.alerts.core.unstored import Unstored
from services.alerts.evaluation import Evaluation
from services.alerts.figures import Figures
from services.alerts.handlers import Handlers
from services.alerts.health import Health
from services.alerts.notify.service import Notify
from services.alerts.reads.servers import Instances
from services.alerts.reads.table import database_reads
from services.alerts.store import AlertStore
from shared.broker.admin import BrokerAdmin
from shared.contracts.topology import ALERTS_HANDOFFS
from shared.domain.alert_rules import RuleKind
from shared.mongo.leading import EVALUATION, Leading
from shared.obs.clock import monotonic_s, now
from shared.runtime.service import Service, run
from shared.runtime.sweeper import Sweeper

PREFETCH = 16


class AlertsService(Service):
    """The process of alerts."""

    name = "alerts"
    settings: AlertsSettings

    def __init__(self, settings: AlertsSettings) -> None:
        super().__init__(settings)
        self.store = AlertStore(self.mongo, keep_days=settings.alerts_keep_days)
        self.health = self._health(settings)
        self._leader = Leading(self.mongo, EVALUATION, settings.instance)
        self._evaluated_at_s = monotonic_s()
        self.notify = Notify(
            self.mongo, self.sealer, settings, self.store, leads=lambda: self._leader.leads,
            evaluated_s_ago=lambda: monotonic_s() - self._evaluated_at_s, evaluate_s=settings.alerts_evaluate_s,
            keep_days=settings.alerts_keep_days,
        )  # fmt: skip

    def app(self) -> FastAPI:
        """Health and metrics; looking at broker and database begins with it, whether they are there or not."""
        return app_of(self, self.health, self.notify)

    def _health(self, settings: AlertsSettings) -> Health:
        instances = Instances(
            self.mongo, SERVICES.split(","), still_s=settings.alerts_still_s, interval_s=settings.alerts_health_s
        )
        url, trusted = settings.amqp_admin_url, settings.ca_file
        admin = BrokerAdmin(url, settings.vhost, trusted) if url else None
        return Health(
            self.mongo, admin, self.store, instances, services=settings.watched, tell=self.tell_unstored,
            connected=lambda: self.broker.connected, working=lambda: self.started, interval_s=settings.alerts_health_s,
            ca_file=settings.ca_file,
        )  # fmt: skip

    async def start(self) -> None:
        """Seed the rules, take events and commands, and evaluate while this instance leads."""
        settings = self.settings
        await self.store.seed(now())
        handlers = Handlers(self.store, changed=self.changed, test=self.notify.test)
        reads = {**database_reads(self.mongo), **self.health.reads()}
        seldom = {RuleKind.DEADLINE_DANGER: settings.alerts_forecast_s}
        self.evaluation = Evaluation(self.store, reads, changed=self.changed, seldom=seldom)
        self._consumer = await self.broker.consume(ALERTS_HANDOFFS, handlers.on_message, prefetch=PREFETCH)
        self._figures = Figures(self.mongo, lambda: self._leader.leads)
        self._sweepers = [
            Sweeper("alerts.events", settings.sweep_s, handlers.sweep_events, self.log),
            Sweeper("alerts.commands", settings.sweep_s, handlers.sweep_commands, self.log),
            Sweeper("alerts.evaluation", settings.alerts_evaluate_s, self._evaluate, self.log),
            Sweeper("alerts.figures", settings.alerts_figures_s, self._figures.show, self.log),
        ]
        await self._fly()
        self._leader.start()
        for sweeper in self._sweepers:
            await sweeper.start()
        await self.notify.start()

    async def _fly(self) -> None:
        """The canary's rounds, where they are on."""
        settings = self.settings
        canary = Canary(
            self.mongo, self.sealer, collector=settings.collector_url, delivery=settings.delivery_url,
            every_s=settings.canary_s, timeout_s=settings.canary_timeout_s, leads=lambda: self._leader.leads,
            ca_file=settings.ca_file,
        )  # fmt: skip
        if not settings.canary_s:
            await canary.forget()
            return
        turn_s_max = 2 * settings.canary_timeout_s + 60
        self._sweepers.append(
            Sweeper("alerts.canary", settings.canary_s, canary.sweep, self.log, turn_s_max=turn_s_max)
        )

    async def _evaluate(self) -> None:
        if self._leader.leads:
            await self.evaluation.run()
            self._evaluated_at_s = monotonic_s()

    def changed(self) -> None:
        """An alert changed: people are to be told."""
        self.notify.changed()

    async def tell_unstored(self, one: Unstored) -> bool:
        """Something is wrong that can't be stored; people are to be told all the same."""
        return await self.notify.tell_unstored(one)

    async def stop(self) -> None:
        """Take no more; give the lead away."""
        await self._consumer.cancel()
        await asyncio.gather(*(sweeper.stop() for sweeper in self._sweepers), self.notify.stop())
        self._figures.clear()  # before another instance shows them
        await self._leader.stop()


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    run(AlertsService, AlertsSettings)
