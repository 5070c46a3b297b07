"""Partners' keys: making, listing, rotating and revoking them.

Owns: the collection keys. Called by: api/keys.py, bootstrap.py. A key and its signing secret are shown once, when they
are made; stored are the key's hash and the sealed secret. Survives a crash: a rotation is one transaction, so there is
never a key that ends without its successor. Change also: shared/runtime/auth.py, which checks them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from services.console.core.access import Viewer
from services.console.store.accounts import make_partner
from services.console.store.context import Context
from services.console.store.listing import Listed, found, list_page, seen_accounts
from shared.errors import ErrorCode, PermanentError
from shared.mongo import Mongo, Session
from shared.mongo.audit import audit
from shared.mongo.guarded import in_transaction
from shared.obs.clock import now
from shared.runtime.auth import new_key, signing_secret
from shared.seal import Sealer

KEYS_OF_PARTNER_MAX = 50
"""That are good; revoked and expired ones stay in the list and don't count."""


@dataclass(frozen=True)
class Terms:
    """What a key opens, for how long, from where and how often."""

    scopes: Sequence[str]
    expires_at: datetime | None = None
    networks: Sequence[str] = ()
    """Where it may be used from; empty: anywhere."""
    limits: dict[str, int | None] = field(default_factory=dict)
    """requests_per_min, tasks_per_min; none: no limit of the key's own."""
    signing: bool = False
    """With a secret that signs requests."""


async def list_keys(context: Context, viewer: Viewer, account: str | None, limit: int, cursor: str | None) -> Listed:
    """Keys, newest first, without their hashes."""
    query = await seen_accounts(context, viewer, account)
    return await list_page(context, "keys", query, by="created_at", limit=limit, cursor=cursor, projection={"hash": 0})


async def add_key(
    context: Context, viewer: Viewer, account: str, partner: str, name: str, terms: Terms
) -> dict[str, Any]:
    """Make a key, and its partner when it is new. Returns {id, key, signing_secret}.

    Raises: PermanentError NOT_FOUND (account), INVALID_INPUT, TOO_MANY.
    """
    found(await context.mongo["accounts"].find_one({"_id": account}, {"account": "$_id"}), viewer, f"account {account}")
    _check_end(terms.expires_at)
    await _check_room(context.mongo, account, partner)
    await make_partner(context.mongo, account, partner)
    document, made = _new(context.sealer, account, partner, name, terms)
    await context.mongo["keys"].insert_one(document)
    details = {"partner": partner, "name": name, **_told(document)}
    await audit(context.mongo, by=viewer.name, action="key.add", target=made["id"], account=account, details=details)
    return made


async def make_key(mongo: Mongo, account: str, partner: str, name: str, scopes: list[str]) -> dict[str, str]:
    """Insert a new key without further terms. Returns {id, key}."""
    document, made = _new(None, account, partner, name, Terms(scopes))
    await mongo["keys"].insert_one(document)
    return {"id": made["id"], "key": made["key"]}


