"""The partners' HTTP API of deliveries: what was sent, what came back, and sending dead ones again.

Called by: main.py. Everything is of the key's own account. Survives a crash: a replay is one update of documents that
are dead. Change also: docs/webhooks.md, ARCHITECTURE.md (HTTP); operators have the same at the console.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from fastapi.responses import JSONResponse, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from starlette.requests import Request

from services.delivery.api import Context, Cursor, _context
from services.delivery.config import PAGE_DEFAULT, PAGE_MAX
from services.delivery.core.replay import replay_query
from shared.domain.delivery_state import DeliveryState
from shared.domain.endpoint import NAME_PATTERN
from shared.domain.task_view import event_type, moment
from shared.errors import ErrorCode
from shared.mongo.audit import audit
from shared.obs.clock import now
from shared.obs.ids import new_id
from shared.runtime.auth import Partner, partner_key
from shared.runtime.http import Problem, decode_cursor, encode_cursor, paged
from shared.runtime.openapi import partner_problems

Here = Annotated[Context, Depends(_context)]
Caller = Annotated[Partner, Depends(partner_key("endpoints"))]
DeliveryId = Annotated[str, Path(min_length=1, max_length=300, description="As it is listed.")]
Text = Annotated[str | None, Query(min_length=1, max_length=200)]


class AttemptView(BaseModel):
    """One attempt."""

    at: str
    status: int | None = Field(description="Of the HTTP answer; none: there was none.")
    duration_s: float
    error: str | None = Field(description="What was wrong; none: 2xx.")
    answer: str = Field(description="The first 2 KB of the answer's body.")


class DeliveryView(BaseModel):
    """One event for one endpoint."""

    id: str
    endpoint: str
    type: str = Field(description="As in the webhook: task.succeeded, decision.asked, endpoint.test ...")
    task: str | None
    webhook_id: str = Field(description="Header webhook-id, the same on every attempt.")
    state: DeliveryState
    reason: str | None = Field(description="Why it is not delivered, or dead.")
    attempts_made: int
    attempts: list[AttemptView] = Field(description="The newest 20.")
    next_at: str | None = Field(description="When it is tried next; none: it has ended.")
    created_at: str
    delivered_at: str | None
    body: str | None = Field(default=None, description="What is sent; only of a single delivery.")


class DeliveryList(BaseModel):
    """Deliveries, newest first."""

    items: list[DeliveryView]
    next: str | None


class ReplayPut(BaseModel):
    """Which dead deliveries are sent again: ids, or all that match."""

    model_config = ConfigDict(extra="forbid")

    ids: list[Annotated[str, Field(min_length=1, max_length=300)]] | None = Field(
        default=None, min_length=1, max_length=500
    )
    endpoint: str | None = Field(default=None, pattern=NAME_PATTERN)
    workflow: str | None = Field(default=None, min_length=1, max_length=200)
    event: str | None = Field(default=None, min_length=1, max_length=20)
    task: str | None = Field(default=None, min_length=1, max_length=100)
    created_after: AwareDatetime | None = None
    created_before: AwareDatetime | None = None


class Replayed(BaseModel):
    """What became of a replay."""

    replayed: int = Field(description="So many dead deliveries are tried again.")


def deliveries_router() -> APIRouter:
    """All routes."""
    router = APIRouter()
    errors = partner_problems(400)
    router.add_api_route(
        "/v1/deliveries", list_deliveries, methods=["GET"], responses={200: {"model": DeliveryList}, **errors}
    )
    router.add_api_route(
        "/v1/deliveries/replay", replay, methods=["POST"],
        responses={200: {"model": Replayed}, **partner_problems(413), **errors},
    )  # fmt: skip
    router.add_api_route(
        "/v1/deliveries/{id}", get_delivery, methods=["GET"],
        responses={200: {"model": DeliveryView}, **partner_problems(404), **errors},
    )  # fmt: skip
    return router


async def list_deliveries(
    request: Request,
    caller: Caller,
    here: Here,
    endpoint: Annotated[str | None, Query(pattern=NAME_PATTERN)] = None,
    state: Annotated[DeliveryState | None, Query()] = None,
    task: Text = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """Deliveries with their attempts, newest first."""
    asked = {"endpoint": endpoint, "state": state.value if state else None, "task": task}
    filters = {name: value for name, value in asked.items() if value is not None}
    found = await here.store.deliveries(caller.account, filters, _position(cursor), limit + 1)
    following = None
    if len(found) > limit:
        last = found[limit - 1]
        following = encode_cursor({"at": moment(last["created_at"]), "id": last["_id"]})
    return paged(request, [_view(document) for document in found[:limit]], following)


async def get_delivery(id: DeliveryId, caller: Caller, here: Here) -> JSONResponse:
    """One delivery, with the bytes that are sent."""
    found = await here.store.delivery(caller.account, id)
    if found is None:
        raise Problem(404, ErrorCode.NOT_FOUND, "there is no such delivery in this account")
    return JSONResponse({**_view(found), "body": found["body"]})


async def replay(wanted: ReplayPut, caller: Caller, here: Here) -> JSONResponse:
    """Send dead deliveries again: the same bytes under the same webhook-id, with a schedule from its beginning."""
    query = replay_query({**wanted.model_dump(mode="json", exclude_none=True), "account": caller.account})
    if query is None:
        raise Problem(422, ErrorCode.INVALID_INPUT, "give ids, or at least one of the other fields")
    by, op = f"partner {caller.account}/{caller.partner}", new_id("op_")
    count = await here.store.replay({**query, "account": caller.account}, by=by, at=now(), op=op)
    details = {**wanted.model_dump(mode="json", exclude_none=True), "replayed": count}
    await audit(
        here.mongo, by=by, action="delivery.replay", target=wanted.endpoint or "", account=caller.account,
        details=details,
    )  # fmt: skip
    here.wake(None)
    return JSONResponse({"replayed": count})


def _view(document: Mapping[str, Any]) -> dict[str, Any]:
    attempts = [{**attempt, "at": moment(attempt["at"])} for attempt in document["attempts"]]
    event = str(document["event"])
    names = ("endpoint", "task", "webhook_id", "state", "reason", "attempts_made")
    return {
        "id": document["_id"],
        **{name: document.get(name) for name in names},
        "type": event_type(event),
        "attempts": attempts,
        "next_at": moment(document.get("next_at")),
        "created_at": moment(document["created_at"]),
        "delivered_at": moment(document.get("delivered_at")),
    }


def _position(cursor: str | None) -> tuple[datetime, str] | None:
    """Where a page begins."""
    if cursor is None:
        return None
    value = decode_cursor(cursor)
    try:
        at, id = datetime.fromisoformat(value["at"]), value["id"]
    except (TypeError, KeyError, ValueError):
        at, id = None, None
    if at is None or not isinstance(id, str):
        raise Problem(400, ErrorCode.MALFORMED, "the cursor is none of ours; begin without one")
    return (at if at.tzinfo else at.replace(tzinfo=UTC)), id
