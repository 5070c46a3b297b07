"""Users: made, changed and removed by admins, who can't give away more than they have.

Owns: collection users. Called by: api/users.py, bootstrap.py, pages (a user's own preferences).
"""

from __future__ import annotations

from typing import Any

from services.console.core.access import Role, Viewer
from services.console.store.context import Context
from services.console.store.passwords import hash_password
from shared.errors import ErrorCode, PermanentError
from shared.mongo.audit import audit
from shared.mongo.guarded import insert_once
from shared.obs.clock import now

USERS_MAX = 1000


def user_document(name: str, password_hash: str, role: Role, accounts: list[str]) -> dict[str, Any]:
    """A new user."""
    at = now()
    return {
        "_id": name,
        "schema_version": 1,
        "password": password_hash,
        "role": role.value,
        "accounts": accounts,
        "preferences": {},
        "created_at": at,
        "updated_at": at,
    }


async def list_users(context: Context, viewer: Viewer) -> list[dict[str, Any]]:
    """The users who share an account with the viewer."""
    query = {} if viewer.everywhere else {"accounts": {"$in": list(viewer.accounts)}}
    cursor = context.mongo["users"].find(query, {"password": 0}).sort("_id", 1).limit(USERS_MAX)
    return [dict(one) async for one in cursor]


async def add_user(context: Context, viewer: Viewer, name: str, password: str, role: Role, accounts: list[str]) -> None:
    """Make a user.

    Raises: PermanentError FORBIDDEN, CONFLICT (the name is taken).
    """
    _check_grant(viewer, role, accounts)
    await check_accounts(context, accounts)
    async with context.hashing:
        hashed = await hash_password(password)
    if not await insert_once(context.mongo["users"], user_document(name, hashed, role, accounts)):
        raise PermanentError(ErrorCode.CONFLICT, f"user {name} exists")
    details = {"role": role.value, "accounts": accounts}
    await audit(context.mongo, by=viewer.name, action="user.add", target=name, details=details)


async def change_user(
    context: Context, viewer: Viewer, name: str, *, password: str | None, role: Role | None, accounts: list[str] | None
) -> dict[str, Any]:
    """Change what is given; a new password, role or account list ends the user's sessions.

    Raises: PermanentError NOT_FOUND, FORBIDDEN, CONFLICT (it is the viewer's own role).
    """
    document = await _find(context, viewer, name)
    if name == viewer.name and (role is not None or accounts is not None):
        raise PermanentError(ErrorCode.CONFLICT, "nobody changes its own role or accounts")
    new_role, new_accounts = role or Role(document["role"]), accounts or list(document["accounts"])
    _check_grant(viewer, new_role, new_accounts)
    await check_accounts(context, new_accounts)
    change: dict[str, Any] = {"role": new_role.value, "accounts": new_accounts, "updated_at": now()}
    if password is not None:
        async with context.hashing:
            change["password"] = await hash_password(password)
    await context.mongo["users"].update_one({"_id": name}, {"$set": change})
    await context.mongo["sessions"].delete_many({"user": name, "_id": {"$ne": viewer.session}})
    details = {"role": new_role.value, "accounts": new_accounts, "password": password is not None}
    await audit(context.mongo, by=viewer.name, action="user.change", target=name, details=details)
    return {**document, **change}


async def remove_user(context: Context, viewer: Viewer, name: str) -> None:
    """Remove a user and end its sessions.

    Raises: PermanentError NOT_FOUND, FORBIDDEN, CONFLICT (it is the viewer).
    """
    if name == viewer.name:
        raise PermanentError(ErrorCode.CONFLICT, "nobody removes itself")
    await _find(context, viewer, name)
    await context.mongo["users"].delete_one({"_id": name})
    await context.mongo["sessions"].delete_many({"user": name})
    await audit(context.mongo, by=viewer.name, action="user.remove", target=name)


async def set_preferences(context: Context, viewer: Viewer, preferences: dict[str, Any]) -> None:
    """Remember what a user chose for its own pages: language, dark."""
    change = {f"preferences.{name}": value for name, value in preferences.items()}
    await context.mongo["users"].update_one({"_id": viewer.name}, {"$set": change})


async def check_accounts(context: Context, accounts: list[str]) -> None:
    """Raises: PermanentError NOT_FOUND when one of the accounts does not exist."""
    wanted = {account for account in accounts if account != "*"}
    cursor = context.mongo["accounts"].find({"_id": {"$in": sorted(wanted)}}, {"_id": 1})
    missing = wanted - {str(one["_id"]) async for one in cursor}
    if missing:
        raise PermanentError(ErrorCode.NOT_FOUND, f"account {', '.join(sorted(missing))} does not exist")


async def _find(context: Context, viewer: Viewer, name: str) -> dict[str, Any]:
    document = await context.mongo["users"].find_one({"_id": name}, {"password": 0})
    if document is None or not (viewer.everywhere or set(document["accounts"]) & set(viewer.accounts)):
        raise PermanentError(ErrorCode.NOT_FOUND, f"user {name} does not exist")
    _check_grant(viewer, Role(document["role"]), list(document["accounts"]))
    return dict(document)


def _check_grant(viewer: Viewer, role: Role, accounts: list[str]) -> None:
    if not viewer.grants(role, tuple(accounts)):
        raise PermanentError(ErrorCode.FORBIDDEN, "nobody gives a role or an account that it doesn't have itself")
