"""The partners' HTTP API of the results feed: reading it, waiting for it, and what readers have acknowledged.

Called by: main.py. Everything is of the key's own account. Survives a crash: a position is one write. Change also:
README.md, docs/results.md, ARCHITECTURE.md (HTTP).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from services.delivery.api import Cursor
from services.delivery.config import PAGE_DEFAULT, PAGE_MAX
from services.delivery.core.feed import READER_DEFAULT, READER_PATTERN, Page, Wanted
from services.delivery.feed import Feed
from services.delivery.waiters import RECHECK_S, TooManyWait, Waiters
from shared.domain.task_view import moment
from shared.errors import ErrorCode
from shared.obs.clock import monotonic_s, now
from shared.runtime.auth import Partner, partner_key
from shared.runtime.http import Problem, decode_cursor, encode_cursor
from shared.runtime.openapi import partner_problems
from shared.runtime.paging import current_url

WAIT_S_MAX = 30
LOOKS_MAX = 10
"""So many looks at a filtered feed make one answer without waiting."""
RETRY_AFTER_S = "5"
Event = Literal["succeeded", "failed", "held", "cancelled", "expired"]
ReaderName = Annotated[str, Path(pattern=READER_PATTERN, description="The reader's name.")]


@dataclass(frozen=True)
class FeedContext:
    """What the routes work with."""

    feed: Feed
    waiters: Waiters


def _context(request: Request) -> FeedContext:
    found: FeedContext = request.app.state.feed
    return found


Here = Annotated[FeedContext, Depends(_context)]
Caller = Annotated[Partner, Depends(partner_key("results"))]


class ResultList(BaseModel):
    """A part of the feed, in order."""

    items: list[dict[str, Any]] = Field(
        description="Tasks as `GET /v1/tasks/{id}` shows them, at the time of the event."
    )
    next: str | None = Field(description="Cursor of the next page; none: there is no more now.")
    after: str | None = Field(description="Cursor behind the last entry: where to go on later.")


class Acknowledgement(BaseModel):
    """How far a reader has got."""

    model_config = ConfigDict(extra="forbid")

    after: str | None = Field(max_length=500, description="`after` of an answer; null: the beginning of the feed.")
    name: str = Field(default=READER_DEFAULT, pattern=READER_PATTERN, description="Which reader; several may read.")
    back: bool = Field(default=False, description="Also move it backwards; else a position only goes forward.")


class ReaderView(BaseModel):
    """A named reader's position."""

    name: str
    after: str = Field(description="Everything up to this cursor was acknowledged.")
    acknowledged_at: str | None
    behind: int = Field(description="So many entries stand behind it, of every workflow and event.")


class ReaderList(BaseModel):
    """An account's readers, by name."""

    items: list[ReaderView]
    next: str | None = Field(description="Always none: an account has at most 100 readers.")


def results_router() -> APIRouter:
    """The feed's routes."""
    router = APIRouter(tags=["results"])
    errors = partner_problems(400)
    router.add_api_route(
        "/v1/results",
        list_results,
        methods=["GET"],
        responses={200: {"model": ResultList}, **partner_problems(404), **errors},
    )
    router.add_api_route(
        "/v1/results/ack",
        acknowledge,
        methods=["POST"],
        responses={200: {"model": ReaderView}, **partner_problems(413), **errors},
    )
    router.add_api_route(
        "/v1/results/readers", list_readers, methods=["GET"], responses={200: {"model": ReaderList}, **errors}
    )
    router.add_api_route(
        "/v1/results/readers/{name}",
        forget_reader,
        methods=["DELETE"],
        status_code=204,
        responses={**partner_problems(404), **errors},
    )
    return router


