"""Writes of endpoints: made, changed, their secrets and keys rotated.

Called by: delivery (the partners' API), console (operators'). Survives a crash: each is one write; a secret that was
made and never seen, because its answer was lost, is made good by rotating again. Change also: ARCHITECTURE.md (Data).
"""

from __future__ import annotations

import secrets as chance
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.domain.endpoint import (
    ED25519,
    HMAC,
    KEPT,
    KEY_PURPOSE,
    SECRET_PURPOSE,
    SECRET_SIZE_BYTES_NEW,
    SEED_SIZE_BYTES,
    WEBHOOK,
    key_pair,
    schemes,
    secret_text,
)
from shared.mongo import Mongo
from shared.seal import Sealer

HIDDEN = {"secrets": 0, "keys.sealed": 0}
"""What never leaves the database on its way to a reader."""


@dataclass(frozen=True)
class Put:
    """What became of a change."""

    document: dict[str, Any]
    """Without secrets; `keys` holds the public ones."""
    secret: str | None
    """A secret that was made here; it is never shown again."""


async def put_endpoint(
    mongo: Mongo, sealer: Sealer, account: str, name: str, fields: Mapping[str, Any], *, secret: str | None,
    overlap_s: float, at: datetime,
) -> Put:  # fmt: skip
    """Make or change an endpoint, in one write; it is enabled, and its circuit closed.

    fields: shared.contracts.endpoint_file.EndpointFields.stored(). secret: one that the partner brings; none: the old
    one stays, and a webhook that has none gets one made here.
    """
    id = f"{account}/{name}"
    old = await mongo["endpoints"].find_one({"_id": id}) or {}
    wanted = schemes(fields) if fields.get("kind", WEBHOOK) == WEBHOOK else []
    made = secret_text(chance.token_bytes(SECRET_SIZE_BYTES_NEW)) if _lacks(old, HMAC, wanted) and not secret else None
    if secret and _is_newest(sealer, id, old, secret):
        secret = None
    key = ED25519 if _lacks(old, ED25519, wanted) else None
    change = _change(
        sealer, id, secret or made, key is not None, at, overlap_s if old.get("secrets") else 0, replaces=False
    )
    change["$set"] |= {**fields, "enabled": True, "disabled_reason": None, "updated_at": at}
    change["$unset"] = {"circuit": ""}
    change["$setOnInsert"] = {"schema_version": 1, "account": account, "name": name, "created_at": at}
    return Put(await _write(mongo, id, change, upsert=True), made)


async def rotate_endpoint(
    mongo: Mongo, sealer: Sealer, account: str, name: str, *, overlap_s: float, at: datetime
) -> Put | None:
    """New secrets and keys for what an endpoint signs with; those before sign beside them for `overlap_s` seconds.

    None: there is no such endpoint.
    """
    id = f"{account}/{name}"
    old = await mongo["endpoints"].find_one({"_id": id})
    if old is None:
        return None
    wanted = schemes(old)
    made = secret_text(chance.token_bytes(SECRET_SIZE_BYTES_NEW)) if HMAC in wanted else None
    change = _change(sealer, id, made, ED25519 in wanted, at, overlap_s, replaces=True)
    return Put(await _write(mongo, id, change, upsert=False), made)


def _lacks(old: Mapping[str, Any], scheme: str, wanted: list[str]) -> bool:
    kept = old.get("secrets" if scheme == HMAC else "keys")
    return scheme in wanted and not kept


def _is_newest(sealer: Sealer, id: str, old: Mapping[str, Any], secret: str) -> bool:
    """Whether a secret is the one that the endpoint has already."""
    kept = old.get("secrets") or []
    return bool(kept) and sealer.open(SECRET_PURPOSE, bytes(kept[0]), id.encode()) == secret.encode()


def _change(
    sealer: Sealer, id: str, secret: str | None, new_key: bool, at: datetime, overlap_s: float, *, replaces: bool
) -> dict[str, Any]:
    pushed: dict[str, Any] = {}
    if secret is not None:
        sealed = sealer.seal(SECRET_PURPOSE, secret.encode(), id.encode())
        pushed["secrets"] = {"$each": [sealed], "$position": 0, "$slice": KEPT}
    if new_key:
        private, public = key_pair(chance.token_bytes(SEED_SIZE_BYTES))
        key = {"sealed": sealer.seal(KEY_PURPOSE, private.encode(), id.encode()), "public": public}
        pushed["keys"] = {"$each": [key], "$position": 0, "$slice": KEPT}
    # A first key replaces nothing: what a secret's overlap has ended for stays ended.
    overlap = {"overlap_until": at + timedelta(seconds=overlap_s)} if secret is not None or replaces else {}
    change: dict[str, Any] = {"$set": overlap if pushed else {}}
    return {**change, "$push": pushed} if pushed else change


async def _write(mongo: Mongo, id: str, change: Mapping[str, Any], *, upsert: bool) -> dict[str, Any]:
    document = await mongo["endpoints"].find_one_and_update(
        {"_id": id}, change, upsert=upsert, return_document=True, projection=HIDDEN
    )
    return dict(document or {})
