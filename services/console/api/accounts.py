"""Accounts: GET and POST /api/v1/accounts, and how an account's work is run: PATCH .../settings."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fastapi import APIRouter, Response
from pydantic import Field

from services.console.api.access import Admin, ContextOf, Reader
from services.console.api.answers import page_of, problems
from services.console.api.models import PAGE_SIZE, Body, CursorQuery, Id, LimitQuery, Name, NamePath, Page, View
from services.console.api.settings_change import AccountSettingsChange
from services.console.core.settings import account_settings
from services.console.store import accounts as store

router = APIRouter(tags=["accounts"], responses=problems())


class NewAccount(Body):
    """A customer whose data and bill it is."""

    name: Name
    title: str = Field(default="", max_length=200, description="For people.")


class AccountView(View):
    """An account."""

    id: Id
    name: str = Field(description="Its name, which is its id.")
    title: str = Field(default="", description="For people.")
    created_at: datetime = Field(description="When it was made.")
    settings: dict[str, Any] = Field(description="How its work is run: time zone, limits, runs at once, weight.")


def _view(document: dict[str, Any]) -> AccountView:
    return AccountView.of(document, settings=account_settings(document.get("settings")))


@router.get("/accounts")
async def list_accounts(
    viewer: Reader, context: ContextOf, response: Response, limit: LimitQuery = PAGE_SIZE, cursor: CursorQuery = None
) -> Page[AccountView]:
    """The accounts that you see."""
    views = [_view(one) for one in await store.list_accounts(context, viewer)]
    return page_of(response, views, [view.id for view in views], limit, cursor)


@router.post("/accounts", status_code=201, responses=problems(409))
async def add_account(body: NewAccount, viewer: Admin, context: ContextOf) -> AccountView:
    """Make an account."""
    return _view(await store.add_account(context, viewer, body.name, body.title))


@router.patch("/accounts/{name}/settings")
async def patch_account_settings(
    name: NamePath, body: AccountSettingsChange, viewer: Admin, context: ContextOf
) -> AccountView:
    """Change how an account's work is run, from now on; what is left out stays."""
    change = body.model_dump(mode="json", exclude_unset=True)
    return _view(await store.patch_account_settings(context, viewer, name, change))
