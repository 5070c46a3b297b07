"""Wires the collector: settings, connections, API, requests, sources. Called by: `python -m services.collector`."""

from __future__ import annotations

import asyncio
from functools import cached_property

from fastapi import FastAPI

from services.collector import api_files
from services.collector.claims import Claims
from services.collector.config import CollectorSettings
from services.collector.context import Context
from services.collector.handlers import Handlers
from services.collector.intake import Intake
from services.collector.routes import add_routes
from services.collector.sources import folder, sftp, timer
from services.collector.sources.files import FilePickup
from services.collector.sources.keeper import Keeper, Look
from services.collector.sources.poll import Poller
from services.collector.sources.requests import Requests
from services.collector.sources.secrets import Secrets
from services.collector.sources.store import SourceStore
from services.collector.sources.web import Web
from services.collector.store import CollectorStore
from shared.contracts.topology import COLLECTOR_HANDOFFS
from shared.domain.addresses import networks
from shared.mongo.files import SIZE_BYTES_MAX
from shared.mongo.files import Files as AccountFiles
from shared.mongo.lease import Lease, Watch
from shared.outbound import Outbound, tls_context
from shared.outbound.resolver import Resolver
from shared.runtime.http import create_app
from shared.runtime.service import Service, run
from shared.runtime.sweeper import LONG_TURN_S, Sweeper

PREFETCH = 8
LEASE = "collector"
FORM_BYTES_MAX = 64 * 1024
"""What a form may have around its file."""


class Collector(Service):
    """The collector's process."""

    name = "collector"
    beats = False  # its lease is what others take its sources over by
    settings: CollectorSettings

    @cached_property
    def store(self) -> CollectorStore:
        """Queries on tasks."""
        return CollectorStore(self.mongo)

    @cached_property
    def intake(self) -> Intake:
        """The one way in for tasks."""
        return Intake(self.store, self.broker, files=self.files, schemas_kept=self.settings.schemas_kept)

    @cached_property
    def files(self) -> AccountFiles:
        """Files beside tasks."""
        return AccountFiles(self.mongo, account_bytes_max=int(self.settings.files_account_gib * 1024**3))

    def app(self) -> FastAPI:
        """The partners' API."""
        limits = {api_files.PATH: SIZE_BYTES_MAX + FORM_BYTES_MAX}
        app = create_app(self, title="Regente collector", body_limits=limits)
        app.state.collector = Context(
            mongo=self.mongo,
            broker=self.broker,
            store=self.store,
            intake=self.intake,
            claims=Claims(
                self.mongo,
                claim_s=self.settings.idempotency_claim_s,
                keep_s=self.settings.idempotency_hours * 3600,
            ),
            files=self.files,
            settings=self.settings,
        )
        add_routes(app)
        return app

    async def start(self) -> None:
        """Listen to requests, look at sources."""
        settings, sources = self.settings, SourceStore(self.mongo)
        looks = self._looks(sources)
        beat_s, still_s = settings.source_lease_beat_s, settings.source_lease_still_s
        name = settings.instance
        self._lease = Lease(self.mongo, f"{LEASE}/{name}", name, beat_s=beat_s, still_s=still_s, facts=self.facts())
        watch = Watch(self.mongo, LEASE, still_s)
        keeper = Keeper(sources, self.intake, looks, self._lease, watch, at_once=settings.sources_at_once)
        self._requests = Requests(sources, self.intake, looks, kick=lambda: keeper.kick())
        handlers = Handlers(self.mongo, self.intake, self._requests)
        self._keeper = keeper
        self._sweepers = [
            Sweeper("collector.sources", settings.source_sweep_s, keeper.sweep, self.log),
            Sweeper("collector.commands", settings.sweep_s, handlers.sweep_commands, self.log),
            Sweeper("collector.files", settings.files_sweep_s, self._sweep_files, self.log, turn_s_max=LONG_TURN_S),
        ]
        keeper.kick = self._sweepers[0].kick
        self._consumer = await self.broker.consume(COLLECTOR_HANDOFFS, handlers.on_message, prefetch=PREFETCH)
        self._lease.start()  # after what may fail: two of one name would take it from each other
        for sweeper in self._sweepers:
            await sweeper.start()

    async def _sweep_files(self) -> None:
        """Delete files that no task names, after their time."""
        await self.files.sweep(self.settings.files_unused_days * 24 * 3600)

    def _looks(self, sources: SourceStore) -> dict[str, Look]:
        """How each kind of source is looked at."""
        secrets = Secrets(sources, self.sealer)
        resolver = Resolver(networks(self.settings.sources_private_allowed))
        self._outbound = Outbound(resolver, tls_context(self.settings.ca_file))
        poller = Poller(Web(self._outbound, secrets))
        folders = FilePickup(folder.opener(self.settings.folder_root))
        servers = FilePickup(sftp.opener(resolver, secrets))
        return {"poll": poller.look, "folder": folders.look, "sftp": servers.look, "timer": timer.look}

    async def stop(self) -> None:
        """Take no more requests; lay down the sources in hand, so that another collector takes them at once."""
        await self._consumer.cancel()
        await asyncio.gather(*(sweeper.stop() for sweeper in self._sweepers))
        await self._keeper.stop()
        await self._requests.stop()
        await self._lease.stop()
        self._outbound.close()


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    run(Collector, CollectorSettings)
