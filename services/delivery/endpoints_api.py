"""The partners' HTTP API of endpoints: where they are told of outcomes, and how.

Called by: main.py. Everything is of the key's own account. Survives a crash: a change is one write, a test is a
delivery like others. Change also: services/console (operators write the same documents, shared/mongo/endpoints.py),
docs/webhooks.md, ARCHITECTURE.md (HTTP).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Path, Query
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from starlette.requests import Request

from services.delivery.api import Context, Cursor, _context
from services.delivery.channels import Channel
from services.delivery.config import PAGE_DEFAULT
from services.delivery.core.circuit import circuit_of, closed_until
from services.delivery.core.plan import lane_of
from services.delivery.handlers import add_test
from shared.contracts.endpoint_file import EndpointFields, Event, Rotation
from shared.domain.endpoint import NAME_PATTERN, WEBHOOK, schemes, secret_problem
from shared.domain.task_view import moment
from shared.errors import ErrorCode
from shared.mongo.audit import audit
from shared.mongo.endpoints import Put, put_endpoint, rotate_endpoint
from shared.obs.clock import now
from shared.obs.ids import new_id
from shared.runtime.auth import Partner, partner_key
from shared.runtime.http import Problem, decode_cursor, encode_cursor, paged
from shared.runtime.openapi import partner_problems

ENDPOINTS_MAX = 200
"""Endpoints of one account."""
OPERATORS_ONLY = frozenset({"mail"})
"""A key must not be enough to have the installation's mail server write to whomever its holder names."""
Name = Annotated[str, Path(pattern=NAME_PATTERN, description="The endpoint's name, unique in the account.")]
Here = Annotated[Context, Depends(_context)]
Caller = Annotated[Partner, Depends(partner_key("endpoints"))]


class CircuitView(BaseModel):
    """Whether an endpoint gets anything now."""

    open: bool = Field(description="It failed again and again: deliveries wait, one probes now and then.")
    failures: int = Field(description="In a row.")
    reason: str | None = Field(description="The failure that opened it.")
    opened_at: str | None
    waits_until: str | None = Field(description="Nothing goes to it before: the next probe, or what it asked for.")


class EndpointView(BaseModel):
    """Where outcomes are delivered."""

    name: str
    kind: str
    url: str | None
    events: list[Event] | None = Field(description="None: those of the workflow.")
    signatures: list[str] = Field(description="v1: HMAC-SHA256; v1a: ed25519.")
    public_keys: list[str] = Field(description="whpk_..., newest first: what v1a signatures verify with.")
    overlap_until: str | None = Field(description="Until then the secret and key before the newest sign, too.")
    schedule_s: list[float] | None = Field(description="Waits after failed attempts; none: the installation's.")
    concurrency: int | None
    breaker_failures: int | None
    evidence: str
    inline_size_bytes_max: int
    options: dict[str, Any] | None
    enabled: bool
    disabled_reason: str | None
    circuit: CircuitView
    created_at: str
    secret: str | None = Field(default=None, description="Only in the answer to the call that made it.")


class EndpointList(BaseModel):
    """An account's endpoints, by name."""

    items: list[EndpointView]
    next: str | None


class EndpointPut(EndpointFields):
    """What an endpoint is to be; what is left out has its default."""

    secret: str | None = Field(default=None, max_length=200, description="whsec_...; none: one is made, or kept.")


class TestSent(BaseModel):
    """A test event that is on its way."""

    delivery: str = Field(description="How it goes: GET /v1/deliveries/{id}.")


