"""Accounts, their partners, and the partners' keys.

Owns: collections accounts, partners, keys. Called by: api/accounts.py, api/keys.py, bootstrap.py. A key is shown
once, when it is made; what is stored is its hash.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from services.console.core.access import Viewer
from services.console.core.settings import change_account_settings
from services.console.store.context import Context
from services.console.store.listing import Listed, account_names, found, list_page, seen_accounts
from services.console.store.workflows import CHANGES_TRIED_MAX, not_allowed
from shared.errors import ErrorCode, PermanentError, TemporaryError
from shared.mongo import Mongo
from shared.mongo.audit import audit
from shared.mongo.guarded import guarded_update, insert_once
from shared.obs.clock import now
from shared.obs.ids import new_id
from shared.runtime.auth import new_key

KEYS_OF_PARTNER_MAX = 50


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


async def list_keys(context: Context, viewer: Viewer, account: str | None, limit: int, cursor: str | None) -> Listed:
    """Keys, newest first, without their hashes."""
    query = await seen_accounts(context, viewer, account)
    return await list_page(context, "keys", query, by="created_at", limit=limit, cursor=cursor, projection={"hash": 0})


async def add_key(
    context: Context, viewer: Viewer, account: str, partner: str, name: str, scopes: list[str]
) -> dict[str, str]:
    """Make a key, and its partner when it is new. Returns {id, key}.

    Raises: PermanentError NOT_FOUND (account), TOO_MANY.
    """
    found(await context.mongo["accounts"].find_one({"_id": account}, {"account": "$_id"}), viewer, f"account {account}")
    if await context.mongo["keys"].count_documents({"account": account, "partner": partner}) >= KEYS_OF_PARTNER_MAX:
        raise PermanentError(ErrorCode.TOO_MANY, f"a partner has at most {KEYS_OF_PARTNER_MAX} keys")
    await make_partner(context.mongo, account, partner)
    made = await make_key(context.mongo, account, partner, name, scopes)
    details = {"partner": partner, "name": name, "scopes": scopes}
    await audit(context.mongo, by=viewer.name, action="key.add", target=made["id"], account=account, details=details)
    return made


async def make_key(mongo: Mongo, account: str, partner: str, name: str, scopes: list[str]) -> dict[str, str]:
    """Insert a new key. Returns {id, key}."""
    key_id, plain, hashed = new_key()
    document = {
        "_id": key_id,
        "schema_version": 1,
        "hash": hashed,
        "account": account,
        "partner": partner,
        "name": name,
        "scopes": scopes,
        "created_at": now(),
        "revoked_at": None,
        "expires_at": None,
    }
    await mongo["keys"].insert_one(document)
    return {"id": key_id, "key": plain}


async def revoke_key(context: Context, viewer: Viewer, key_id: str) -> None:
    """Make a key worthless; it stays in the list. Revoking it again changes nothing.

    Raises: PermanentError NOT_FOUND.
    """
    document = found(await context.mongo["keys"].find_one({"_id": key_id}), viewer, f"key {key_id}")
    await context.mongo["keys"].update_one({"_id": key_id, "revoked_at": None}, {"$set": {"revoked_at": now()}})
    await audit(context.mongo, by=viewer.name, action="key.revoke", target=key_id, account=document["account"])
