"""The portal's application: its pages, its static files, its switches.

Owns: the wiring. Called by: demo.portal.__main__. Survives a crash: see store.py. Change also: nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from demo.portal import pages, switches
from demo.portal.store import Store


def make_app(database: Path) -> FastAPI:
    """The portal over this SQLite file."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.store = Store(database)
        app.state.faults = switches.Faults()
        yield
        app.state.faults.reset()
        app.state.store.close()

    app = FastAPI(title="Aurora Revenue Service (demo portal)", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.add_exception_handler(pages.NotSignedIn, pages.on_not_signed_in)
    app.include_router(pages.router, include_in_schema=False)
    app.include_router(switches.router)
    app.add_api_route("/healthz", _healthz, methods=["GET"], include_in_schema=False)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    return app


async def _healthz() -> dict[str, str]:
    return {"status": "alive"}
