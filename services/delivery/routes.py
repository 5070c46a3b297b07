"""All routes of the partners' API, with their description. Called by: main.py, docs/partner_apis.py."""

from __future__ import annotations

from fastapi import FastAPI

from services.delivery.deliveries_api import deliveries_router
from services.delivery.endpoints_api import endpoints_router
from services.delivery.examples import ABOUT, EXAMPLES
from services.delivery.results_api import results_router
from shared.runtime.openapi import describe


def add_routes(app: FastAPI) -> None:
    """Give an app all routes."""
    for router in (results_router(), endpoints_router(), deliveries_router()):
        app.include_router(router)
    describe(app, ABOUT, EXAMPLES)
