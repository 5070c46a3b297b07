"""The partners' HTTP API of delivery: the results feed and the endpoints.

Called by: main.py. Everything is of the key's own account. Survives a crash: an endpoint is one write. Change also:
README.md, services/console/store/endpoints.py (operators write the same documents), ARCHITECTURE.md (HTTP).
"""

from __future__ import annotations

import json
import secrets as chance
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from services.delivery.config import PAGE_DEFAULT, PAGE_MAX
from services.delivery.core.endpoints import (
    NAME_PATTERN,
    SEAL_PURPOSE,
    SECRET_SIZE_BYTES_NEW,
    SECRETS_KEPT,
    URL_LENGTH_MAX,
    secret_problem,
    secret_text,
    url_problem,
)
from services.delivery.store import DeliveryStore
from shared.domain.task_view import moment
from shared.errors import ErrorCode
from shared.mongo import Mongo
from shared.mongo.audit import audit
from shared.obs.clock import now
from shared.runtime.auth import Partner, partner_key
from shared.runtime.http import Problem, decode_cursor, encode_cursor, paged
from shared.seal import Sealer

ENDPOINTS_MAX = 200
"""Endpoints of one account."""
Event = Literal["succeeded", "failed", "held", "cancelled", "expired"]
Name = Annotated[str, Path(pattern=NAME_PATTERN, description="The endpoint's name, unique in the account.")]
Cursor = Annotated[str | None, Query(max_length=500, description="From the answer before.")]


@dataclass(frozen=True)
class Context:
    """What the routes work with."""

    mongo: Mongo
    store: DeliveryStore
    sealer: Sealer


def _context(request: Request) -> Context:
    found: Context = request.app.state.delivery
    return found


Here = Annotated[Context, Depends(_context)]
ResultsCaller = Annotated[Partner, Depends(partner_key("results"))]
EndpointsCaller = Annotated[Partner, Depends(partner_key("endpoints"))]


class ResultList(BaseModel):
    """A part of the feed, in order."""

    items: list[dict[str, Any]] = Field(
        description="Tasks as `GET /v1/tasks/{id}` shows them, at the time of the event."
    )
    next: str | None = Field(description="Cursor of the next page; none: there is no more now.")
    after: str | None = Field(description="Cursor behind the last entry: where to go on later.")


class EndpointView(BaseModel):
    """Where outcomes are posted."""

    name: str
    url: str
    events: list[Event] | None = Field(description="None: those of the workflow.")
    enabled: bool
    disabled_reason: str | None
    created_at: str
    secret: str | None = Field(default=None, description="Only in the answer to the call that made it.")


class EndpointList(BaseModel):
    """An account's endpoints, by name."""

    items: list[EndpointView]
    next: str | None


class EndpointPut(BaseModel):
    """What an endpoint is to be."""

    model_config = ConfigDict(extra="forbid")

    url: str = Field(min_length=1, max_length=URL_LENGTH_MAX, description="https:// (or http://) address.")
    events: list[Event] | None = Field(default=None, max_length=5, description="None: those of the workflow.")
    secret: str | None = Field(default=None, max_length=200, description="whsec_...; none: one is made, or kept.")


class ProblemBody(BaseModel):
    """An error, as RFC 9457 has it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str | None = None
    code: str | None = None


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses for error statuses."""
    content = {"application/problem+json": {"schema": ProblemBody.model_json_schema()}}
    return {status: {"description": "An error.", "content": content} for status in statuses}


def api_router() -> APIRouter:
    """All routes."""
    router = APIRouter()
    errors = problems(400, 401, 403, 422, 503)
    router.add_api_route("/v1/results", list_results, methods=["GET"], responses={200: {"model": ResultList}, **errors})
    router.add_api_route(
        "/v1/endpoints", list_endpoints, methods=["GET"], responses={200: {"model": EndpointList}, **errors}
    )
    router.add_api_route(
        "/v1/endpoints/{name}",
        put_endpoint,
        methods=["PUT"],
        responses={
            200: {"model": EndpointView, "description": "Changed."},
            201: {"model": EndpointView, "description": "Made."},
            **problems(409, 413),
            **errors,
        },
    )
    router.add_api_route(
        "/v1/endpoints/{name}",
        delete_endpoint,
        methods=["DELETE"],
        status_code=204,
        responses={**problems(404), **errors},
    )
    return router


