"""Deliveries: GET /api/v1/deliveries, and replay."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field, model_validator

from services.console.api.access import ContextOf, Operator, Reader
from services.console.api.answers import action, page, problems
from services.console.api.models import (
    PAGE_SIZE,
    AccountQuery,
    Action,
    Body,
    CursorQuery,
    Id,
    LimitQuery,
    Name,
    Page,
    TextQuery,
    View,
)
from services.console.store import deliveries as store
from shared.domain.delivery_state import DeliveryState

router = APIRouter(tags=["deliveries"], responses=problems())


class DeliveryView(View):
    """One event of one task for one endpoint."""

    id: Id
    account: str = Field(description="Whose it is.")
    task: str = Field(description="The task.")
    endpoint: str = Field(description="Name of the endpoint.")
    event: str = Field(description="The event.")
    webhook_id: str | None = Field(default=None, description="Header webhook-id, the same on every attempt.")
    state: DeliveryState = Field(description="Where it stands.")
    attempts: list[dict[str, Any]] = Field(default_factory=list, description="The newest 20.")
    attempts_made: int = Field(default=0, description="All of them.")
    next_at: datetime | None = Field(default=None, description="When it is tried next.")
    created_at: datetime = Field(description="When it was made.")
    delivered_at: datetime | None = Field(default=None, description="When the endpoint answered 2xx.")


class Replay(Body):
    """Which deliveries to post again: `ids`, or every dead one of an endpoint."""

    ids: list[Annotated[str, Field(min_length=1, max_length=300)]] | None = Field(
        default=None, min_length=1, max_length=500, description="Their ids."
    )
    state: Literal["dead"] | None = Field(default=None, description="With account and endpoint: every dead one.")
    account: Name | None = Field(default=None, description="The endpoint's account.")
    endpoint: Name | None = Field(default=None, description="The endpoint's name.")

    @model_validator(mode="after")
    def one_of_both(self) -> Replay:
        """Either ids, or all of state, account and endpoint."""
        filled = [self.state, self.account, self.endpoint]
        if (self.ids is not None) == any(filled) or (self.ids is None and not all(filled)):
            raise ValueError("give ids, or state, account and endpoint")
        return self


@router.get("/deliveries")
async def list_deliveries(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    state: Annotated[DeliveryState | None, Query(description="Only in this state.")] = None,
    task: TextQuery = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[DeliveryView]:
    """Deliveries that match, newest first."""
    listed = await store.list_deliveries(
        context, viewer, account=account, state=state, task=task, limit=limit, cursor=cursor
    )
    return page(response, [DeliveryView.of(one) for one in listed.items], listed.next)


@router.post("/deliveries/replay", responses=problems(409))
async def replay(body: Replay, viewer: Operator, context: ContextOf, response: Response) -> Action:
    """Post deliveries again, with the same bytes and the same webhook-id."""
    if body.ids is not None:
        return action(response, await store.replay_ids(context, viewer, sorted(set(body.ids))))
    return action(response, await store.replay_dead(context, viewer, body.account or "", body.endpoint or ""))
