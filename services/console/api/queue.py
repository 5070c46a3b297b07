"""The queue: GET /api/v1/queue, and why one task waits."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from services.console.api.access import ContextOf, Reader
from services.console.api.answers import page_of, problems
from services.console.api.models import PAGE_SIZE, AccountQuery, CursorQuery, LimitQuery, Page, View
from services.console.store import queue as store

router = APIRouter(tags=["queue"], responses=problems())


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


class WhyView(View):
    """Why a task is not running."""

    task: str = Field(description="Its id.")
    state: str = Field(description="Where it stands.")
    why: str = Field(description="The reason that stands first in its way.")


@router.get("/queue")
async def queue(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[QueueRow]:
    """How much waits, runs and is held, per workflow."""
    rows = [QueueRow.of(one) for one in await store.queue_depths(context, viewer, account)]
    return page_of(response, rows, [f"{row.account}/{row.workflow}" for row in rows], limit, cursor)


@router.get("/queue/why")
async def why(viewer: Reader, context: ContextOf, task: Annotated[str, Query(min_length=1, max_length=200)]) -> WhyView:
    """Why a task is not running."""
    document, sentence = await store.why(context, viewer, task)
    return WhyView(task=task, state=document["state"], why=sentence)
