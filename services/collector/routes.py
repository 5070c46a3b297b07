"""All routes of the partners' API, with their description. Called by: main.py, docs/partner_apis.py."""

from __future__ import annotations

from fastapi import FastAPI

from services.collector.api import api_router
from services.collector.evidence_links import link_router
from services.collector.examples import ABOUT, EXAMPLES
from shared.runtime.openapi import describe


def add_routes(app: FastAPI) -> None:
    """Give an app all routes."""
    for router in (link_router(), api_router()):
        app.include_router(router)
    describe(app, ABOUT, EXAMPLES)
