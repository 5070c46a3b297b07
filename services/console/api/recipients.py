"""Who is told of alerts: /api/v1/recipients. Account * is the installation, for users of all accounts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from pydantic import Field

from services.console.api.access import Admin, ContextOf, Operator, Reader
from services.console.api.answers import action, page, problems
from services.console.api.models import (
    PAGE_SIZE,
    Action,
    Body,
    CursorQuery,
    Id,
    LimitQuery,
    NamePath,
    Page,
    View,
)
from services.console.store import recipients as store

router = APIRouter(tags=["alerts"], responses=problems())

RecipientAccountPath = Annotated[
    str, Path(pattern=r"^(\*|[a-z0-9][a-z0-9_-]{0,62})$", description="The account, or * for the installation.")
]
RecipientAccountQuery = Annotated[
    str | None, Query(max_length=63, description="Only of this account; *: only the installation's.")
]


class ChannelBody(Body):
    """One way to tell somebody."""

    kind: str = Field(max_length=20, description="mail, webhook, slack or sms.")
    address: str = Field(
        default="", max_length=2000, description="Mail address, number or URL; empty for slack: as stored before."
    )
    secret: str | None = Field(
        default=None, max_length=200, description="webhook: `whsec_` text; none: as before, or one is made and shown."
    )
    min_severity: str = Field(default="info", max_length=20, description="Nothing less is told.")
    rules: list[str] = Field(default_factory=list, max_length=100, description="Rules or patterns; empty: all.")
    targets: list[str] = Field(default_factory=list, max_length=100, description="Patterns of targets; empty: all.")


class RecipientBody(Body):
    """Somebody who is told of alerts; docs/notifications.md says what each field does."""

    title: str = Field(default="", max_length=200, description="For people.")
    language: str = Field(default="en", max_length=10, description="en or pt_BR.")
    channels: list[ChannelBody] = Field(min_length=1, max_length=10, description="By which ways.")
    hours: dict[str, Any] | None = Field(
        default=None, description="{timezone, windows: [{days, start, end}]}; outside only what is critical is told."
    )
    repeat_s: float | None = Field(default=None, description="Told again after this time, in place of the rules'.")
    group_wait_s: float = Field(default=10.0, description="Gather so long before the first message, seconds.")
    group_interval_s: float = Field(default=300.0, description="Between messages about the same rule, seconds.")
    rate: dict[str, float] = Field(
        default_factory=lambda: {"messages": 6, "per_s": 900.0}, description="{messages, per_s}: at most so many."
    )
    default: bool = Field(default=True, description="Told by rules that name nobody.")
    enabled: bool = Field(default=True, description="false: is told nothing.")


class ChannelView(View):
    """One way to tell somebody, without its secret."""

    id: str = Field(description="From kind and address.")
    kind: str = Field(description="mail, webhook, slack or sms.")
    address: str = Field(description="Of slack only the host.")
    min_severity: str = Field(description="Nothing less is told.")
    rules: list[str] = Field(default_factory=list, description="Rules or patterns; empty: all.")
    targets: list[str] = Field(default_factory=list, description="Patterns of targets; empty: all.")


class RecipientView(View):
    """Somebody who is told of alerts."""

    id: Id
    account: str | None = Field(default=None, description="Whose; null: the installation's.")
    name: str = Field(description="What rules call it.")
    title: str = Field(default="", description="For people.")
    language: str = Field(description="en or pt_BR.")
    channels: list[ChannelView] = Field(description="By which ways.")
    hours: dict[str, Any] | None = Field(default=None, description="When; null: always.")
    repeat_s: float | None = Field(default=None, description="In place of the rules'.")
    group_wait_s: float = Field(description="Before the first message.")
    group_interval_s: float = Field(description="Between messages about the same rule.")
    rate: dict[str, float] = Field(description="At most so many messages.")
    default: bool = Field(description="Told by rules that name nobody.")
    enabled: bool = Field(description="Whether it is told anything.")
    updated_at: datetime = Field(description="When it was changed.")
    updated_by: str = Field(description="By whom.")


class RecipientPut(RecipientView):
    """A recipient after a change."""

    secrets: dict[str, str] = Field(description="Of webhooks, by channel: only those made here, this once.")


class Trial(Body):
    """What is tried."""

    channel: str | None = Field(default=None, max_length=40, description="Id of one channel; none: all.")


@router.get("/recipients")
async def list_recipients(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    account: RecipientAccountQuery = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[RecipientView]:
    """Recipients of your accounts, the last changed first."""
    listed = await store.list_recipients(context, viewer, account, limit, cursor)
    return page(response, [RecipientView.of(one) for one in listed.items], listed.next)


@router.get("/recipients/{account}/{name}")
async def get_recipient(
    account: RecipientAccountPath, name: NamePath, viewer: Reader, context: ContextOf
) -> RecipientView:
    """One recipient, without secrets."""
    return RecipientView.of(await store.get_recipient(context, viewer, account, name))


@router.put("/recipients/{account}/{name}", responses=problems(409))
async def put_recipient(
    account: RecipientAccountPath, name: NamePath, body: RecipientBody, viewer: Admin, context: ContextOf
) -> RecipientPut:
    """Make a recipient, or put it in place of what was there; channels that stay keep their secrets."""
    put = await store.put_recipient(context, viewer, account, name, body.model_dump())
    return RecipientPut.of(put.document, secrets=put.secrets)


@router.post("/recipients/{account}/{name}/test", responses=problems(409))
async def try_recipient(
    account: RecipientAccountPath, name: NamePath, viewer: Operator, context: ContextOf, response: Response,
    body: Trial | None = None,
) -> Action:  # fmt: skip
    """Send a test message the whole way: it is gathered, sent, tried again and noted as others are."""
    asked = await store.send_test(context, viewer, account, name, (body or Trial()).channel)
    return action(response, asked)


@router.delete("/recipients/{account}/{name}", status_code=204)
async def delete_recipient(
    account: RecipientAccountPath, name: NamePath, viewer: Admin, context: ContextOf
) -> Response:
    """Remove a recipient; rules that name it tell the default ones from now on."""
    await store.delete_recipient(context, viewer, account, name)
    return Response(status_code=204)
