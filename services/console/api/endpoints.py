"""Where outcomes are posted: /api/v1/endpoints."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import AfterValidator, Field, SecretStr

from services.console.api.access import Admin, ContextOf, Reader
from services.console.api.answers import page, problems
from services.console.api.models import (
    PAGE_SIZE,
    AccountQuery,
    Body,
    CursorQuery,
    Id,
    LimitQuery,
    NamePath,
    Page,
    View,
)
from services.console.core.webhook_secret import check_secret
from services.console.store import endpoints as store

router = APIRouter(tags=["endpoints"], responses=problems())


def _secret(value: SecretStr) -> SecretStr:
    check_secret(value.get_secret_value())
    return value


class EndpointChange(Body):
    """An endpoint as it shall be."""

    url: str = Field(
        pattern=r"^https?://[A-Za-z0-9._\[\]:-]+(/[!-~]*)?$", max_length=2000, description="Where outcomes are posted."
    )
    secret: Annotated[SecretStr, AfterValidator(_secret)] | None = Field(
        default=None,
        max_length=200,
        description="whsec_ and base64 of 24 to 64 bytes; without one, a new endpoint gets one made here.",
    )
    events: list[Literal["succeeded", "failed", "held", "cancelled", "expired"]] | None = Field(
        default=None, max_length=5, description="Which events; null: the workflow's."
    )


class EndpointView(View):
    """An endpoint, without its secrets."""

    id: Id
    account: str = Field(description="Whose it is.")
    name: str = Field(description="What workflows call it.")
    url: str = Field(description="Where outcomes are posted.")
    events: list[str] | None = Field(default=None, description="Which events; null: the workflow's.")
    enabled: bool = Field(default=True, description="Whether anything is posted.")
    disabled_reason: str | None = Field(default=None, description="Why not.")
    created_at: datetime | None = Field(default=None, description="When it was made.")


class EndpointPut(EndpointView):
    """An endpoint after a change."""

    secret: str | None = Field(default=None, description="Only when it was made here, this once.")


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
    return page(response, [EndpointView.of(one) for one in listed.items], listed.next)


@router.get("/endpoints/{account}/{name}")
async def get_endpoint(account: NamePath, name: NamePath, viewer: Reader, context: ContextOf) -> EndpointView:
    """One endpoint, without its secrets."""
    return EndpointView.of(await store.get_endpoint(context, viewer, account, name))


@router.put("/endpoints/{account}/{name}")
async def put_endpoint(
    account: NamePath, name: NamePath, body: EndpointChange, viewer: Admin, context: ContextOf
) -> EndpointPut:
    """Make or change an endpoint. With a new secret the one before stays valid beside it until the next change."""
    secret = body.secret.get_secret_value() if body.secret else None
    events: list[str] | None = sorted(set(body.events)) if body.events is not None else None
    put = await store.put_endpoint(context, viewer, account, name, body.url, secret, events)
    return EndpointPut.of(put.document, secret=put.secret)


@router.delete("/endpoints/{account}/{name}", status_code=204)
async def delete_endpoint(account: NamePath, name: NamePath, viewer: Admin, context: ContextOf) -> Response:
    """Remove an endpoint."""
    await store.delete_endpoint(context, viewer, account, name)
    return Response(status_code=204)
