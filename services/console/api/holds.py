"""Legal holds: what they cover is neither archived, deleted nor erased. /api/v1/legal-holds."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self

from fastapi import APIRouter, Query, Response
from pydantic import Field, model_validator

from services.console.api.access import Admin, ContextOf, Reader
from services.console.api.answers import page, problems
from services.console.api.models import (
    PAGE_SIZE,
    TEXT_LENGTH_MAX,
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
from services.console.store import holds as store

router = APIRouter(tags=["legal holds"], responses=problems())


class NewHold(Body):
    """What is to be kept. Only an account: everything of it."""

    account: Name
    workflow: Name | None = Field(default=None, description="Only tasks of this workflow.")
    task: str | None = Field(default=None, min_length=1, max_length=100, description="Only this task.")
    reference: str | None = Field(
        default=None, min_length=1, max_length=500, description="Only tasks of this reference, in any workflow."
    )
    reason: str = Field(min_length=1, max_length=TEXT_LENGTH_MAX, description="For people: why, and on whose behalf.")

    @model_validator(mode="after")
    def _one_way_to_name_a_task(self) -> Self:
        if self.task is not None and (self.reference is not None or self.workflow is not None):
            raise ValueError("a task is named by its id alone, without workflow and reference")
        return self


class HoldView(View):
    """A legal hold."""

    id: Id
    account: str = Field(description="Whose tasks it covers.")
    workflow: str | None = Field(default=None, description="Only tasks of this workflow.")
    task: str | None = Field(default=None, description="Only this task.")
    reference: str | None = Field(default=None, description="Only tasks of this reference.")
    reason: str = Field(description="Why.")
    by: str = Field(description="Who placed it.")
    at: datetime = Field(description="When.")
    lifted_by: str | None = Field(default=None, description="Who lifted it.")
    lifted_at: datetime | None = Field(default=None, description="When; null: it stands.")


class HoldPlaced(HoldView):
    """A legal hold that was just placed."""

    going: int = Field(description="Tasks under it whose deletion was decided before, and goes on.")


@router.get("/legal-holds")
async def list_holds(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    standing: Annotated[bool, Query(description="Without those that were lifted.")] = False,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[HoldView]:
    """Legal holds, newest first."""
    listed = await store.list_holds(context, viewer, account, standing, limit, cursor)
    return page(response, [HoldView.of(one) for one in listed.items], listed.next)


@router.post("/legal-holds", status_code=201)
async def place_hold(body: NewHold, viewer: Admin, context: ContextOf) -> HoldPlaced:
    """Place a legal hold; from the answer on nothing that it covers is archived, deleted or erased."""
    fields = body.model_dump(exclude={"account"})
    return HoldPlaced.of(await store.place_hold(context, viewer, body.account, fields))


@router.delete("/legal-holds/{id}", responses=problems(409))
async def lift_hold(id: IdPath, viewer: Admin, context: ContextOf) -> HoldView:
    """Lift a legal hold; it stays on record. What it covered goes on by the account's retention."""
    return HoldView.of(await store.lift_hold(context, viewer, id))
