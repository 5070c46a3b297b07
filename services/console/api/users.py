"""Users: GET, POST, PATCH and DELETE /api/v1/users."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field, SecretStr

from services.console.api.access import Admin, ContextOf
from services.console.api.answers import page_of, problems
from services.console.api.models import PAGE_SIZE, Body, CursorQuery, Id, IdPath, LimitQuery, Name, Page, View
from services.console.core.access import Role
from services.console.store import users as store
from services.console.store.passwords import PASSWORD_LENGTH_MAX, PASSWORD_LENGTH_MIN

router = APIRouter(tags=["users"], responses=problems())

Password = Annotated[
    SecretStr,
    Field(min_length=PASSWORD_LENGTH_MIN, max_length=PASSWORD_LENGTH_MAX, description="Kept as an argon2id hash."),
]
AccountList = Annotated[
    list[Annotated[str, Field(pattern=r"^(\*|[a-z0-9][a-z0-9_-]{0,62})$")]],
    Field(min_length=1, max_length=100, description="Names of accounts; * is all."),
]


class NewUser(Body):
    """A person."""

    user: Name
    password: Password
    role: Role = Field(description="What the user may do.")
    accounts: AccountList


class ChangedUser(Body):
    """What is to be changed; the rest stays."""

    password: Password | None = Field(default=None, description="A new one; ends the user's sessions.")
    role: Role | None = Field(default=None, description="A new one.")
    accounts: AccountList | None = Field(default=None, description="New ones.")


class UserView(View):
    """A user, without the password."""

    id: Id
    role: Role = Field(description="What the user may do.")
    accounts: list[str] = Field(description="Its accounts; * is all.")
    created_at: datetime | None = Field(default=None, description="When it was made.")


@router.get("/users")
async def list_users(
    viewer: Admin, context: ContextOf, response: Response, limit: LimitQuery = PAGE_SIZE, cursor: CursorQuery = None
) -> Page[UserView]:
    """The users of your accounts."""
    views = [UserView.of(one) for one in await store.list_users(context, viewer)]
    return page_of(response, views, [view.id for view in views], limit, cursor)


@router.post("/users", status_code=201, responses=problems(409))
async def add_user(body: NewUser, viewer: Admin, context: ContextOf) -> UserView:
    """Make a user; nobody can give a role or an account that it doesn't have."""
    password = body.password.get_secret_value()
    await store.add_user(context, viewer, body.user, password, body.role, body.accounts)
    return UserView.of({"_id": body.user, "role": body.role, "accounts": body.accounts})


@router.patch("/users/{user}", responses=problems(409))
async def change_user(user: IdPath, body: ChangedUser, viewer: Admin, context: ContextOf) -> UserView:
    """Change a user's password, role or accounts."""
    password = body.password.get_secret_value() if body.password else None
    changed = await store.change_user(context, viewer, user, password=password, role=body.role, accounts=body.accounts)
    return UserView.of(changed)


@router.delete("/users/{user}", status_code=204, responses=problems(409))
async def remove_user(user: IdPath, viewer: Admin, context: ContextOf) -> Response:
    """Remove a user and end its sessions."""
    await store.remove_user(context, viewer, user)
    return Response(status_code=204)
