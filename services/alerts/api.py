"""The HTTP side of alerts: /healthz, /readyz and /metrics, as every service has them. People use the console's API.

Called by: main.py. Survives a crash: nothing is written here. Change also: nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI

from services.alerts.health import Health
from shared.runtime.http import create_app

if TYPE_CHECKING:
    from shared.runtime.service import Service


def app_of(service: Service, health: Health) -> FastAPI:
    """The app with what all services have. It lives as long as the process, and health looks as long as it does."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        health.start()
        yield
        await health.stop()

    return create_app(service, title="Regente alerts", lifespan=lifespan)
