"""Wires the console: settings, connections, API, pages. Called by: `python -m services.console`."""

from __future__ import annotations

from fastapi import FastAPI

from services.console.api import api_router
from services.console.api.routes import refuse_unknown
from services.console.config import ConsoleSettings
from services.console.store.context import Context
from shared.broker.admin import BrokerAdmin
from shared.runtime.http import create_app
from shared.runtime.service import Service, run


class Console(Service):
    """The console's process."""

    name = "console"
    settings: ConsoleSettings

    def app(self) -> FastAPI:
        """API and, unless they are switched off, pages."""
        app = create_app(self, title="Regente console", docs_url=None, redoc_url=None)  # those load scripts of a CDN
        self._admin = BrokerAdmin(self.settings.amqp_admin_url, self.settings.vhost)
        context = Context(self.mongo, self.broker, self._admin, self.sealer, self.settings)
        app.state.console = context
        app.include_router(api_router())
        refuse_unknown(app)
        if self.settings.pages:
            from services.console.pages import add_pages  # NiceGUI reads its settings when it is imported

            add_pages(app, context)
        return app

    async def start(self) -> None:
        """Nothing runs but requests."""

    async def stop(self) -> None:
        """Close what only the console has open."""
        await self._admin.close()


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    run(Console, ConsoleSettings)
