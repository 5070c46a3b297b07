"""The queue: GET /api/v1/queue, and why one task waits. What is done to many tasks at once is in bulk.py."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from pydantic import Field

from services.console.api.access import ContextOf, Reader
from services.console.api.answers import page_of, problems
from services.console.api.models import PAGE_SIZE, AccountQuery, CursorQuery, LimitQuery, Page, View
from services.console.store import queue as store

router = APIRouter(tags=["queue"], responses=problems())


class LimitUse(View):
    """A limit of a workflow, and how much of it is used."""

    per: str = Field(description="hour, day or month, by the clock of the workflow's time zone.")
    max: int = Field(description="Tasks.")
    used: int = Field(description="Tasks executed in the current period.")
    on_limit: str = Field(description="block: it waits for the next period; alert: there is an event only.")


class HeldScenario(View):
    """A scenario that takes no tasks until its workflow is released; the other scenarios go on."""

    scenario: str = Field(description="Its name.")
    text: str = Field(default="", description="What its setup said last.")
    at: datetime | None = Field(default=None, description="Since when.")
    failures: int = Field(default=0, description="Failed setups in a row.")
    run: str | None = Field(default=None, description="The last run of them.")


class QueueRow(View):
    """What waits for one workflow; figures of 10,000 mean 'or more'."""

    account: str = Field(description="Whose it is.")
    workflow: str = Field(description="Its name.")
    title: str = Field(description="For people.")
    priority: int = Field(description="Of tasks without one of their own.")
    waiting: int = Field(description="Tasks in the queue.")
    running: int = Field(description="Tasks that a run holds.")
    held: int = Field(description="Tasks that wait for a person.")
    oldest_age_s: float | None = Field(description="Age of the oldest that waits, seconds.")
    open: bool = Field(description="Whether it takes tasks now.")
    why: str | None = Field(description="Why not, in a sentence; null when it is open.")
    reason: str | None = Field(description="The same for programs: unpublished, held, closed, limit or runs.")
    held_since: datetime | None = Field(description="Since when it is held, by a person or its circuit breaker.")
    held_scenarios: list[HeldScenario] = Field(description="Its scenarios whose setup failed again and again.")
    limits: list[LimitUse] = Field(description="Its own limits, in the order of its settings.")


class Forecast(View):
    """When a task may run, as far as can be seen now."""

    starts_at: datetime | None = Field(default=None, description="About when it starts.")
    ends_at: datetime | None = Field(default=None, description="About when it ends.")
    deadline_kept: bool | None = Field(default=None, description="Whether it starts in time; null: it has no deadline.")
    text: str = Field(default="", description="The same in words.")


class WhyView(View):
    """Why a task is not running."""

    task: str = Field(description="Its id.")
    state: str = Field(description="Where it stands.")
    why: str = Field(description="The reason that stands first in its way.")
    facts: dict[str, Any] = Field(description="What the sentence was made from.")
    forecast: Forecast | None = Field(description="When it may start; null: it does not wait, or nobody can say.")


@router.get("/queue")
async def queue(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[QueueRow]:
    """How much waits, runs and is held, per workflow, and whether the workflow takes tasks now."""
    rows = [QueueRow.of(one) for one in await store.queue_depths(context, viewer, account)]
    return page_of(response, rows, [f"{row.account}/{row.workflow}" for row in rows], limit, cursor)


@router.get("/queue/why")
async def why(viewer: Reader, context: ContextOf, task: Annotated[str, Query(min_length=1, max_length=200)]) -> WhyView:
    """Why a task is not running, and when it may."""
    document, said = await store.why(context, viewer, task)
    forecast = None if said.forecast is None else Forecast.of(said.forecast)
    return WhyView(task=task, state=document["state"], why=said.why, facts=said.facts, forecast=forecast)
