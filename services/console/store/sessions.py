"""Log-ins: opened with a password, found by the token's hash, ended by log-out or by time.

Owns: collection sessions. Called by: api/session.py, api/access.py, pages. Survives a crash: sessions are documents.
The token itself is never stored.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.console.core.access import Role, Viewer
from services.console.store.context import Context
from services.console.store.passwords import verify_password
from shared.errors import ErrorCode, PermanentError
from shared.mongo.audit import audit
from shared.obs.clock import now

COOKIE = "regente_session"
"""The pages' cookie; it holds the token."""
TOKEN_PREFIX = "rgs_"
TOKEN_LENGTH_MAX = 100


@dataclass(frozen=True)
class Opened:
    """A new session; the only time that its token is seen."""

    token: str
    expires_at: datetime
    user: str
    role: Role


class TooManyLogins(PermanentError):
    """Too many failures; `wait_s` says when to try again."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(ErrorCode.TOO_MANY, f"too many failed log-ins; try again in {round(wait_s)} seconds")
        self.wait_s = wait_s


async def open_session(context: Context, user: str, password: str, address: str) -> Opened:
    """Log a user in.

    Raises: TooManyLogins; PermanentError UNAUTHENTICATED, the same for an unknown user and a wrong password.
    """
    wait_s = context.login_limit.wait_s(user, address, time.monotonic())
    if wait_s > 0:
        raise TooManyLogins(wait_s)
    document = await context.mongo["users"].find_one({"_id": user})
    async with context.hashing:
        right = await verify_password(document["password"] if document else None, password)
    if document is None or not right:
        context.login_limit.failed(user, address, time.monotonic())
        await audit(context.mongo, by=user, action="session.refused", target=user, details={"address": address})
        raise PermanentError(ErrorCode.UNAUTHENTICATED, "user or password is wrong")
    context.login_limit.succeeded(user, address)
    token = TOKEN_PREFIX + secrets.token_urlsafe(32)
    expires_at = now() + timedelta(hours=context.settings.session_hours)
    await context.mongo["sessions"].insert_one(
        {"_id": session_id(token), "schema_version": 1, "user": user, "opened_at": now(), "expires_at": expires_at}
    )
    await audit(context.mongo, by=user, action="session.open", target=user, details={"address": address})
    return Opened(token, expires_at, user, Role(document["role"]))


async def find_viewer(context: Context, token: str | None) -> Viewer | None:
    """Whose token this is, or none when it is unknown or over. Role and accounts are those of this moment."""
    if not token or len(token) > TOKEN_LENGTH_MAX:
        return None
    return await find_viewer_by_session(context, session_id(token))


async def find_viewer_by_session(context: Context, session: str) -> Viewer | None:
    """As find_viewer, by the session's id: open pages ask this again and again."""
    document = await context.mongo["sessions"].find_one({"_id": session})
    if document is None or document["expires_at"] <= now():
        return None
    user = await context.mongo["users"].find_one({"_id": document["user"]}, {"password": 0})
    if user is None:
        return None
    chosen = user.get("preferences") or {}
    return Viewer(
        name=user["_id"],
        role=Role(user["role"]),
        accounts=tuple(user["accounts"]),
        session=session,
        language=chosen.get("language"),
        dark=chosen.get("dark"),
    )


async def close_session(context: Context, viewer: Viewer) -> None:
    """Log out."""
    await context.mongo["sessions"].delete_one({"_id": viewer.session})
    await audit(context.mongo, by=viewer.name, action="session.close", target=viewer.name)


def session_id(token: str) -> str:
    """What stands in the database for a token."""
    return hashlib.sha256(token.encode()).hexdigest()
