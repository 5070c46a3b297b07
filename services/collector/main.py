"""Wires the collector: settings, connections, API. Called by: `python -m services.collector`."""

from __future__ import annotations

from fastapi import FastAPI

from services.collector.api import Context, api_router
from services.collector.config import CollectorSettings
from services.collector.intake import Intake
from services.collector.store import CollectorStore
from shared.runtime.http import create_app
from shared.runtime.service import Service, run


class Collector(Service):
    """The collector's process."""

    name = "collector"
    settings: CollectorSettings

    def app(self) -> FastAPI:
        """The partners' API."""
        store = CollectorStore(self.mongo)
        app = create_app(self, title="Regente collector")
        app.state.collector = Context(
            mongo=self.mongo,
            broker=self.broker,
            store=store,
            intake=Intake(store, self.broker, schemas_kept=self.settings.schemas_kept),
            settings=self.settings,
        )
        app.include_router(api_router())
        return app

    async def start(self) -> None:
        """Nothing runs but requests."""

    async def stop(self) -> None:
        """Requests in hand end by themselves; nothing else is open."""


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    run(Collector, CollectorSettings)
