"""Who is asking: the session behind a request, and the role it needs.

Called by: every module of api. A bearer token may do what its user may; the pages' cookie may only read, so that no
other site can make a browser change something. Change also: core/access.py, README.md (roles).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from services.console.core.access import Role, Viewer
from services.console.store.context import Context
from services.console.store.sessions import COOKIE, find_viewer
from shared.runtime.http import Problem

READING = frozenset({"GET", "HEAD"})

bearer = HTTPBearer(auto_error=False, description="Token of POST /api/v1/session.")


def context_of(request: Request) -> Context:
    """The console's connections."""
    context: Context = request.app.state.console
    return context


ContextOf = Annotated[Context, Depends(context_of)]


def needs(role: Role) -> Callable[..., Awaitable[Viewer]]:
    """A dependency: the logged-in user, who has `role` or a stronger one; else 401 or 403."""

    async def viewer(
        request: Request,
        context: ContextOf,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    ) -> Viewer:
        token = credentials.credentials if credentials else None
        if token is None and request.method in READING:
            token = request.cookies.get(COOKIE)
        found = await find_viewer(context, token)
        if found is None:
            raise Problem(
                401, "log in with POST /api/v1/session and send its token", headers={"WWW-Authenticate": "Bearer"}
            )
        if not found.may(role):
            raise Problem(403, f"this needs the role {role.value}; yours is {found.role.value}")
        return found

    return viewer


Reader = Annotated[Viewer, Depends(needs(Role.VIEWER))]
Operator = Annotated[Viewer, Depends(needs(Role.OPERATOR))]
Admin = Annotated[Viewer, Depends(needs(Role.ADMIN))]