async def rotate_key(
    context: Context, viewer: Viewer, key_id: str, *, overlap: timedelta, expires_at: datetime | None
) -> dict[str, Any]:
    """Make a key on the same terms in place of one, which stays good for `overlap`.

    expires_at: of the new one; none: it lives as long as the old one was made for.
    Returns {id, key, signing_secret, old_expires_at}.
    Raises: PermanentError NOT_FOUND, CONFLICT (it is revoked, expired or replaced), INVALID_INPUT, TOO_MANY.
    """
    old = found(await context.mongo["keys"].find_one({"_id": key_id}), viewer, f"key {key_id}")
    _check_end(expires_at)
    _check_good(old)
    await _check_room(context.mongo, old["account"], old["partner"])
    at = now()
    if expires_at is None and old.get("expires_at") is not None:
        expires_at = at + (old["expires_at"] - old["created_at"])
    terms = Terms(
        old["scopes"], expires_at, old.get("networks") or (), old.get("limits") or {}, old.get("signing") is not None
    )
    document, made = _new(context.sealer, old["account"], old["partner"], old.get("name", ""), terms)
    document["replaces"] = key_id
    until = min(at + overlap, old["expires_at"]) if old.get("expires_at") is not None else at + overlap

    async def swap(session: Session) -> bool:
        expect = {"_id": key_id, "revoked_at": None, "replaced_by": None}
        change = {"replaced_by": made["id"], "expires_at": until}
        done = await context.mongo["keys"].update_one(expect, {"$set": change}, session=session)
        if done.matched_count:
            await context.mongo["keys"].insert_one(document, session=session)
        return bool(done.matched_count)

    if not await in_transaction(context.mongo, swap):
        raise PermanentError(ErrorCode.CONFLICT, f"key {key_id} was revoked or replaced a moment ago; look again")
    details = {"new": made["id"], "old_expires_at": until, **_told(document)}
    await audit(
        context.mongo, by=viewer.name, action="key.rotate", target=key_id, account=old["account"], details=details
    )
    return {**made, "old_expires_at": until}


async def revoke_key(context: Context, viewer: Viewer, key_id: str) -> None:
    """Make a key worthless; it stays in the list. Revoking it again changes nothing.

    Raises: PermanentError NOT_FOUND.
    """
    document = found(await context.mongo["keys"].find_one({"_id": key_id}), viewer, f"key {key_id}")
    await context.mongo["keys"].update_one({"_id": key_id, "revoked_at": None}, {"$set": {"revoked_at": now()}})
    await audit(context.mongo, by=viewer.name, action="key.revoke", target=key_id, account=document["account"])


def _new(
    sealer: Sealer | None, account: str, partner: str, name: str, terms: Terms
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A key's document, and what its owner is shown once."""
    key_id, plain, hashed = new_key()
    secret, sealed = signing_secret(sealer, key_id) if sealer is not None and terms.signing else (None, None)
    document = {
        "_id": key_id,
        "schema_version": 1,
        "hash": hashed,
        "account": account,
        "partner": partner,
        "name": name,
        "scopes": list(terms.scopes),
        "networks": list(terms.networks),
        "limits": {name: value for name, value in terms.limits.items() if value is not None},
        "signing": sealed,
        "created_at": now(),
        "revoked_at": None,
        "expires_at": terms.expires_at,
        "replaces": None,
        "replaced_by": None,
        "last_used_at": None,
    }
    return document, {"id": key_id, "key": plain, "signing_secret": secret}


def _told(document: dict[str, Any]) -> dict[str, Any]:
    """Of a key's terms, what the audit keeps."""
    told = {name: document[name] for name in ("scopes", "networks", "limits", "expires_at")}
    return {**told, "signing": document["signing"] is not None}


async def _check_room(mongo: Mongo, account: str, partner: str) -> None:
    good = {"revoked_at": None, "$or": [{"expires_at": None}, {"expires_at": {"$gt": now()}}]}
    if await mongo["keys"].count_documents({"account": account, "partner": partner, **good}) >= KEYS_OF_PARTNER_MAX:
        raise PermanentError(ErrorCode.TOO_MANY, f"a partner has at most {KEYS_OF_PARTNER_MAX} good keys; revoke some")


def _check_end(expires_at: datetime | None) -> None:
    if expires_at is not None and expires_at <= now():
        raise PermanentError(ErrorCode.INVALID_INPUT, "expires_at lies in the past")


def _check_good(key: dict[str, Any]) -> None:
    """Raises: PermanentError CONFLICT for a key that can't be rotated any more."""
    why = None
    if key.get("revoked_at") is not None:
        why = "was revoked"
    elif key.get("replaced_by") is not None:
        why = f"was replaced by {key['replaced_by']}; rotate that one"
    elif key.get("expires_at") is not None and key["expires_at"] <= now():
        why = "has expired"
    if why:
        raise PermanentError(ErrorCode.CONFLICT, f"key {key['_id']} {why}; make a new one otherwise")