def endpoints_router() -> APIRouter:
    """All routes."""
    router = APIRouter()
    errors, missing = partner_problems(400), partner_problems(404)
    one = {"model": EndpointView}
    add = router.add_api_route
    add("/v1/endpoints", list_endpoints, methods=["GET"], responses={200: {"model": EndpointList}, **errors})
    add(
        "/v1/endpoints/{name}",
        put_one,
        methods=["PUT"],
        responses={
            200: {**one, "description": "Changed."},
            201: {**one, "description": "Made."},
            **partner_problems(409, 413),
            **errors,
        },
    )
    add("/v1/endpoints/{name}", get_one, methods=["GET"], responses={200: one, **missing, **errors})
    add("/v1/endpoints/{name}", delete_one, methods=["DELETE"], status_code=204, responses={**missing, **errors})
    add(
        "/v1/endpoints/{name}/rotate",
        rotate,
        methods=["POST"],
        responses={200: one, **missing, **partner_problems(409, 413), **errors},
    )
    sent = {202: {"model": TestSent, "description": "It is on its way."}, **missing, **errors}
    add("/v1/endpoints/{name}/test", send_test, methods=["POST"], status_code=202, responses=sent)
    return router


async def list_endpoints(
    request: Request,
    caller: Caller,
    here: Here,
    limit: Annotated[int, Query(ge=1, le=ENDPOINTS_MAX)] = PAGE_DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """The account's endpoints, without their secrets."""
    found = await here.endpoints.endpoints(caller.account, _name(cursor), limit + 1)
    following = encode_cursor({"name": found[limit - 1]["name"]}) if len(found) > limit else None
    return paged(request, [view(document) for document in found[:limit]], following)


async def get_one(name: Name, caller: Caller, here: Here) -> JSONResponse:
    """One endpoint, with its public keys and its circuit."""
    found = await here.endpoints.shown(caller.account, name)
    if found is None:
        raise _missing(name)
    return JSONResponse(view(found))


async def put_one(name: Name, wanted: EndpointPut, caller: Caller, here: Here) -> JSONResponse:
    """Make or change an endpoint. A changed one is enabled again. A new secret goes before the one that stands, which
    signs beside it for a day."""
    fields = wanted.stored()
    _check(wanted, fields, here.channels)
    exists = await _of_partners(here, caller, name) is not None
    if not exists and await here.endpoints.endpoints_count(caller.account) >= ENDPOINTS_MAX:
        raise Problem(409, ErrorCode.TOO_MANY, f"an account has at most {ENDPOINTS_MAX} endpoints; delete one")
    put = await put_endpoint(
        here.mongo, here.sealer, caller.account, name, fields, secret=wanted.secret,
        overlap_s=Rotation().overlap_s, at=now(),
    )  # fmt: skip
    details = {"url": wanted.url, "events": fields["events"], "new_secret": bool(wanted.secret or put.secret)}
    await _audit(here, caller, "endpoint.put", name, details)
    here.wake(lane_of(caller.account, name))
    return _shown(put, 200 if exists else 201)


async def delete_one(name: Name, caller: Caller, here: Here) -> Response:
    """Remove an endpoint; what waits for it becomes dead, and can be replayed once it exists again."""
    await _of_partners(here, caller, name)
    if not await here.endpoints.remove_endpoint(caller.account, name):
        raise _missing(name)
    await _audit(here, caller, "endpoint.delete", name, {})
    return Response(status_code=204)


async def rotate(
    name: Name, caller: Caller, here: Here, wanted: Annotated[Rotation | None, Body()] = None
) -> JSONResponse:
    """A new secret, and a new key, for what the endpoint signs with; those before sign beside them for a while."""
    found = await here.endpoints.shown(caller.account, name)
    if found is None:
        raise _missing(name)
    if found.get("kind", WEBHOOK) != WEBHOOK:
        raise Problem(409, ErrorCode.CONFLICT, f"{name} is no webhook: nothing that goes to it is signed")
    overlap_s = (wanted or Rotation()).overlap_s
    put = await rotate_endpoint(here.mongo, here.sealer, caller.account, name, overlap_s=overlap_s, at=now())
    if put is None:
        raise _missing(name)
    await _audit(here, caller, "endpoint.rotate", name, {"overlap_s": overlap_s})
    return _shown(put, 200)


async def send_test(name: Name, caller: Caller, here: Here) -> JSONResponse:
    """Send the event `endpoint.test`, signed and recorded like others, before whatever waits, once. It is sent to an
    endpoint whose circuit is open, too."""
    await _of_partners(here, caller, name)
    made = await add_test(here.store, here.endpoints, caller.account, name, mark=new_id("test_"))
    if made is None:
        raise _missing(name)
    await _audit(here, caller, "endpoint.test", name, {"delivery": made["_id"]})
    here.wake(None)
    return JSONResponse({"delivery": made["_id"]}, status_code=202)


def view(document: Mapping[str, Any]) -> dict[str, Any]:
    """An endpoint as its partner sees it."""
    circuit = circuit_of(document.get("circuit"))
    return {
        "name": document["name"],
        "kind": document.get("kind", WEBHOOK),
        "url": document.get("url"),
        "events": document.get("events"),
        "signatures": schemes(document),
        "public_keys": [key["public"] for key in document.get("keys") or ()],
        "overlap_until": _ahead(document.get("overlap_until")),
        "schedule_s": document.get("schedule_s"),
        "concurrency": document.get("concurrency"),
        "breaker_failures": document.get("breaker_failures"),
        "evidence": document.get("evidence", "links"),
        "inline_size_bytes_max": document.get("inline_size_bytes_max", 1024 * 1024),
        "options": document.get("options"),
        "enabled": document.get("enabled", True),
        "disabled_reason": document.get("disabled_reason"),
        "circuit": {
            "open": circuit.open,
            "failures": circuit.failures,
            "reason": circuit.reason,
            "opened_at": moment(circuit.opened_at),
            "waits_until": _ahead(closed_until(circuit)),
        },
        "created_at": moment(document.get("created_at")),
    }


def _ahead(at: datetime | None) -> str | None:
    return moment(at) if at is not None and at > now() else None


def _shown(put: Put, status: int) -> JSONResponse:
    return JSONResponse({**view(put.document), "secret": put.secret}, status_code=status)


def _check(wanted: EndpointPut, fields: Mapping[str, Any], channels: Mapping[str, Channel]) -> None:
    """Raises: Problem 422 naming what is wrong; 403 for kinds that partners don't set up."""
    channel = channels.get(wanted.kind)
    if channel is None:
        errors = [{"path": "/kind", "message": f"this installation has no endpoints of the kind {wanted.kind}"}]
    else:
        errors = channel.problem(fields)
    why = secret_problem(wanted.secret) if wanted.secret is not None else None
    if why:
        errors.append({"path": "/secret", "message": why})
    if errors:
        raise Problem(422, ErrorCode.INVALID_INPUT, errors[0]["message"], errors=errors)
    _refuse_operators(wanted.kind)


def _refuse_operators(kind: str) -> None:
    """Raises: Problem 403."""
    if kind in OPERATORS_ONLY:
        text = f"endpoints of the kind {kind} are set up by administrators; ask them for it"
        raise Problem(403, ErrorCode.FORBIDDEN, text)


async def _of_partners(here: Context, caller: Partner, name: str) -> dict[str, Any] | None:
    """An endpoint that partners may change, if it exists. Raises: Problem 403."""
    found = await here.endpoints.shown(caller.account, name)
    _refuse_operators(str((found or {}).get("kind", WEBHOOK)))
    return found


def _missing(name: str) -> Problem:
    return Problem(404, ErrorCode.NOT_FOUND, f"there is no endpoint {name!r} in this account")


async def _audit(here: Context, caller: Partner, action: str, name: str, details: Mapping[str, Any]) -> None:
    by, target = f"partner {caller.account}/{caller.partner}", lane_of(caller.account, name)
    await audit(here.mongo, by=by, action=action, target=target, account=caller.account, details=dict(details))


def _name(cursor: str | None) -> str:
    value = "" if cursor is None else decode_cursor(cursor)
    found = value.get("name") if isinstance(value, Mapping) else value
    if not isinstance(found, str) or not found.isascii():
        raise Problem(400, ErrorCode.MALFORMED, "the cursor is none of ours; begin without one")
    return found
