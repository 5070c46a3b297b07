"""Rules: what makes an alert. /api/v1/rules; a rule of an account is named `<account>/<name>`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Response
from pydantic import Field

from services.console.api.access import Admin, ContextOf, Reader
from services.console.api.answers import page, problems
from services.console.api.models import PAGE_SIZE, AccountQuery, Body, CursorQuery, Id, LimitQuery, NamePath, Page, View
from services.console.store import alerts as store

router = APIRouter(tags=["alerts"], responses=problems())


class RuleBody(Body):
    """A rule as docs/alerts.md describes it; every field is checked by its kind."""

    kind: str = Field(max_length=63, description="What it looks at, such as robot_lost.")
    title: str = Field(max_length=200, description="For people.")
    severity: str = Field(max_length=20, description="info, warning, error or critical.")
    where: dict[str, Any] | None = Field(default=None, description="Patterns: account, workflow, worker, endpoint ..")
    params: dict[str, Any] = Field(default_factory=dict, description="From when on it is wrong; by kind.")
    for_s: float = Field(default=0.0, description="So long it must be so before people are told, seconds.")
    recipients: list[str] = Field(default_factory=list, max_length=50, description="Names; empty: the default ones.")
    repeat_s: float = Field(default=14_400.0, description="Told again after this time, seconds.")
    enabled: bool = Field(default=True, description="false: it makes no alerts.")


class RuleView(View):
    """A rule."""

    id: Id
    kind: str = Field(description="What it looks at.")
    title: str = Field(description="For people.")
    account: str | None = Field(default=None, description="Whose; null: of all accounts.")
    where: dict[str, Any] | None = Field(default=None, description="What it is about.")
    params: dict[str, Any] = Field(default_factory=dict, description="By kind.")
    for_s: float = Field(description="Seconds before people are told.")
    severity: str = Field(description="How bad it is.")
    recipients: list[str] = Field(default_factory=list, description="Who is told.")
    repeat_s: float = Field(description="Seconds before people are told again.")
    enabled: bool = Field(description="Whether it makes alerts.")
    rev: int = Field(description="Raised by each change.")
    updated_at: datetime = Field(description="When it was changed.")
    updated_by: str = Field(description="By whom.")


@router.get("/rules")
async def list_rules(
    viewer: Reader,
    context: ContextOf,
    response: Response,
    account: AccountQuery = None,
    limit: LimitQuery = PAGE_SIZE,
    cursor: CursorQuery = None,
) -> Page[RuleView]:
    """The installation's rules and those of your accounts, the last changed first."""
    listed = await store.list_rules(context, viewer, account, limit, cursor)
    return page(response, [RuleView.of(one) for one in listed.items], listed.next)


@router.get("/rules/{name}")
async def get_rule(name: NamePath, viewer: Reader, context: ContextOf) -> RuleView:
    """One of the installation's rules."""
    return RuleView.of(await store.get_rule(context, viewer, name))


@router.get("/rules/{account}/{name}")
async def get_account_rule(account: NamePath, name: NamePath, viewer: Reader, context: ContextOf) -> RuleView:
    """One of an account's rules."""
    return RuleView.of(await store.get_rule(context, viewer, f"{account}/{name}"))


@router.put("/rules/{name}")
async def put_rule(name: NamePath, body: RuleBody, viewer: Admin, context: ContextOf) -> RuleView:
    """Make or change one of the installation's rules."""
    return RuleView.of(await store.put_rule(context, viewer, name, body.model_dump()))


@router.put("/rules/{account}/{name}")
async def put_account_rule(
    account: NamePath, name: NamePath, body: RuleBody, viewer: Admin, context: ContextOf
) -> RuleView:
    """Make or change a rule of an account; it takes the place of the installation's of that name."""
    return RuleView.of(await store.put_rule(context, viewer, f"{account}/{name}", body.model_dump()))


@router.delete("/rules/{name}", status_code=204, responses=problems(409))
async def delete_rule(name: NamePath, viewer: Admin, context: ContextOf) -> None:
    """Remove one of the installation's rules; those that every installation has can only be disabled."""
    await store.delete_rule(context, viewer, name)


@router.delete("/rules/{account}/{name}", status_code=204)
async def delete_account_rule(account: NamePath, name: NamePath, viewer: Admin, context: ContextOf) -> None:
    """Remove a rule of an account: the installation's of that name counts again."""
    await store.delete_rule(context, viewer, f"{account}/{name}")
