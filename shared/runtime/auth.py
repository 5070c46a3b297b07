"""Partners' keys: making them, and checking them on every request of the partners' APIs.

Called by: console (`new_key`, `signing_secret`), collector and delivery (`partner_key`). Survives a crash: keys are
documents; what is cached for CACHE_S seconds is read again. Change also: the collections `keys`, `rates` and
`signed_ids` in ARCHITECTURE.md; docs/adr/0020.

A key is `rgk_<id>_<secret>`; only the SHA-256 of the secret is stored. The secret has 256 random bits, so a slow hash
would add nothing. A refusal says why only after the secret (or the signature) was found right: to anybody else a key
that was revoked and one that never was look the same.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from pymongo.write_concern import WriteConcern

from shared.domain.addresses import networks
from shared.domain.client import within
from shared.domain.rate import retry_after
from shared.errors import ErrorCode
from shared.mongo import Mongo
from shared.mongo.guarded import insert_once
from shared.obs.clock import monotonic_s, now
from shared.obs.metrics import counter
from shared.runtime import signing
from shared.runtime.problems import Problem
from shared.runtime.rates import Rates
from shared.runtime.signed_bodies import UNUSABLE_BYTES_MAX, Room, declared_size, read_body
from shared.seal import Sealer

CACHE_S = 10.0
CACHE_LENGTH_MAX = 10_000
USE_NOTED_S = 60.0
"""The last use of a key is exact to this."""
_FORM = re.compile(r"^rgk_([0-9a-f]{16})_([A-Za-z0-9_-]{43})$")
_KEY_ID = re.compile(r"^[0-9a-f]{16}$")

LIMITED = counter("keys_limited_total", "Requests refused because a key's limit per minute was reached.", ["what"])

_bearer = HTTPBearer(auto_error=False, description="A partner's key: rgk_...")
_signed = APIKeyHeader(
    name=signing.KEY_HEADER,
    auto_error=False,
    scheme_name="Signed",
    description="The id of the key whose signing secret signs the request (Standard Webhooks: webhook-id, "
    "webhook-timestamp, webhook-signature), instead of a key.",
)


@dataclass(frozen=True)
class Partner:
    """Who asks: a system of an account."""

    account: str
    partner: str
    key_id: str
    signed_id: str | None = None
    """The webhook-id of a signed request."""
    tasks_per_min: int | None = None
    rates: Rates | None = field(default=None, repr=False, compare=False)

    async def charge(self, tasks: int) -> None:
        """Count tasks against the key's limit, before they are taken. Raises: Problem 429."""
        if self.tasks_per_min is not None and self.rates is not None:
            await _draw(self.rates, self.key_id, "tasks", self.tasks_per_min, tasks)

    async def owe(self, tasks: int) -> None:
        """Count tasks of a push that is under way: later ones wait for them."""
        if self.tasks_per_min is not None and self.rates is not None:
            await self.rates.draw(f"{self.key_id}/tasks", per_min=self.tasks_per_min, cost=tasks, force=True)


async def _draw(rates: Rates, key_id: str, what: str, per_min: int, cost: int) -> None:
    drawn = await rates.draw(f"{key_id}/{what}", per_min=per_min, cost=cost)
    if not drawn.allowed:
        LIMITED.labels(what).inc()
        after = retry_after(drawn.wait_s)
        text = f"this key may send {per_min} {what} a minute; come back in {after} s"
        raise Problem(429, ErrorCode.TOO_MANY, text, headers={"Retry-After": after})


def new_key() -> tuple[str, str, str]:
    """A new key: its id, the key as its owner gets it (once), and the hash to store."""
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    return key_id, f"rgk_{key_id}_{secret}", _hash(secret)


def derived_key(sealer: Sealer, purpose: str) -> tuple[str, str, str]:
    """A key that every service can make for itself from the master key, as new_key: for work of our own."""
    key_id = hashlib.sha256(sealer.derive(purpose, "id").encode()).hexdigest()[:16]
    secret = sealer.derive(purpose, "secret")
    return key_id, f"rgk_{key_id}_{secret}", _hash(secret)


