"""The HTTP side of alerts: /healthz, /readyz and /metrics, as every service has them, and the lists behind messages.
People use the console's API.

Called by: main.py. Survives a crash: nothing is written here. Change also: nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI

from services.alerts.health import Health
from services.alerts.notify.service import Notify
from shared.runtime.http import create_app

if TYPE_CHECKING:
    from shared.runtime.service import Service


def app_of(service: Service, health: Health, notify: Notify) -> FastAPI:
    """The app with what all services have. It lives as long as the process; so long health looks and notify beats."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        health.start()
        notify.beat.start()
        yield
        await health.stop()
        await notify.end()

    app = create_app(service, title="Regente alerts", lifespan=lifespan)
    app.include_router(notify.router())
    return app
