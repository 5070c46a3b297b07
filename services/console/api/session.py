"""Log-in and log-out: POST, GET and DELETE /api/v1/session."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request, Response
from pydantic import Field

from services.console.api.access import ContextOf, Reader
from services.console.api.answers import problems
from services.console.api.models import Body, View
from services.console.core.access import Role
from services.console.store import sessions
from services.console.store.passwords import PASSWORD_LENGTH_MAX
from shared.runtime.http import Problem

router = APIRouter(tags=["session"], responses=problems())


class LogIn(Body):
    """Who wants in."""

    user: str = Field(min_length=1, max_length=63, description="Name of the user.")
    password: str = Field(min_length=1, max_length=PASSWORD_LENGTH_MAX, description="Its password.")


class SessionView(View):
    """An open session; the token is shown this once."""

    token: str = Field(description="Send it as `Authorization: Bearer <token>`.")
    expires_at: datetime = Field(description="When it is over.")
    user: str = Field(description="Name of the user.")
    role: Role = Field(description="What the user may do.")


class Me(View):
    """Who is logged in."""

    user: str = Field(description="Name of the user.")
    role: Role = Field(description="What the user may do.")
    accounts: list[str] = Field(description="Its accounts; * is all.")


@router.post("/session", status_code=201)
async def log_in(body: LogIn, request: Request, context: ContextOf) -> SessionView:
    """Log in. After five failures for a user from an address there is a pause of some minutes."""
    address = request.client.host if request.client else "unknown"
    try:
        opened = await sessions.open_session(context, body.user, body.password, address)
    except sessions.TooManyLogins as error:
        raise Problem(429, error.message, headers={"Retry-After": str(round(error.wait_s) + 1)}) from error
    return SessionView(token=opened.token, expires_at=opened.expires_at, user=opened.user, role=opened.role)


@router.get("/session")
async def who_am_i(viewer: Reader) -> Me:
    """Who is logged in."""
    return Me(user=viewer.name, role=viewer.role, accounts=list(viewer.accounts))


@router.delete("/session", status_code=204)
async def log_out(viewer: Reader, context: ContextOf) -> Response:
    """Log out; the token is worthless afterwards."""
    await sessions.close_session(context, viewer)
    return Response(status_code=204)
