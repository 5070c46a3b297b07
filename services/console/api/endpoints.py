"""Where outcomes are delivered: /api/v1/endpoints."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import AfterValidator, Field, SecretStr

from services.console.api.access import Admin, ContextOf, Operator, Reader
from services.console.api.answers import action, page, problems
from services.console.api.models import (
    PAGE_SIZE,
    AccountQuery,
    Action,
    CursorQuery,
    Id,
    LimitQuery,
    NamePath,
    Page,
    View,
)
from services.console.store import endpoints as store
from shared.contracts.endpoint_file import EndpointFields, Rotation
from shared.domain.endpoint import secret_problem

router = APIRouter(tags=["endpoints"], responses=problems())


def _secret(value: SecretStr) -> SecretStr:
    why = secret_problem(value.get_secret_value())
    if why:
        raise ValueError(why)
    return value


class EndpointChange(EndpointFields):
    """An endpoint as it shall be."""

    secret: Annotated[SecretStr, AfterValidator(_secret)] | None = Field(
        default=None,
        max_length=200,
        description="whsec_ and base64 of 24 to 64 bytes; without one, a new endpoint gets one made here.",
    )


class EndpointView(View):
    """An endpoint, without its secrets."""

    id: Id
    account: str = Field(description="Whose it is.")
    name: str = Field(description="What workflows call it.")
    kind: str = Field(default="webhook", description="webhook, mail, sftp or folder.")
    url: str | None = Field(default=None, description="Where webhooks are posted.")
    events: list[str] | None = Field(default=None, description="Which events; null: the workflow's.")
    signatures: list[str] = Field(default=["v1"], description="v1: HMAC-SHA256; v1a: ed25519.")
    public_keys: list[str] = Field(default=[], description="Of v1a, newest first.")
    overlap_until: datetime | None = Field(default=None, description="So long the secret before signs, too.")
    schedule_s: list[float] | None = Field(default=None, description="Waits after failures; null: as installed.")
    concurrency: int | None = Field(default=None, description="Attempts at once; null: as installed.")
    breaker_failures: int | None = Field(default=None, description="Failures in a row that open its circuit.")
    evidence: str = Field(default="links", description="links or inline.")
    inline_size_bytes_max: int | None = Field(default=None, description="Of evidence in one webhook.")
    options: dict[str, Any] | None = Field(default=None, description="Of other kinds than webhooks.")
    enabled: bool = Field(default=True, description="Whether anything is posted.")
    disabled_reason: str | None = Field(default=None, description="Why not.")
    circuit: dict[str, Any] | None = Field(
        default=None, description="Failures in a row; whether it is open, since when, until the next probe, and why."
    )
    created_at: datetime | None = Field(default=None, description="When it was made.")


class EndpointPut(EndpointView):
    """An endpoint after a change."""

    secret: str | None = Field(default=None, description="Only when it was made here, this once.")


def _shown(document: dict[str, Any]) -> dict[str, Any]:
    """Its document, with the public halves of its keys."""
    return {**document, "public_keys": [key["public"] for key in document.get("keys") or ()]}


@router.get("/endpoints")
async def list_endpoints(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[EndpointView]:
    """The endpoints of your accounts, newest first."""
    listed = await store.list_endpoints(context, viewer, account, limit, cursor)
    return page(response, [EndpointView.of(_shown(one)) for one in listed.items], listed.next)


@router.get("/endpoints/{account}/{name}")
async def get_endpoint(account: NamePath, name: NamePath, viewer: Reader, context: ContextOf) -> EndpointView:
    """One endpoint, without its secrets."""
    return EndpointView.of(_shown(await store.get_endpoint(context, viewer, account, name)))


@router.put("/endpoints/{account}/{name}")
async def put_endpoint(
    account: NamePath, name: NamePath, body: EndpointChange, viewer: Admin, context: ContextOf
) -> EndpointPut:
    """Make or change an endpoint. With a new secret the one before signs beside it for a day."""
    secret = body.secret.get_secret_value() if body.secret else None
    put = await store.put_endpoint(context, viewer, account, name, body.stored(), secret)
    return EndpointPut.of(_shown(put.document), secret=put.secret)


@router.post("/endpoints/{account}/{name}/rotate", responses=problems(409))
async def rotate_endpoint(
    account: NamePath, name: NamePath, viewer: Admin, context: ContextOf, body: Rotation | None = None
) -> EndpointPut:
    """A new secret, and a new key, for what it signs with; those before sign beside them for a while."""
    overlap_s = (body or Rotation()).overlap_s
    put = await store.rotate_endpoint(context, viewer, account, name, overlap_s)
    return EndpointPut.of(_shown(put.document), secret=put.secret)


@router.post("/endpoints/{account}/{name}/test", responses=problems(409))
async def test_endpoint(
    account: NamePath, name: NamePath, viewer: Operator, context: ContextOf, response: Response
) -> Action:
    """Send the event endpoint.test, signed and recorded like others; `reason` is the delivery's id."""
    return action(response, await store.send_test(context, viewer, account, name))


@router.delete("/endpoints/{account}/{name}", status_code=204)
async def delete_endpoint(account: NamePath, name: NamePath, viewer: Admin, context: ContextOf) -> Response:
    """Remove an endpoint."""
    await store.delete_endpoint(context, viewer, account, name)
    return Response(status_code=204)