async def list_results(
    request: Request,
    caller: Caller,
    here: Here,
    after: Cursor = None,
    limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = PAGE_DEFAULT,
    wait: Annotated[float, Query(ge=0, le=WAIT_S_MAX, description="Wait so many seconds for an entry.")] = 0,
    reader: Annotated[
        str | None, Query(pattern=READER_PATTERN, description="Go on where this reader has acknowledged.")
    ] = None,
    workflow: Annotated[str | None, Query(max_length=100, description="Only of this workflow.")] = None,
    event: Annotated[Event | None, Query(description="Only these events.")] = None,
) -> Response:
    """The account's outcomes in the order in which they were settled. Nothing is ever inserted before what was read.

    With `wait` the answer comes as soon as there is an entry, or empty when the time is up. `after` goes before
    `reader`.
    """
    start = await _start(here, caller, after, reader)
    wanted = Wanted(workflow, event)
    page = await _look(here, caller.account, start, limit, wanted)
    if not page.entries and wait > 0:
        page = await _wait(request, here, caller.account, page.after, limit, wanted, wait)
    last = after if page.after == start and reader is None else encode_cursor({"n": page.after})
    following = last if page.more else None
    answer = {"items": [json.loads(entry["body"]) for entry in page.entries], "next": following, "after": last}
    url = current_url.get() or request.url
    link = {"Link": f'<{url.include_query_params(after=following)}>; rel="next"'} if following else None
    return JSONResponse(answer, headers=link)


async def acknowledge(wanted: Acknowledgement, caller: Caller, here: Here) -> JSONResponse:
    """Remember how far a reader has got; `GET /v1/results?reader=<name>` goes on there. A position only moves forward,
    unless `back` says otherwise, so a late or repeated acknowledgement changes nothing."""
    n, last = _number(wanted.after), await here.feed.last(caller.account)
    if n > last:
        raise Problem(422, ErrorCode.INVALID_INPUT, "this cursor is behind the end of the feed; send one that you got")
    position = await here.feed.acknowledge(caller.account, wanted.name, n, back=wanted.back, at=now())
    return JSONResponse(_view(position, last))


async def list_readers(caller: Caller, here: Here) -> JSONResponse:
    """The account's readers, and how far each has got."""
    last = await here.feed.last(caller.account)
    found = [_view(position, last) for position in await here.feed.readers(caller.account)]
    return JSONResponse({"items": found, "next": None})


async def forget_reader(name: ReaderName, caller: Caller, here: Here) -> Response:
    """Remove a reader's position; the feed itself stays as it is."""
    if not await here.feed.forget_reader(caller.account, name):
        raise Problem(404, ErrorCode.NOT_FOUND, f"there is no reader {name!r} in this account")
    return Response(status_code=204)


async def _start(here: FeedContext, caller: Partner, after: str | None, reader: str | None) -> int:
    if after is not None or reader is None:
        return _number(after)
    position = await here.feed.reader(caller.account, reader)
    return int(position["n"]) if position else 0


async def _look(here: FeedContext, account: str, after: int, limit: int, wanted: Wanted) -> Page:
    """A page; of a filtered feed several looks, each of which passes over many entries."""
    page = await here.feed.page(account, after, limit, wanted)
    for _ in range(LOOKS_MAX):
        if page.entries or not page.more:
            break
        page = await here.feed.page(account, page.after, limit, wanted)
    return page


async def _wait(
    request: Request, here: FeedContext, account: str, after: int, limit: int, wanted: Wanted, wait_s: float
) -> Page:
    """A page as soon as it has an entry; else, when the time is up or the service ends, an empty one.

    Raises: Problem 429 when too many wait.
    """
    end_s = monotonic_s() + wait_s
    try:
        with here.waiters.place(account):
            while True:
                news = here.waiters.news(account)  # before the look: what comes after it sets this
                page = await _look(here, account, after, limit, wanted)
                after, left_s = page.after, end_s - monotonic_s()
                if page.entries or left_s <= 0 or here.waiters.ending or await request.is_disconnected():
                    return page
                if not page.more:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(news.wait(), min(left_s, RECHECK_S))
    except TooManyWait:
        text = "too many readers wait at once; try again in a few seconds, or ask without wait"
        raise Problem(429, ErrorCode.TOO_MANY, text, headers={"Retry-After": RETRY_AFTER_S}) from None


def _number(cursor: str | None) -> int:
    decoded = None if cursor is None else decode_cursor(cursor)
    value = 0 if cursor is None else decoded.get("n") if isinstance(decoded, Mapping) else None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise Problem(400, ErrorCode.MALFORMED, "the cursor is none of ours; begin without one")
    return value


def _view(position: Mapping[str, Any], last: int) -> dict[str, Any]:
    return {
        "name": position["name"],
        "after": encode_cursor({"n": int(position["n"])}),
        "acknowledged_at": moment(position.get("at")),
        "behind": max(0, last - int(position["n"])),
    }
