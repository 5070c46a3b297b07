"""Of which alerts people don't want to be told for a time: /api/v1/silences, and from an alert."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import Field

from services.console.api.access import ContextOf, Operator, Reader
from services.console.api.answers import page, problems
from services.console.api.models import (
    PAGE_SIZE,
    AccountQuery,
    Body,
    CursorQuery,
    Id,
    IdPath,
    LimitQuery,
    Moment,
    Page,
    View,
)
from services.console.store import silences as store
from shared.domain.silences import DAYS_MAX, MATCHERS_MAX
from shared.obs.clock import now
from shared.runtime.http import Problem

router = APIRouter(tags=["alerts"], responses=problems())

Seconds = Annotated[float, Field(gt=0, le=DAYS_MAX * 86_400, description="How long, seconds.")]
Reason = Annotated[str, Field(min_length=1, max_length=500, description="Why; for the others.")]


class MatcherBody(Body):
    """One thing that an alert must be like."""

    field: str = Field(max_length=20, description="rule, kind, severity, account, workflow, robot, service or target.")
    op: str = Field(default="eq", max_length=10, description="eq, ne, or glob: a pattern with * and ?.")
    value: str = Field(max_length=300, description="What it is compared with.")


class SilenceBody(Body):
    """A silence: all its matchers must match."""

    account: str | None = Field(default=None, max_length=63, description="Only alerts of it; null: of all accounts.")
    matchers: list[MatcherBody] = Field(min_length=1, max_length=MATCHERS_MAX, description="What is held back.")
    starts_at: Moment | None = Field(default=None, description="From when on; null: now.")
    ends_at: Moment | None = Field(default=None, description="Until when; or give for_s.")
    for_s: Seconds | None = Field(default=None, description="How long from its start, seconds; or give ends_at.")
    reason: Reason


class AlertSilence(Body):
    """How long an alert is silenced."""

    for_s: Seconds = 3600.0
    reason: Reason
    whole_rule: bool = Field(default=False, description="true: everything that its rule finds in its account.")


class MatcherView(View):
    """One thing that an alert must be like."""

    field: str = Field(description="What is compared.")
    op: str = Field(description="eq, ne or glob.")
    value: str = Field(description="With what.")


class SilenceView(View):
    """A silence."""

    id: Id
    account: str | None = Field(default=None, description="Only alerts of it; null: of all accounts.")
    matchers: list[MatcherView] = Field(description="What is held back.")
    starts_at: datetime = Field(description="From when on.")
    ends_at: datetime = Field(description="Until when; also when it was ended by hand.")
    by: str = Field(description="Who made it.")
    reason: str = Field(description="Why.")


@router.get("/silences")
async def list_silences(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    ended: Annotated[bool, Query(description="Those that are over, instead of those that are not.")] = False,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[SilenceView]:
    """Silences of your accounts and for all accounts, those that end last first."""
    listed = await store.list_silences(context, viewer, account=account, ended=ended, limit=limit, cursor=cursor)
    return page(response, [SilenceView.of(one) for one in listed.items], listed.next)


@router.post("/silences", status_code=201)
async def make_silence(body: SilenceBody, viewer: Operator, context: ContextOf) -> SilenceView:
    """Hold messages back for a time; alerts stay visible, and what is still wrong at its end is told."""
    if (body.ends_at is None) == (body.for_s is None):
        raise Problem(422, "give either ends_at or for_s")
    starts_at = body.starts_at or now()
    ends_at = body.ends_at or starts_at + timedelta(seconds=body.for_s or 0)
    made = await store.make_silence(
        context, viewer, account=body.account, matchers=[one.model_dump() for one in body.matchers],
        starts_at=starts_at, ends_at=ends_at, reason=body.reason,
    )  # fmt: skip
    return SilenceView.of(made)


@router.get("/silences/{id}")
async def get_silence(id: IdPath, viewer: Reader, context: ContextOf) -> SilenceView:
    """One silence."""
    return SilenceView.of(await store.get_silence(context, viewer, id))


@router.post("/silences/{id}/end", responses=problems(409))
async def end_silence(id: IdPath, viewer: Operator, context: ContextOf) -> SilenceView:
    """End a silence now."""
    return SilenceView.of(await store.end_silence(context, viewer, id))


@router.post("/alerts/{id}/silence", status_code=201)
async def silence_alert(id: IdPath, body: AlertSilence, viewer: Operator, context: ContextOf) -> SilenceView:
    """Silence an alert, also when it comes again within that time."""
    made = await store.silence_alert(
        context, viewer, id, for_s=body.for_s, reason=body.reason, whole_rule=body.whole_rule
    )
    return SilenceView.of(made)
