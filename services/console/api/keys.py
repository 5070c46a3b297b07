"""Partners' keys: GET and POST /api/v1/keys, DELETE /api/v1/keys/{id}."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from fastapi import APIRouter, Response
from pydantic import Field

from services.console.api.access import Admin, ContextOf
from services.console.api.answers import page, problems
from services.console.api.models import (
    PAGE_SIZE,
    AccountQuery,
    Body,
    CursorQuery,
    Id,
    IdPath,
    LimitQuery,
    Name,
    Page,
    View,
)
from services.console.store import accounts as store

router = APIRouter(tags=["keys"], responses=problems())


class Scope(StrEnum):
    """What a key opens."""

    TASKS = "tasks"
    """Push, read and cancel tasks; read evidence."""
    RESULTS = "results"
    """Read the results feed."""
    ENDPOINTS = "endpoints"
    """Read and change delivery endpoints."""


class NewKey(Body):
    """A key for a partner, who is made when it is new."""

    account: Name
    partner: Name
    name: str = Field(default="", max_length=100, description="What it is for.")
    scopes: list[Scope] = Field(min_length=1, max_length=3, description="What it opens.")


class KeyMade(View):
    """A new key; it is shown this once."""

    id: Id
    key: str = Field(description="Send it as `Authorization: Bearer <key>`.")


class KeyView(View):
    """A key, without what is secret."""

    id: Id
    account: str = Field(description="Its account.")
    partner: str = Field(description="Whose it is.")
    name: str = Field(default="", description="What it is for.")
    scopes: list[str] = Field(description="What it opens.")
    created_at: datetime = Field(description="When it was made.")
    revoked_at: datetime | None = Field(default=None, description="Since when it is worthless.")
    expires_at: datetime | None = Field(default=None, description="When it becomes worthless by itself.")


@router.get("/keys")
async def list_keys(
    viewer: Admin,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[KeyView]:
    """The keys of your accounts, newest first."""
    listed = await store.list_keys(context, viewer, account, limit, cursor)
    return page(response, [KeyView.of(one) for one in listed.items], listed.next)


@router.post("/keys", status_code=201)
async def add_key(body: NewKey, viewer: Admin, context: ContextOf) -> KeyMade:
    """Make a key."""
    scopes = sorted({scope.value for scope in body.scopes})
    return KeyMade.of(await store.add_key(context, viewer, body.account, body.partner, body.name, scopes))


@router.delete("/keys/{key}", status_code=204)
async def revoke_key(key: IdPath, viewer: Admin, context: ContextOf) -> Response:
    """Make a key worthless."""
    await store.revoke_key(context, viewer, key)
    return Response(status_code=204)