async def list_results(
    request: Request,
    caller: ResultsCaller,
    here: Here,
    after: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT,
) -> Response:
    """The account's outcomes in the order in which they were settled. Nothing is ever inserted before what was read."""
    found = await here.store.results(caller.account, _number(after), limit + 1)
    page = found[:limit]
    last = encode_cursor({"n": page[-1]["n"]}) if page else after
    following = last if len(found) > limit else None
    answer = {"items": [json.loads(entry["body"]) for entry in page], "next": following, "after": last}
    link = {"Link": f'<{request.url.include_query_params(after=following)}>; rel="next"'} if following else None
    return JSONResponse(answer, headers=link)


async def list_endpoints(
    request: Request,
    caller: EndpointsCaller,
    here: Here,
    limit: Annotated[int, Query(ge=1, le=ENDPOINTS_MAX)] = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """The account's endpoints, without their secrets."""
    found = await here.store.endpoints(caller.account, _name(cursor), limit + 1)
    following = encode_cursor({"name": found[limit - 1]["name"]}) if len(found) > limit else None
    return paged(request, [_view(document) for document in found[:limit]], following)


async def put_endpoint(name: Name, wanted: EndpointPut, caller: EndpointsCaller, here: Here) -> JSONResponse:
    """Make or change an endpoint. A changed one is enabled again; of its secrets the newest two sign."""
    _check(wanted)
    id = f"{caller.account}/{name}"
    old = await here.store.endpoint(caller.account, name)
    if old is None and await here.store.endpoints_count(caller.account) >= ENDPOINTS_MAX:
        raise Problem(409, ErrorCode.TOO_MANY, f"an account has at most {ENDPOINTS_MAX} endpoints; delete one")
    made = secret_text(chance.token_bytes(SECRET_SIZE_BYTES_NEW)) if old is None and wanted.secret is None else None
    secret = wanted.secret or made
    sealed = here.sealer.seal(SEAL_PURPOSE, secret.encode(), id.encode()) if secret else None
    fields = {"url": wanted.url, "events": list(wanted.events) if wanted.events is not None else None}
    document = await here.store.put_endpoint(caller.account, name, fields, sealed, SECRETS_KEPT, now())
    await _audit(here, caller, "endpoint.put", id, {**fields, "new_secret": secret is not None})
    return JSONResponse({**_view(document), "secret": made}, status_code=201 if old is None else 200)


async def delete_endpoint(name: Name, caller: EndpointsCaller, here: Here) -> Response:
    """Remove an endpoint; what waits for it becomes dead, and can be replayed once it exists again."""
    if not await here.store.remove_endpoint(caller.account, name):
        raise Problem(404, ErrorCode.NOT_FOUND, f"there is no endpoint {name!r} in this account")
    await _audit(here, caller, "endpoint.delete", f"{caller.account}/{name}", {})
    return Response(status_code=204)


def _check(wanted: EndpointPut) -> None:
    """Raises: Problem 422 naming what is wrong."""
    found = {"/url": url_problem(wanted.url)}
    if wanted.secret is not None:
        found["/secret"] = secret_problem(wanted.secret)
    errors = [{"message": message, "path": path} for path, message in found.items() if message]
    if errors:
        raise Problem(422, ErrorCode.INVALID_INPUT, errors[0]["message"], errors=errors)


async def _audit(here: Context, caller: Partner, action: str, target: str, details: Mapping[str, Any]) -> None:
    by = f"partner {caller.account}/{caller.partner}"
    await audit(here.mongo, by=by, action=action, target=target, account=caller.account, details=dict(details))


def _view(document: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": document["name"],
        "url": document["url"],
        "events": document.get("events"),
        "enabled": document.get("enabled", True),
        "disabled_reason": document.get("disabled_reason"),
        "created_at": moment(document.get("created_at")),
    }


def _number(cursor: str | None) -> int:
    value = 0 if cursor is None else _of(cursor, "n")
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise Problem(400, ErrorCode.MALFORMED, "the cursor is none of ours; begin without one")
    return value


def _name(cursor: str | None) -> str:
    value = "" if cursor is None else _of(cursor, "name")
    if not isinstance(value, str) or not value.isascii():
        raise Problem(400, ErrorCode.MALFORMED, "the cursor is none of ours; begin without one")
    return value


def _of(cursor: str, name: str) -> Any:
    value = decode_cursor(cursor)
    return value.get(name) if isinstance(value, Mapping) else None
