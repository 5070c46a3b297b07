"""The web pages: one module per page, on NiceGUI, served by the console's own process.

Called by: main.py. NiceGUI reads some settings from the environment when it is imported, so `add_pages` sets them
first. It keeps nothing here: what users chose for themselves stands in `users`, and its cookie-based storage stays
switched off.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.console.store.context import Context

STORAGE = Path("run") / "nicegui"
_HEADERS = {"X-Frame-Options": "DENY", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}


class Guarded:
    """Around every request: no other site shows our pages in a frame, or learns their addresses."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, guarded if scope["type"] == "http" else send)


def add_pages(app: FastAPI, context: Context) -> None:
    """Serve the pages at the root of the app, behind every route that is there already."""
    home = Path(context.settings.home)
    os.environ.setdefault("NICEGUI_STORAGE_PATH", str(home / STORAGE))
    logging.getLogger("nicegui").setLevel(logging.ERROR)

    from nicegui import ui
    from starlette.staticfiles import StaticFiles

    from services.console.pages import (
        alert,
        alerts,
        decision,
        decisions,
        delivery,
        endpoints,
        events,
        fleet,
        login,
        logs,
        new_task,
        once,
        overview,
        recipient,
        recipients,
        reference,
        rule,
        rules,
        run,
        runbook,
        runs,
        silences,
        source,
        sources,
        task,
        tasks,
        upload,
        workflow,
        workflows,
    )

    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    app.add_middleware(Guarded)
    app.include_router(login.login_router(context))
    app.include_router(reference.reference_router(app))
    # /tasks/new before /tasks/{task}: the first address that fits is taken
    for module in (overview, fleet, tasks, new_task, upload, task, runs, run, decisions, decision):
        module.add(context)
    for module in (events, logs, workflows, workflow, once, sources, source):
        module.add(context)
    for module in (endpoints, delivery):
        module.add(context)
    for module in (alerts, alert, silences, recipients, recipient, rules, rule, runbook):
        module.add(context)
    ui.run_with(
        app,
        title="Regente",
        favicon=Path(__file__).parent / "static" / "regente.svg",
        tailwind=False,
        show_welcome_message=False,
        binding_refresh_interval=None,  # nothing is bound here; the loop would only cost
    )
