"""Wires the console: settings, connections, API, pages. Called by: `python -m services.console`."""

from __future__ import annotations

from fastapi import FastAPI

from services.console.api import api_router
from services.console.api.routes import refuse_unknown
from services.console.config import ConsoleSettings
from services.console.pages.alert_link import alert_router
from services.console.pages.decision_link import decision_router
from services.console.store.canary import prepare
from services.console.store.context import Context
from services.console.store.uploads import FILE_BYTES_MAX
from shared.broker.admin import BrokerAdmin
from shared.runtime.http import create_app
from shared.runtime.service import Service, run

BODY_SIZE_BYTES_MAX = FILE_BYTES_MAX + 256 * 1024
"""A file of the largest size, with what a form puts around it."""


class Console(Service):
    """The console's process."""

    name = "console"
    settings: ConsoleSettings

    def app(self) -> FastAPI:
        """API and, unless they are switched off, pages."""
        app = create_app(
            self, title="Regente console", body_size_bytes_max=BODY_SIZE_BYTES_MAX, docs_url=None, redoc_url=None
        )  # those load scripts of a CDN
        self._admin = BrokerAdmin(self.settings.amqp_admin_url, self.settings.vhost, self.settings.ca_file)
        context = self._context = Context(self.mongo, self.broker, self._admin, self.sealer, self.settings)
        app.state.console = context
        app.include_router(api_router())
        app.include_router(decision_router(context))  # with or without the other pages: people were sent its address
        app.include_router(alert_router(context))
        refuse_unknown(app)
        if self.settings.pages:
            from services.console.pages import add_pages  # NiceGUI reads its settings when it is imported

            add_pages(app, context)
        return app

    async def start(self) -> None:
        """Nothing runs but requests; the canary gets what it needs."""
        if self.settings.canary_s:
            await prepare(self._context)

    async def stop(self) -> None:
        """Close what only the console has open."""
        await self._admin.close()


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    run(Console, ConsoleSettings)