def signing_secret(sealer: Sealer, key_id: str) -> tuple[str, bytes]:
    """A new secret for signing requests: as its owner gets it (once), and as it is stored."""
    secret = signing.new_secret()
    return secret, sealer.seal(signing.PURPOSE, secret.encode(), key_id.encode())


class Keys:
    """Looks keys up, and remembers them for CACHE_S seconds; so a revoked key works that much longer at most."""

    def __init__(self, mongo: Mongo, clock: Callable[[], float] = monotonic_s) -> None:
        self._mongo = mongo
        self._clock = clock
        self._known: dict[str, tuple[float, dict[str, Any] | None]] = {}
        self._noted: dict[str, float] = {}
        self._room = Room()

    async def check(self, key: str, scope: str, address: str = "") -> Partner:
        """The partner whose key this is. address: the client's. Raises: Problem 401, 403."""
        found = _FORM.match(key)
        document = await self._document(found.group(1)) if found else None
        if found is None or document is None or not hmac.compare_digest(document["hash"], _hash(found.group(2))):
            raise _refused("this key is not known")
        return _allowed(document, scope, address)

    async def check_signed(
        self, key_id: str, headers: Mapping[str, str], sealer: Sealer, request: Request, scope: str, address: str
    ) -> Partner:
        """The partner whose signing secret signed this request. Raises: Problem 401, 403, 408, 413, 429.

        Whatever can be known without the body is looked at before it is read. Of a key that may not be used only a
        small body is read, to tell its owner why.
        """
        try:
            signed = signing.signed_headers(headers)
            signing.check_time(signed, now())
        except signing.BadSignature as error:
            raise _refused(str(error)) from None
        document = await self._document(key_id) if _KEY_ID.match(key_id) else None
        sealed = (document or {}).get("signing")
        if document is None or sealed is None:
            raise _refused(signing.NOT_VALID)
        size, refusal = declared_size(request), None
        try:
            partner = _allowed(document, scope, address, signed["webhook-id"])
        except Problem as problem:
            if size > UNUSABLE_BYTES_MAX:
                raise _refused(signing.NOT_VALID) from None
            refusal = problem
        secret = sealer.open(signing.PURPOSE, sealed, key_id.encode()).decode()
        query = f"?{request.url.query}" if request.url.query else ""
        with self._room.of(key_id, size):
            body = await read_body(request, size)
            try:
                signing.verify(secret, signed, method=request.method, target=_raw_path(request) + query, body=body)
            except signing.BadSignature as error:
                raise _refused(str(error)) from None
        if refusal is not None:
            raise refusal
        return partner

    async def first_use(self, key_id: str, webhook_id: str) -> bool:
        """Whether a webhook-id of a key is new; it is kept for longer than its signature is good."""
        expires_at = now() + timedelta(seconds=3 * signing.TOLERANCE_S)
        document = {"_id": f"{key_id}/{_hash(webhook_id)}", "schema_version": 1, "expires_at": expires_at}
        return await insert_once(self._mongo["signed_ids"], document)

    async def same_use(self, key_id: str, webhook_id: str, idempotency_key: str) -> bool:
        """Whether a webhook-id of a key is new, or came with this Idempotency-Key (none: empty) before: that header is
        not signed, so whoever repeats a signed request could give it another one and have it carried out again."""
        use = _hash(idempotency_key)
        expires_at = now() + timedelta(seconds=3 * signing.TOLERANCE_S)
        id = f"{key_id}/{_hash(webhook_id)}"
        if await insert_once(
            self._mongo["signed_ids"], {"_id": id, "schema_version": 1, "use": use, "expires_at": expires_at}
        ):
            return True
        return ((await self._mongo["signed_ids"].find_one({"_id": id})) or {}).get("use") == use

    async def limit(self, partner: Partner) -> Partner:
        """Count the request against the key's limit, and note its use. Raises: Problem 429."""
        document = await self._document(partner.key_id) or {}
        limits = document.get("limits") or {}
        await self._note(partner.key_id)
        if not any(limits.values()):
            return partner
        rates = Rates(self._mongo)
        if limits.get("requests_per_min"):
            await _draw(rates, partner.key_id, "requests", limits["requests_per_min"], 1)
        return replace(partner, tasks_per_min=limits.get("tasks_per_min"), rates=rates)

    async def _note(self, key_id: str) -> None:
        """Note when a key was used, once a minute; a figure for people, so nothing waits for a majority."""
        noted = self._noted.get(key_id)
        if noted is not None and self._clock() - noted < USE_NOTED_S:
            return
        if len(self._noted) >= CACHE_LENGTH_MAX:
            self._noted.clear()
        self._noted[key_id] = self._clock()
        keys = self._mongo["keys"].with_options(write_concern=WriteConcern(w=1))
        await keys.update_one({"_id": key_id}, {"$set": {"last_used_at": now()}})

    async def _document(self, key_id: str) -> dict[str, Any] | None:
        known = self._known.get(key_id)
        if known is not None and self._clock() - known[0] < CACHE_S:
            return known[1]
        document = await self._mongo["keys"].find_one({"_id": key_id})
        if len(self._known) >= CACHE_LENGTH_MAX:
            self._known.clear()
        self._known[key_id] = (self._clock(), document)
        return document


