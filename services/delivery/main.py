"""Wires delivery: settings, connections, queue, sweepers, sender, API. Called by: `python -m services.delivery`."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI

from services.delivery.api import Context, api_router
from services.delivery.config import DeliverySettings
from services.delivery.handlers import Handlers
from services.delivery.sender import Sender
from services.delivery.store import DeliveryStore
from shared.contracts.topology import DELIVERY_HANDOFFS
from shared.runtime.http import create_app
from shared.runtime.service import Service, run
from shared.runtime.sweeper import Sweeper

PREFETCH = 32


class DeliveryService(Service):
    """The process of delivery."""

    name = "delivery"
    settings: DeliverySettings

    def app(self) -> FastAPI:
        """The partners' API: results feed and endpoints."""
        app = create_app(self, title="Regente delivery")
        app.state.delivery = Context(self.mongo, DeliveryStore(self.mongo), self.sealer)
        app.include_router(api_router())
        return app

    async def start(self) -> None:
        """Listen to hints, sweep for what they missed, post what is due."""
        store = DeliveryStore(self.mongo)
        self._sender = Sender(store, self.sealer, self.settings, self.settings.instance)
        handlers = Handlers(store, collector_url=self.settings.collector_url, wake=self._sender.wake)
        self._consumer = await self.broker.consume(DELIVERY_HANDOFFS, handlers.on_message, prefetch=PREFETCH)
        interval_s = self.settings.sweep_s
        self._sweepers = [
            Sweeper("delivery.tasks", interval_s, handlers.sweep_tasks, self.log),
            Sweeper("delivery.commands", interval_s, handlers.sweep_commands, self.log),
        ]
        for sweeper in self._sweepers:
            await sweeper.start()
        await self._sender.start()

    async def stop(self) -> None:
        """Take no more; let what is being posted end."""
        await self._consumer.cancel()
        await asyncio.gather(*(sweeper.stop() for sweeper in self._sweepers))
        await self._sender.stop()


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    run(DeliveryService, DeliverySettings)
