"""Events: GET /api/v1/events."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from services.console.api.access import ContextOf, Reader
from services.console.api.answers import page, problems
from services.console.api.models import PAGE_SIZE, AccountQuery, CursorQuery, Id, LimitQuery, Page, TextQuery, View
from services.console.store import events as store
from shared.domain.events import Severity

router = APIRouter(tags=["events"], responses=problems())


class EventView(View):
    """Something that happened."""

    id: Id
    at: datetime = Field(description="When.")
    kind: str = Field(description="What, such as limit_reached or robot_quarantined.")
    severity: str = Field(description="info, warning or error.")
    account: str | None = Field(default=None, description="Whose it is; null: of no account, such as a shared robot.")
    target: str | None = Field(default=None, description="What it is about: a workflow, robot, run or task.")
    text: str = Field(default="", description="The same in words.")
    facts: dict[str, Any] = Field(default_factory=dict, description="More about it.")
    service: str | None = Field(default=None, description="Who noticed.")


@router.get("/events")
async def list_events(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    kind: TextQuery = None,
    severity: Annotated[Severity | None, Query(description="Only of this severity.")] = None,
    target: TextQuery = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[EventView]:
    """Events of your accounts, newest first."""
    listed = await store.list_events(
        context,
        viewer,
        account=account,
        kind=kind,
        severity=severity.value if severity else None,
        target=target,
        limit=limit,
        cursor=cursor,
    )
    return page(response, [EventView.of(one) for one in listed.items], listed.next)
