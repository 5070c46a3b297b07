"""Deliveries: GET /api/v1/deliveries, and replay."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import AwareDatetime, Field, model_validator

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
    task: str | None = Field(default=None, description="The task; none of a test, or while a run is set up.")
    endpoint: str = Field(description="Name of the endpoint.")
    event: str = Field(description="The event.")
    webhook_id: str | None = Field(default=None, description="Header webhook-id, the same on every attempt.")
    state: DeliveryState = Field(description="Where it stands.")
    reason: str | None = Field(default=None, description="Why it is not delivered, or dead.")
    attempts: list[dict[str, Any]] = Field(default_factory=list, description="The newest 20.")
    attempts_made: int = Field(default=0, description="All of them.")
    next_at: datetime | None = Field(default=None, description="When it is tried next.")
    created_at: datetime = Field(description="When it was made.")
    delivered_at: datetime | None = Field(default=None, description="When the endpoint answered 2xx.")


class DeliveryDetail(DeliveryView):
    """One delivery, with what is sent."""

    body: str | None = Field(default=None, description="The bytes of the webhook, the same on every attempt.")


class Replay(Body):
    """Which deliveries to post again: `ids`, or the dead ones of an account that match all that is given."""

    ids: list[Annotated[str, Field(min_length=1, max_length=300)]] | None = Field(
        default=None, min_length=1, max_length=500, description="Their ids."
    )
    state: Literal["dead"] | None = Field(default=None, description="Dead ones are what a filter finds.")
    account: Name | None = Field(default=None, description="Whose they are; with a filter.")
    endpoint: Name | None = Field(default=None, description="Only to this endpoint.")
    workflow: str | None = Field(default=None, min_length=1, max_length=200, description="Only of this workflow.")
    event: str | None = Field(default=None, min_length=1, max_length=20, description="Only of this event.")
    task: str | None = Field(default=None, min_length=1, max_length=100, description="Only of this task.")
    created_after: AwareDatetime | None = Field(default=None, description="Only made at or after this time.")
    created_before: AwareDatetime | None = Field(default=None, description="Only made before this time.")

    @model_validator(mode="after")
    def one_of_both(self) -> Replay:
        """Either ids, or an account and at least one thing to choose by."""
        filters = self.filters()
        if self.ids is not None and (filters or self.state or self.account):
            raise ValueError("give ids, or an account and a filter")
        if self.ids is None and not (self.account and filters):
            raise ValueError("give ids, or an account and at least one of endpoint, workflow, event, task, created_...")
        return self

    def filters(self) -> dict[str, str]:
        """What is chosen by, as the command holds it."""
        names = {"endpoint", "workflow", "event", "task", "created_after", "created_before"}
        return self.model_dump(mode="json", include=names, exclude_none=True)


@router.get("/deliveries")
async def list_deliveries(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    state: Annotated[DeliveryState | None, Query(description="Only in this state.")] = None,
    endpoint: TextQuery = None,
    task: TextQuery = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[DeliveryView]:
    """Deliveries that match, newest first."""
    listed = await store.list_deliveries(
        context, viewer, account=account, state=state, endpoint=endpoint, task=task, limit=limit, cursor=cursor
    )
    return page(response, [DeliveryView.of(one) for one in listed.items], listed.next)


@router.get("/deliveries/{delivery:path}")
async def get_delivery(
    delivery: Annotated[str, Path(min_length=1, max_length=300, description="Its id.")],
    viewer: Reader,
    context: ContextOf,
) -> DeliveryDetail:
    """One delivery with all that is kept of its attempts, and its bytes."""
    return DeliveryDetail.of(await store.get_delivery(context, viewer, delivery))


@router.post("/deliveries/replay", responses=problems(409))
async def replay(body: Replay, viewer: Operator, context: ContextOf, response: Response) -> Action:
    """Post deliveries again, with the same bytes and the same webhook-id."""
    if body.ids is not None:
        return action(response, await store.replay_ids(context, viewer, sorted(set(body.ids))))
    return action(response, await store.replay_dead(context, viewer, str(body.account), body.filters()))
