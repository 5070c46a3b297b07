"""All routes of the API, and what answers where there is none.

Called by: main.py. The pages are mounted at the root behind these routes and would answer every address that no route
here matches, with HTML; `refuse_unknown` keeps everything below /api a problem document.
"""

from __future__ import annotations

from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute

from services.console.api import (
    accounts,
    alerts,
    bulk,
    by_hand,
    calendars,
    circuits,
    cluster,
    decisions,
    deliveries,
    documents,
    endpoints,
    erasures,
    events,
    evidence,
    holds,
    jobs,
    keys,
    logs,
    objects,
    once,
    pacing,
    portals,
    queue,
    recipients,
    replays,
    rules,
    runs,
    session,
    silences,
    sources,
    tasks,
    users,
    workers,
    workflow_reads,
    workflows,
)
from shared.runtime.http import Problem

MODULES = (
    session,
    accounts,
    users,
    keys,
    replays,
    workflows,
    once,
    workflow_reads,
    objects,
    circuits,
    pacing,
    calendars,
    portals,
    tasks,
    by_hand,
    runs,
    evidence,
    workers,
    documents,
    jobs,
    sources,
    endpoints,
    decisions,
    deliveries,
    holds,
    erasures,
    alerts,
    rules,
    recipients,
    silences,
    queue,
    bulk,
    events,
    logs,
    cluster,
)
PREFIX = "/api/v1"
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"]


def api_router() -> APIRouter:
    """Every route of the API."""
    router = APIRouter(prefix=PREFIX)
    for module in MODULES:
        router.include_router(module.router)
    return router


def refuse_unknown(app: FastAPI) -> None:
    """Answer what no route of the API matches: 405 where only the method is wrong, else 404. To be called last."""

    async def unknown(request: Request, path: str) -> None:
        allowed = allowed_methods(f"/api/{path}")
        if allowed:
            headers = {"Allow": ", ".join(sorted(allowed))}
            raise Problem(405, f"{request.method} is not possible here", headers=headers)
        raise Problem(404, f"/api/{path} does not exist")

    app.add_api_route("/api/{path:path}", unknown, methods=_METHODS, include_in_schema=False)


def allowed_methods(path: str) -> set[str]:
    """The methods of the API's routes that match a path."""
    below = path.removeprefix(PREFIX)
    routes = [route for module in MODULES for route in module.router.routes if isinstance(route, APIRoute)]
    return {method for route in routes if route.path_regex.match(below) for method in route.methods or ()}
