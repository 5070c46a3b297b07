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

from services.console.store.context import Context

STORAGE = Path("run") / "nicegui"


def add_pages(app: FastAPI, context: Context) -> None:
    """Serve the pages at the root of the app, behind every route that is there already."""
    home = Path(context.settings.home)
    os.environ.setdefault("NICEGUI_STORAGE_PATH", str(home / STORAGE))
    logging.getLogger("nicegui").setLevel(logging.ERROR)

    from nicegui import ui
    from starlette.staticfiles import StaticFiles

    from services.console.pages import fleet, login, logs, overview, run, runs, task, tasks, workflow, workflows

    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    app.include_router(login.login_router(context))
    for module in (overview, fleet, tasks, task, runs, run, logs, workflows, workflow):
        module.add(context)
    ui.run_with(
        app,
        title="Regente",
        favicon=Path(__file__).parent / "static" / "regente.svg",
        tailwind=False,
        show_welcome_message=False,
        binding_refresh_interval=None,  # nothing is bound here; the loop would only cost
    )
