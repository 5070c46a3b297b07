"""Alerts: what is wrong, and who looks at it. /api/v1/alerts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from services.console.api.access import ContextOf, Operator, Reader
from services.console.api.answers import action, page, problems
from services.console.api.models import (
    PAGE_SIZE,
    AccountQuery,
    Action,
    Body,
    CursorQuery,
    Id,
    IdPath,
    LimitQuery,
    Page,
    TextQuery,
    View,
)
from services.console.store import alerts as store
from shared.domain.alert_state import AlertState

router = APIRouter(tags=["alerts"], responses=problems())


class AlertView(View):
    """One thing that is wrong, or was."""

    id: Id
    rule: str = Field(description="By which rule.")
    kind: str = Field(description="What the rule looks at, such as robot_lost.")
    target: str = Field(description="What it is about, such as worker/02005e000001.")
    account: str | None = Field(default=None, description="Whose it is; null: the installation's.")
    severity: str = Field(description="info, warning, error or critical.")
    text: str = Field(description="In words.")
    facts: dict[str, Any] = Field(default_factory=dict, description="More about it.")
    state: str = Field(description="pending (not long enough yet), firing, resolved.")
    since: datetime = Field(description="Since when it is so.")
    fired_at: datetime | None = Field(default=None, description="Since when people are told.")
    resolved_at: datetime | None = Field(default=None, description="When it was over.")
    resolved_why: str | None = Field(default=None, description="over, or rule: nobody asks for it any more.")
    acked: dict[str, Any] | None = Field(default=None, description="{by, at, note}: who looks at it.")


class Note(Body):
    """For the others."""

    note: str | None = Field(default=None, max_length=500, description="What is being done about it.")


@router.get("/alerts")
async def list_alerts(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    state: Annotated[AlertState | None, Query(description="Only in this state.")] = None,
    rule: TextQuery = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[AlertView]:
    """Alerts of your accounts, the newest first."""
    wanted = state.value if state else None
    listed = await store.list_alerts(
        context, viewer, account=account, state=wanted, rule=rule, limit=limit, cursor=cursor
    )
    return page(response, [AlertView.of(one) for one in listed.items], listed.next)


@router.get("/alerts/{id}")
async def get_alert(id: IdPath, viewer: Reader, context: ContextOf) -> AlertView:
    """One alert."""
    return AlertView.of(await store.get_alert(context, viewer, id))


@router.post("/alerts/{id}/ack", responses=problems(409))
async def acknowledge_alert(
    id: IdPath, viewer: Operator, context: ContextOf, response: Response, body: Note | None = None
) -> Action:
    """Say that you look at a firing alert."""
    return action(response, await store.acknowledge(context, viewer, id, True, (body or Note()).note))


@router.post("/alerts/{id}/unack", responses=problems(409))
async def unacknowledge_alert(id: IdPath, viewer: Operator, context: ContextOf, response: Response) -> Action:
    """Say that nobody looks at it any more."""
    return action(response, await store.acknowledge(context, viewer, id, False, None))
