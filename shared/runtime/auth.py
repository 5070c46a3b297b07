"""Partners' keys: making them, and checking them on every request of the partners' APIs.

Called by: console (`new_key`), collector and delivery (`partner_key`). Survives a crash: keys are documents; what is
cached for CACHE_S seconds is read again. Change also: the collection `keys` in ARCHITECTURE.md.

A key is `rgk_<id>_<secret>`; only the SHA-256 of the secret is stored. The secret has 256 random bits, so a slow hash
would add nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from shared.errors import ErrorCode
from shared.mongo import Mongo
from shared.obs.clock import monotonic_s, now
from shared.runtime.problems import Problem

CACHE_S = 10.0
CACHE_LENGTH_MAX = 10_000
_FORM = re.compile(r"^rgk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})$")

_bearer = HTTPBearer(auto_error=False, description="A partner's key: rgk_...")


@dataclass(frozen=True)
class Partner:
    """Who asks: a system of an account."""

    account: str
    partner: str
    key_id: str


def new_key() -> tuple[str, str, str]:
    """A new key: its id, the key as its owner gets it (once), and the hash to store."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    return key_id, f"rgk_{key_id}_{secret}", _hash(secret)


class Keys:
    """Looks keys up, and remembers them for CACHE_S seconds; so a revoked key works that much longer at most."""

    def __init__(self, mongo: Mongo, clock: Callable[[], float] = monotonic_s) -> None:
        self._mongo = mongo
        self._clock = clock
        self._known: dict[str, tuple[float, dict[str, Any] | None]] = {}

    async def check(self, key: str, scope: str) -> Partner:
        """The partner whose key this is. Raises: Problem 401, 403."""
        found = _FORM.match(key)
        document = await self._document(found.group(1)) if found else None
        if found is None or document is None or not hmac.compare_digest(document["hash"], _hash(found.group(2))):
            raise _refused("this key is not known")
        if document.get("revoked_at") is not None:
            raise _refused("this key was revoked")
        expires_at = document.get("expires_at")
        if expires_at is not None and expires_at <= now():
            raise _refused("this key has expired")
        if scope not in document["scopes"]:
            raise Problem(403, ErrorCode.FORBIDDEN, f"this key has no scope {scope!r}")
        return Partner(document["account"], document["partner"], document["_id"])

    async def _document(self, key_id: str) -> dict[str, Any] | None:
        known = self._known.get(key_id)
        if known is not None and self._clock() - known[0] < CACHE_S:
            return known[1]
        document = await self._mongo["keys"].find_one({"_id": key_id})
        if len(self._known) >= CACHE_LENGTH_MAX:
            self._known.clear()
        self._known[key_id] = (self._clock(), document)
        return document


def partner_key(scope: str) -> Callable[..., Awaitable[Partner]]:
    """A FastAPI dependency: the partner whose key came with the request and has `scope`; else 401 or 403."""

    async def partner(
        request: Request,
        credentials: HTTPAuthorizationCredentials | None = Security(_bearer),
    ) -> Partner:
        if credentials is None:
            raise _refused("send a key: Authorization: Bearer rgk_...")
        keys: Keys | None = getattr(request.app.state, "keys", None)
        if keys is None:
            keys = request.app.state.keys = Keys(request.app.state.service.mongo)
        return await keys.check(credentials.credentials, scope)

    return partner


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _refused(why: str) -> Problem:
    return Problem(401, ErrorCode.UNAUTHENTICATED, why)