def partner_key(scope: str, *, replays: bool = False) -> Callable[..., Awaitable[Partner]]:
    """A FastAPI dependency: the partner whose key came with the request, or who signed it, and who has `scope`; else
    401, 403 or 429.

    replays: the route answers a repeated webhook-id as it answered the first; others refuse it.
    """

    async def partner(
        request: Request,
        credentials: HTTPAuthorizationCredentials | None = Security(_bearer),
        key_id: str | None = Security(_signed),
    ) -> Partner:
        keys: Keys | None = getattr(request.app.state, "keys", None)
        if keys is None:
            keys = request.app.state.keys = Keys(request.app.state.service.mongo)
        address = request.client.host if request.client else ""
        if credentials is not None:
            found = await keys.check(credentials.credentials, scope, address)
        elif key_id is not None:
            sealer = request.app.state.service.sealer
            found = await keys.check_signed(key_id, request.headers, sealer, request, scope, address)
        else:
            raise _refused("send a key: Authorization: Bearer rgk_...")
        found = await keys.limit(found)
        if found.signed_id is None:
            return found
        if not replays and not await keys.first_use(found.key_id, found.signed_id):
            raise _refused("this webhook-id was used before; a new request has a new one")
        header = request.headers.get("idempotency-key", "")
        if replays and not await keys.same_use(found.key_id, found.signed_id, header):
            raise _refused("this webhook-id came with another Idempotency-Key before; a new request has a new one")
        return found

    return partner


def _allowed(document: Mapping[str, Any], scope: str, address: str, signed_id: str | None = None) -> Partner:
    """The partner of a key that was found right, when it may be used now, from there and for this."""
    if document.get("revoked_at") is not None:
        raise _refused("this key was revoked")
    expires_at = document.get("expires_at")
    if expires_at is not None and expires_at <= now():
        raise _refused("this key has expired")
    allowed = document.get("networks")
    if allowed and not within(address, networks(",".join(allowed))):
        raise Problem(403, ErrorCode.FORBIDDEN, f"this key may not be used from {address or 'an unknown address'}")
    if scope not in document["scopes"]:
        raise Problem(403, ErrorCode.FORBIDDEN, f"this key has no scope {scope!r}")
    return Partner(document["account"], document["partner"], document["_id"], signed_id)


def _raw_path(request: Request) -> str:
    """The path as it was sent, with what was escaped in it."""
    raw: bytes | None = request.scope.get("raw_path")
    return raw.split(b"?")[0].decode("ascii", "replace") if raw else request.url.path


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _refused(why: str) -> Problem:
    return Problem(401, ErrorCode.UNAUTHENTICATED, why)
