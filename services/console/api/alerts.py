"""Alerts: what is wrong, who looks at it, who was told. /api/v1/alerts, and /api/v1/watch for who watches."""

from __future__ import annotations

from collections.abc import Mapping
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
from services.console.store.silences import with_silence
from services.console.store.watch import watched
from shared.domain.alert_rules import AlertSeverity
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
    count: int = Field(default=0, description="Of events: how many.")
    held: str | None = Field(
        default=None, description="Why nobody is told at the moment: silence, nobody, or what it follows from."
    )
    silenced_until: datetime | None = Field(default=None, description="Until when people hold it back.")


class Told(View):
    """A message that tells of an alert."""

    id: Id
    recipient: str = Field(description="Who.")
    kind: str = Field(description="mail, webhook, slack or sms.")
    what: list[str] = Field(description="What it says of this alert: firing, more, repeat, resolved.")
    state: str = Field(description="gathering, pending, retrying, sent or dead.")
    opened_at: datetime = Field(description="When it was begun.")
    sent_at: datetime | None = Field(default=None, description="When it was taken.")
    due_at: datetime | None = Field(default=None, description="When it is tried again.")
    failed: int = Field(default=0, description="Attempts that failed.")
    maybe_repeat: bool = Field(default=False, description="It may have arrived twice.")
    reason: str | None = Field(default=None, description="Why it did not arrive.")


class Watched(View):
    """What fires, for who watches."""

    silent_s: float | None = Field(
        description="For so long nobody has looked at what is wrong: the service alerts is gone; null: it is there."
    )
    alerts: list[AlertView] = Field(description="Newest first, 500 at most.")
    more: bool = Field(description="Whether there are more.")


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
    severity: Annotated[AlertSeverity | None, Query(description="Only so bad.")] = None,
    target: TextQuery = None,
    acked: Annotated[bool | None, Query(description="Only what somebody looks at, or nobody.")] = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[AlertView]:
    """Alerts of your accounts, the newest first."""
    listed = await store.list_alerts(
        context, viewer, account=account, state=state.value if state else None, rule=rule,
        severity=severity.value if severity else None, target=target, acked=acked, limit=limit, cursor=cursor,
    )  # fmt: skip
    return page(response, [_view(one) for one in await with_silence(context, listed.items)], listed.next)


@router.get("/watch")
async def watch(
    viewer: Reader,
    context: ContextOf,
    account: AccountQuery = None,
    severity: Annotated[AlertSeverity, Query(description="The least severe.")] = AlertSeverity.INFO,
) -> Watched:
    """What fires now, and whether the service alerts, which finds it, is there at all."""
    found = await watched(context, viewer, account, severity)
    alerts = [_view(one) for one in found["alerts"]]
    return Watched(silent_s=found["silent_s"], alerts=alerts, more=found["more"])


@router.get("/alerts/{id}")
async def get_alert(id: IdPath, viewer: Reader, context: ContextOf) -> AlertView:
    """One alert."""
    return _view((await with_silence(context, [await store.get_alert(context, viewer, id)]))[0])


@router.get("/alerts/{id}/told")
async def list_told(id: IdPath, viewer: Reader, context: ContextOf, response: Response) -> Page[Told]:
    """The newest messages that tell of an alert, and what became of them."""
    return page(response, [Told.of(one) for one in await store.told(context, viewer, id)], None)


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


def _view(alert: Mapping[str, Any]) -> AlertView:
    firing = alert["state"] == AlertState.FIRING
    return AlertView.of(alert, held=(alert.get("notify") or {}).get("held") if firing else None)
