"""Accounts and their partners.

Owns: collections accounts, partners. Called by: api/accounts.py, keys.py (the partners' keys), bootstrap.py.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from services.console.core.access import Viewer
from services.console.core.settings import change_account_settings
from services.console.store.context import Context
from services.console.store.listing import account_names
from services.console.store.workflows import CHANGES_TRIED_MAX, not_allowed
from shared.errors import ErrorCode, PermanentError, TemporaryError
from shared.mongo import Mongo
from shared.mongo.audit import audit
from shared.mongo.guarded import guarded_update, insert_once
from shared.obs.clock import now
from shared.obs.ids import new_id


async def list_accounts(context: Context, viewer: Viewer) -> list[dict[str, Any]]:
    """The accounts that the viewer sees, by name."""
    names = await account_names(context) if viewer.everywhere else list(viewer.accounts)
    cursor = context.mongo["accounts"].find({"_id": {"$in": names}}).sort("_id", 1)
    return [dict(one) async for one in cursor]


async def add_account(context: Context, viewer: Viewer, name: str, title: str) -> dict[str, Any]:
    """Make an account; only for admins of all accounts.

    Raises: PermanentError FORBIDDEN, CONFLICT (the name is taken).
    """
    if not viewer.everywhere:
        raise PermanentError(ErrorCode.FORBIDDEN, "only an admin of all accounts makes a new one")
    if not await make_account(context.mongo, name, title):
        raise PermanentError(ErrorCode.CONFLICT, f"account {name} exists")
    await audit(context.mongo, by=viewer.name, action="account.add", target=name, account=name)
    document = await context.mongo["accounts"].find_one({"_id": name})
    return dict(document or {})


async def patch_account_settings(context: Context, viewer: Viewer, name: str, change: dict[str, Any]) -> dict[str, Any]:
    """Change some settings of an account; the ones that are not named stay.

    Raises: PermanentError NOT_FOUND, INVALID_INPUT (with the field), TemporaryError when others change them all the
    time.
    """
    for _ in range(CHANGES_TRIED_MAX):
        document = await context.mongo["accounts"].find_one({"_id": name})
        if document is None or not viewer.sees(name):
            raise PermanentError(ErrorCode.NOT_FOUND, f"account {name} does not exist")
        before = document.get("settings")
        try:
            settings = change_account_settings(before, change)
        except ValidationError as error:
            raise not_allowed(error) from error
        update = {"$set": {"settings": settings}}
        done = await guarded_update(context.mongo["accounts"], name, {"settings": before}, update, op=new_id("op_"))
        if done.applied:
            details = {"from": before, "to": settings}
            await audit(
                context.mongo, by=viewer.name, action="account.settings", target=name, account=name, details=details
            )
            return dict(done.document or {})
    raise TemporaryError(f"the settings of {name} are being changed by others; try again")


async def make_account(mongo: Mongo, name: str, title: str) -> bool:
    """Insert an account unless it exists; whether it was inserted."""
    document = {"_id": name, "schema_version": 1, "name": name, "title": title, "created_at": now()}
    return bool(await insert_once(mongo["accounts"], document))


async def make_partner(mongo: Mongo, account: str, name: str) -> bool:
    """Insert a partner unless it exists; whether it was inserted."""
    document = {"_id": f"{account}/{name}", "schema_version": 1, "account": account, "name": name, "created_at": now()}
    return bool(await insert_once(mongo["partners"], document))
