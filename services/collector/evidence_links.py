"""Evidence by a signed link: `GET /v1/evidence/{id}?token=`, without a key, for what webhooks hold.

Called by: main.py, before the routes that need a key. The token derives from the installation's master key and the
evidence's id, so nothing is stored for it, and it is valid as long as the evidence is there: when that is dropped or
removed, its links end with it. Survives a crash: nothing lives here.
"""

from __future__ import annotations

import hmac
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from services.collector.api import evidence_answer
from services.collector.context import ID, Here
from shared.domain.task_view import EVIDENCE_PURPOSE
from shared.errors import ErrorCode
from shared.runtime.http import Problem

TOKEN = "token"


class _LinkRoute(APIRoute):
    """Takes a request only when it holds a token; others go on to the route that asks for a key."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        match, child = super().matches(scope)
        asked = match is Match.FULL and TOKEN in parse_qs(scope.get("query_string", b"").decode("latin-1"))
        return (match, child) if asked else (Match.NONE, {})


def link_router() -> APIRouter:
    """The one route."""
    router = APIRouter(route_class=_LinkRoute)
    router.add_api_route("/v1/evidence/{id}", get_by_link, methods=["GET"], include_in_schema=False)
    return router


async def get_by_link(
    id: ID,
    request: Request,
    here: Here,
    token: Annotated[str, Query(max_length=200)],
) -> Response:
    """The bytes of a piece of evidence, for who has its link."""
    service: Any = request.app.state.service
    if not hmac.compare_digest(service.sealer.derive(EVIDENCE_PURPOSE, id).encode(), token.encode()):
        raise Problem(401, ErrorCode.UNAUTHENTICATED, "this link is not valid; it may have been cut or changed")
    return await evidence_answer(here, request, await here.store.evidence_link(None, id))
