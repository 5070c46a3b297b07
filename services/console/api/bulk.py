"""Actions on many tasks at once: /api/v1/queue/actions. One goes on by itself; its address shows how far it is."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Response
from pydantic import ConfigDict, Field, model_validator

from services.console.api.access import ContextOf, Operator, Reader
from services.console.api.answers import page, problems
from services.console.api.models import (
    PAGE_SIZE,
    TEXT_LENGTH_MAX,
    AccountQuery,
    Body,
    CursorQuery,
    IdPath,
    LimitQuery,
    Moment,
    Name,
    Page,
    View,
)
from services.console.api.settings_change import without_defaults
from services.console.store import bulk as store
from shared.runtime.http import Problem

router = APIRouter(tags=["queue"], responses=problems())

REFERENCES_MAX = 1000
Reference = Annotated[str, Field(min_length=1, max_length=200)]


class QueueFilter(Body):
    """Which tasks: those to which all that is named applies. What is left out does not count, so defaults never do."""

    model_config = ConfigDict(json_schema_extra=without_defaults)

    account: Name = Field(description="Whose tasks.")
    workflow: Name = Field(default="", description="Only of this workflow.")
    state: Literal["queued", "held", "running"] = Field(default="queued", description="Only in this state.")
    batch: str = Field(default="", min_length=1, max_length=200, description="Only of this push.")
    priority: int | None = Field(
        default=None, ge=0, le=5, description="Only with this priority of their own; null: only those without one."
    )
    references: list[Reference] = Field(
        default=[], min_length=1, max_length=REFERENCES_MAX, description="Only these, by the partner's names."
    )
    created_before: Moment = Field(default=datetime.max, description="Only those that came before.")


class BulkRequest(Body):
    """What is to be done with all tasks that match."""

    action: Literal["hold", "release", "front", "priority", "cancel"] = Field(description="What is done.")
    filter: QueueFilter = Field(description="With which tasks: at least one field beside account, or `all`.")
    all: bool = Field(default=False, description="True: with all tasks of the account, when nothing narrows them.")
    text: str | None = Field(default=None, max_length=TEXT_LENGTH_MAX, description="Why; shown with held tasks.")
    priority: int | None = Field(default=None, ge=0, le=5, description="For action priority; null: the workflow's.")

    @model_validator(mode="after")
    def _is_meant(self) -> Self:
        if not self.all and set(self.wanted()) == {"account"}:
            raise ValueError('filter: narrow it by one more field, or say "all": true for all tasks of the account')
        if (self.action == "priority") != ("priority" in self.model_fields_set):
            raise ValueError("priority: give it with action priority (null: the workflow's), and with no other")
        return self

    def wanted(self) -> dict[str, Any]:
        """The filter's fields that narrow it."""
        return self.filter.model_dump(exclude_unset=True)

    def more(self) -> dict[str, Any]:
        """What the action needs beside the filter."""
        text = {"text": self.text} if self.text is not None else {}
        return {**text, **({"priority": self.priority} if self.action == "priority" else {})}


class Progress(View):
    """How far it is."""

    done: int = Field(default=0, description="Tasks with which it was done.")
    skipped: int = Field(default=0, description="Tasks that needed nothing, or had changed meanwhile.")
    refused: int = Field(default=0, description="Tasks whose state did not allow it.")
    finished: bool = Field(default=False, description="Nothing is left to do.")


class BulkAsked(View):
    """A request, and how far it is."""

    command: str = Field(description="Id of the request.")
    state: str = Field(description="pending while it goes on; done at its end.")
    progress: Progress = Field(description="How far it is.")


class BulkView(BulkAsked):
    """A request with all that was asked for."""

    kind: str = Field(description="queue.bulk.")
    action: str = Field(description="What is done.")
    filter: dict[str, Any] = Field(description="With which tasks.")
    text: str | None = Field(default=None, description="Why.")
    priority: int | None = Field(default=None, description="For action priority.")
    reason: str | None = Field(default=None, description="What the scheduler said at its end.")
    by: str = Field(description="Who asked.")
    created_at: datetime = Field(description="When.")
    ended_at: datetime | None = Field(default=None, description="When it was done.")


class Count(View):
    """How many tasks an action would find."""

    count: int = Field(description=f"Tasks now; {store.COUNTED_MAX} means 'or more'.")


@router.post("/queue/actions", responses=problems(409))
async def ask_for_action(body: BulkRequest, viewer: Operator, context: ContextOf, response: Response) -> BulkAsked:
    """Do something with all tasks that match: 200 when it is done, 202 while it goes on."""
    asked = await store.ask_bulk(context, viewer, body.action, body.wanted(), body.more())
    if asked["state"] == "refused":
        raise Problem(409, asked["reason"] or "refused", code="CONFLICT", command=asked["command"])
    response.status_code = 200 if asked["state"] == "done" else 202
    return BulkAsked.of(asked)


@router.post("/queue/count")
async def count_tasks(body: BulkRequest, viewer: Operator, context: ContextOf) -> Count:
    """How many tasks the same request to queue/actions would find now; nothing is done."""
    return Count(count=await store.count_matching(context, viewer, body.action, body.wanted()))


@router.get("/queue/actions")
async def list_actions(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[BulkView]:
    """The actions of the last 30 days on tasks of your accounts, newest first."""
    listed = await store.list_bulk(context, viewer, account, limit, cursor)
    return page(response, [BulkView.of(one) for one in listed.items], listed.next)


@router.get("/queue/actions/{command}")
async def get_action(command: IdPath, viewer: Reader, context: ContextOf) -> BulkView:
    """One action, and how far it is."""
    return BulkView.of(await store.get_bulk(context, viewer, command))
