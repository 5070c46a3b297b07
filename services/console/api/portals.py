"""Portals, whose maintenance workflows wait for: /api/v1/portals."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Response
from pydantic import Field

from services.console.api.access import Admin, ContextOf, Reader
from services.console.api.answers import page_of, problems
from services.console.api.models import (
    PAGE_SIZE,
    AccountQuery,
    CursorQuery,
    Id,
    LimitQuery,
    NamePath,
    Page,
    View,
    in_utc,
)
from services.console.store import named as store
from services.console.store.named import PORTALS
from shared.contracts.settings_file import Maintenance, Portal, Window
from shared.runtime.http import Problem

router = APIRouter(tags=["portals"], responses=problems())


class PortalView(View):
    """A site that workflows work on, and when it is away."""

    id: Id
    account: str = Field(description="Whose it is.")
    name: str = Field(description="What settings call it.")
    title: str = Field(default="", description="For people.")
    timezone: str = Field(default="UTC", description="Of the weekly windows.")
    weekly: list[Window] = Field(default_factory=list, description="Away every week in these windows.")
    maintenance: list[Maintenance] = Field(default_factory=list, description="Announced once; in order.")
    updated_at: datetime = Field(description="Last change.")
    updated_by: str | None = Field(default=None, description="Who.")


@router.get("/portals")
async def list_portals(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[PortalView]:
    """The portals of your accounts."""
    views = [PortalView.of(one) for one in await store.list_named(context, viewer, PORTALS, account)]
    return page_of(response, views, [view.id for view in views], limit, cursor)


@router.get("/portals/{account}/{name}")
async def get_portal(account: NamePath, name: NamePath, viewer: Reader, context: ContextOf) -> PortalView:
    """One portal."""
    return PortalView.of(await store.get_named(context, viewer, PORTALS, account, name))


@router.put("/portals/{account}/{name}")
async def put_portal(account: NamePath, name: NamePath, body: Portal, viewer: Admin, context: ContextOf) -> PortalView:
    """Make a portal, or put it in place of what was there; it counts at once wherever it is named."""
    return PortalView.of(await store.put_named(context, viewer, PORTALS, account, name, _fields(body)))


@router.delete("/portals/{account}/{name}", status_code=204, responses=problems(409))
async def delete_portal(account: NamePath, name: NamePath, viewer: Admin, context: ContextOf) -> Response:
    """Remove a portal that no workflow names."""
    await store.delete_named(context, viewer, PORTALS, account, name)
    return Response(status_code=204)


def _fields(body: Portal) -> dict[str, Any]:
    """As it is stored: times are times, in UTC."""
    fields = body.model_dump(mode="json")
    try:
        times = [(in_utc(one.start), in_utc(one.end), one.reason) for one in body.maintenance]
    except ValueError as error:
        raise Problem(422, f"maintenance: {error}") from error
    fields["maintenance"] = [{"start": start, "end": end, "reason": reason} for start, end, reason in sorted(times)]
    return fields
