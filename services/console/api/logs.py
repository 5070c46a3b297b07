"""Log lines: GET /api/v1/logs."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from services.console.api.access import ContextOf, Reader
from services.console.api.answers import page, problems
from services.console.api.models import AccountQuery, Id, Page, TextQuery, View
from services.console.store import logs as store

router = APIRouter(tags=["logs"], responses=problems())


class LogLine(View):
    """One line; each says whose it is."""

    id: Id
    at: datetime = Field(description="By the clock of who wrote it.")
    level: str = Field(description="debug, info, warning, error or critical.")
    service: str = Field(description="The service; agent for robots.")
    instance: str | None = Field(default=None, description="Which of them.")
    event: str = Field(description="What happened.")
    account: str | None = Field(default=None, description="Whose it is.")
    worker: str | None = Field(default=None, description="The robot.")
    run: str | None = Field(default=None, description="The run.")
    task: str | None = Field(default=None, description="The task.")
    seq: int | None = Field(default=None, description="The instruction.")
    trace: str | None = Field(default=None, description="The trace.")
    fields: dict[str, Any] = Field(default_factory=dict, description="More facts.")


@router.get("/logs")
async def list_logs(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    worker: TextQuery = None,
    run: TextQuery = None,
    task: TextQuery = None,
    service: TextQuery = None,
    level: Annotated[
        Literal["debug", "info", "warning", "error", "critical"] | None, Query(description="The least severe one.")
    ] = None,
    after: Annotated[str | None, Query(max_length=1000, description="`next` of the answer before, to follow.")] = None,
    cursor: Annotated[str | None, Query(max_length=1000, description="The same as `after`.")] = None,
    overlap_s: Annotated[
        float, Query(ge=0, le=60, description="Read so many seconds back again: lines that came late.")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=store.LINES_MAX, description="Lines.")] = 200,
) -> Page[LogLine]:
    """The newest lines, or those after a cursor; in order of time. `next` is never null once there is a line."""
    wanted = store.LogFilter(account, worker, run, task, service, level)
    position = after or cursor
    if position:
        lines = await store.lines_after(context, viewer, wanted, position, limit, overlap_s)
    else:
        lines = await store.newest_lines(context, viewer, wanted, limit)
    return page(response, [LogLine.of(one) for one in lines.items], lines.after)
