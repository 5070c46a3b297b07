"""Partners' keys: GET and POST /api/v1/keys, POST /api/v1/keys/{id}/rotate, DELETE /api/v1/keys/{id}."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from ipaddress import ip_network
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import AfterValidator, Field

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
    Moment,
    Name,
    Page,
    View,
)
from services.console.store import keys as store
from shared.domain.rate import RATE_MAX

router = APIRouter(tags=["keys"], responses=problems())


class Scope(StrEnum):
    """What a key opens."""

    TASKS = "tasks"
    """Push, read and cancel tasks; read evidence."""
    RESULTS = "results"
    """Read the results feed."""
    ENDPOINTS = "endpoints"
    """Read and change delivery endpoints."""


def _network(text: str) -> str:
    """A network in its usual form. Raises: ValueError, which says what is wrong."""
    return str(ip_network(text.strip()))


Network = Annotated[str, Field(max_length=50), AfterValidator(_network)]


class Limits(Body):
    """How much a key may send; none: no limit of its own. A minute's worth may come at once."""

    requests_per_min: int | None = Field(default=None, ge=1, le=RATE_MAX, description="Requests a minute.")
    tasks_per_min: int | None = Field(default=None, ge=1, le=RATE_MAX, description="Pushed tasks a minute.")


class NewKey(Body):
    """A key for a partner, who is made when it is new."""

    account: Name
    partner: Name
    name: str = Field(default="", max_length=100, description="What it is for.")
    scopes: list[Scope] = Field(min_length=1, max_length=3, description="What it opens.")
    expires_at: Moment | None = Field(default=None, description="When it becomes worthless by itself.")
    networks: list[Network] = Field(
        default=[], max_length=50, description="Where it may be used from, such as 203.0.113.0/24; empty: anywhere."
    )
    limits: Limits = Field(default=Limits(), description="How much it may send.")
    signing: bool = Field(default=False, description="With a secret that signs requests (Standard Webhooks).")


class KeyMade(View):
    """A new key; it is shown this once."""

    id: Id
    key: str = Field(description="Send it as `Authorization: Bearer <key>`.")
    signing_secret: str | None = Field(description="whsec_..., for requests that are signed instead.")


class Rotation(Body):
    """A new key in place of an old one, on the same terms."""

    overlap_hours: float = Field(default=24, ge=0, le=24 * 90, description="How long the old one stays good.")
    expires_at: Moment | None = Field(
        default=None, description="Of the new key; none: it lives as long as the old one was made for."
    )


class KeyRotated(KeyMade):
    """The new key, and how long the old one works."""

    old_expires_at: datetime = Field(description="Until when the old key works, too.")


class KeyView(View):
    """A key, without what is secret."""

    id: Id
    account: str = Field(description="Its account.")
    partner: str = Field(description="Whose it is.")
    name: str = Field(default="", description="What it is for.")
    scopes: list[str] = Field(description="What it opens.")
    networks: list[str] = Field(default=[], description="Where it may be used from; empty: anywhere.")
    limits: Limits = Field(default=Limits(), description="How much it may send.")
    signing: bool = Field(description="Whether it has a secret that signs requests.")
    replaces: str | None = Field(default=None, description="The key in whose place it was made.")
    replaced_by: str | None = Field(default=None, description="The key that was made in its place.")
    last_used_at: datetime | None = Field(default=None, description="When it was last used, to the minute.")
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
    return page(
        response, [KeyView.of(one, signing=one.get("signing") is not None) for one in listed.items], listed.next
    )


@router.post("/keys", status_code=201)
async def add_key(body: NewKey, viewer: Admin, context: ContextOf) -> KeyMade:
    """Make a key."""
    terms = store.Terms(
        scopes=sorted({scope.value for scope in body.scopes}),
        expires_at=body.expires_at,
        networks=body.networks,
        limits=body.limits.model_dump(),
        signing=body.signing,
    )
    return KeyMade.of(await store.add_key(context, viewer, body.account, body.partner, body.name, terms))


@router.post("/keys/{key}/rotate", status_code=201)
async def rotate_key(key: IdPath, body: Rotation, viewer: Admin, context: ContextOf) -> KeyRotated:
    """Make a key in place of another, which stays good for a while."""
    overlap = timedelta(hours=body.overlap_hours)
    made = await store.rotate_key(context, viewer, key, overlap=overlap, expires_at=body.expires_at)
    return KeyRotated.of(made)


@router.delete("/keys/{key}", status_code=204)
async def revoke_key(key: IdPath, viewer: Admin, context: ContextOf) -> Response:
    """Make a key worthless."""
    await store.revoke_key(context, viewer, key)
    return Response(status_code=204)
