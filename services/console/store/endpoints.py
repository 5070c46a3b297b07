"""Where outcomes are posted: the endpoints of an account, with their sealed secrets.

Owns, with delivery: collection endpoints. Called by: api/endpoints.py. A secret is shown when it was made here, and
never again. When it is changed the one before stays valid beside it, so that a partner can change over without losing
a delivery.
"""

from __future__ import annotations

import secrets as chance
from dataclasses import dataclass
from typing import Any

from services.console.core.access import Viewer
from services.console.core.webhook_secret import check_secret, encode_secret
from services.console.store.context import Context
from services.console.store.listing import Listed, found, list_page, seen_accounts
from shared.errors import ErrorCode, PermanentError
from shared.mongo.audit import audit
from shared.obs.clock import now

PURPOSE = "endpoint-secret"
SECRETS_KEPT_MAX = 2
SECRET_SIZE_BYTES = 32
ENDPOINTS_PER_ACCOUNT_MAX = 200


@dataclass(frozen=True)
class Put:
    """What became of a change."""

    document: dict[str, Any]
    secret: str | None
    """Only when it was made here."""


async def list_endpoints(
    context: Context, viewer: Viewer, account: str | None, limit: int, cursor: str | None
) -> Listed:
    """Endpoints without their secrets, newest first."""
    query = await seen_accounts(context, viewer, account)
    return await list_page(
        context, "endpoints", query, by="created_at", limit=limit, cursor=cursor, projection={"secrets": 0}
    )


async def get_endpoint(context: Context, viewer: Viewer, account: str, name: str) -> dict[str, Any]:
    """One endpoint without its secrets.

    Raises: PermanentError NOT_FOUND.
    """
    document = await context.mongo["endpoints"].find_one({"_id": f"{account}/{name}"}, {"secrets": 0})
    return found(document, viewer, f"endpoint {account}/{name}")


async def put_endpoint(
    context: Context, viewer: Viewer, account: str, name: str, url: str, secret: str | None, events: list[str] | None
) -> Put:
    """Make or change an endpoint; without a secret a new one gets one made here, and an old one keeps its own.

    Raises: PermanentError NOT_FOUND (account), INVALID_INPUT (secret), TOO_MANY.
    """
    if not viewer.sees(account) or await context.mongo["accounts"].find_one({"_id": account}) is None:
        raise PermanentError(ErrorCode.NOT_FOUND, f"account {account} does not exist")
    endpoint_id = f"{account}/{name}"
    old = await context.mongo["endpoints"].find_one({"_id": endpoint_id})
    if old is None:
        await _check_count(context, account)
    made = encode_secret(chance.token_bytes(SECRET_SIZE_BYTES)) if secret is None and old is None else None
    sealed = _sealed(context, endpoint_id, secret or made, old)
    document = await _write(context, account, name, url, sealed, events)
    details = {"url": url, "events": events, "new_secret": sealed is not None}
    await audit(
        context.mongo, by=viewer.name, action="endpoint.put", target=endpoint_id, account=account, details=details
    )
    return Put(document, made)


async def delete_endpoint(context: Context, viewer: Viewer, account: str, name: str) -> None:
    """Remove an endpoint; what waits to be delivered to it becomes dead.

    Raises: PermanentError NOT_FOUND.
    """
    document = await get_endpoint(context, viewer, account, name)
    await context.mongo["endpoints"].delete_one({"_id": document["_id"]})
    target = str(document["_id"])
    await audit(context.mongo, by=viewer.name, action="endpoint.delete", target=target, account=account)


async def _check_count(context: Context, account: str) -> None:
    if await context.mongo["endpoints"].count_documents({"account": account}) >= ENDPOINTS_PER_ACCOUNT_MAX:
        raise PermanentError(ErrorCode.TOO_MANY, f"an account has at most {ENDPOINTS_PER_ACCOUNT_MAX} endpoints")


def _sealed(context: Context, endpoint_id: str, secret: str | None, old: dict[str, Any] | None) -> bytes | None:
    """The secret to put before the others; none when there is no new one, or it is the newest already."""
    if secret is None:
        return None
    try:
        plain = check_secret(secret).encode()
    except ValueError as error:
        raise PermanentError(ErrorCode.INVALID_INPUT, str(error)) from error
    newest = (old or {}).get("secrets") or []
    aad = endpoint_id.encode()
    if newest and context.sealer.open(PURPOSE, bytes(newest[0]), aad) == plain:
        return None
    return context.sealer.seal(PURPOSE, plain, aad)


async def _write(
    context: Context, account: str, name: str, url: str, sealed: bytes | None, events: list[str] | None
) -> dict[str, Any]:
    """One upsert; a new secret goes before the old ones, of which the oldest are dropped."""
    change: dict[str, Any] = {
        "$set": {"url": url, "events": events, "enabled": True, "disabled_reason": None},
        "$setOnInsert": {"schema_version": 1, "account": account, "name": name, "created_at": now()},
    }
    if sealed is not None:
        change["$push"] = {"secrets": {"$each": [sealed], "$position": 0, "$slice": SECRETS_KEPT_MAX}}
    document = await context.mongo["endpoints"].find_one_and_update(
        {"_id": f"{account}/{name}"}, change, upsert=True, return_document=True, projection={"secrets": 0}
    )
    return dict(document or {})
