"""Wires delivery: settings, connections, queue, sweepers, sender, API. Called by: `python -m services.delivery`."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI

from services.delivery.api import Context
from services.delivery.attempt import Attempts
from services.delivery.bodies import Bodies
from services.delivery.channels import channels
from services.delivery.collecting import Collector
from services.delivery.config import DeliverySettings
from services.delivery.feed import Feed
from services.delivery.handlers import Handlers
from services.delivery.keeping.passes import Keeping
from services.delivery.results_api import FeedContext
from services.delivery.routes import add_routes
from services.delivery.sender import Sender
from services.delivery.store import DeliveryStore
from services.delivery.store_endpoints import EndpointStore
from services.delivery.waiters import Waiters
from shared.contracts.topology import DELIVERY_HANDOFFS
from shared.runtime.http import create_app
from shared.runtime.service import Service, run
from shared.runtime.sweeper import LONG_TURN_S, Sweeper

PREFETCH = 32


class DeliveryService(Service):
    """The process of delivery."""

    name = "delivery"
    settings: DeliverySettings

    def app(self) -> FastAPI:
        """The partners' API: results feed and endpoints."""
        self._channels = channels(self.settings, self.sealer, self.mongo)
        app = create_app(self, title="Regente delivery")
        app.state.delivery = Context(
            self.mongo, DeliveryStore(self.mongo), EndpointStore(self.mongo), self.sealer, self._channels, self._wake
        )
        self._feed, self._waiters = Feed(self.mongo), Waiters(self.mongo, self.stopping)
        self._feed.on_entries(self._waiters.wake)
        app.state.feed = FeedContext(self._feed, self._waiters)
        add_routes(app)
        return app

    async def start(self) -> None:
        """Listen to hints, sweep for what they missed, post what is due."""
        settings = self.settings
        store, endpoints = DeliveryStore(self.mongo), EndpointStore(self.mongo)
        bodies = Bodies(self.mongo, self.sealer, collector_url=settings.collector_url, console_url=settings.console_url)
        attempts = Attempts(store, endpoints, self._channels, settings)
        self._sender = Sender(store, endpoints, attempts, settings)
        handlers = Handlers(store, self._feed, endpoints, bodies, wake=self._sender.wake)
        self._consumer = await self.broker.consume(DELIVERY_HANDOFFS, handlers.on_message, prefetch=PREFETCH)
        interval_s = self.settings.sweep_s
        self._sweepers = [
            Sweeper("delivery.tasks", interval_s, handlers.sweep_tasks, self.log),
            Sweeper("delivery.decisions", interval_s, handlers.sweep_decisions, self.log),
            Sweeper("delivery.circuits", interval_s, handlers.sweep_circuits, self.log),
            Sweeper("delivery.commands", interval_s, handlers.sweep_commands, self.log),
            Sweeper(
                "delivery.files",
                interval_s,
                Collector(self.mongo, self._sender.wake).sweep,
                self.log,
                turn_s_max=LONG_TURN_S,
            ),
        ]
        self._keeping = Keeping(
            self.mongo,
            self.sealer,
            self._feed,
            settings.instance,
            interval_s=settings.retention_sweep_s,
            grace_s=settings.evidence_grace_s,
        )
        self._keeping.start()
        self._sweepers.append(
            Sweeper("delivery.keeping", interval_s, self._keeping.sweep, self.log, turn_s_max=LONG_TURN_S)
        )
        for sweeper in self._sweepers:
            await sweeper.start()
        await self._sender.start()

    def _wake(self, lane: str | None) -> None:
        """Requests are served before and after there is a sender; what is due then is found by its look."""
        if self.started:
            self._sender.wake(lane)

    async def stop(self) -> None:
        """Take no more; let what is being posted end."""
        await self._consumer.cancel()
        await asyncio.gather(*(sweeper.stop() for sweeper in self._sweepers))
        await self._keeping.stop()
        await self._sender.stop()
        for channel in self._channels.values():
            channel.close()


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    run(DeliveryService, DeliverySettings)
