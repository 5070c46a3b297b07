"""Requests with a key are carried out once: claims on keys, and the first answer, kept to be given again.

Owns: the collection `idempotency` (TTL). Called by: api.py, api_files.py. Survives a crash: a claim whose holder died
is free for others after `claim_s` seconds by the database's own clock; the request is then carried out again under the
same batch, which makes nothing twice, because a reference names one task. A claim taken over from a holder that was
only slow leads to the same: both make the same tasks, the first to finish stores the answer, the other gives that one.
Change also: section 'Data' of ARCHITECTURE.md, docs/adr/0020.

    absent -> open (claimed) -> done (answer stored) -> gone (TTL)
                    |-> absent: refused as a whole (an error): nothing to repeat, the key is free again
"""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError, PyMongoError

from shared.errors import ErrorCode
from shared.mongo import Mongo
from shared.mongo.guarded import retried
from shared.obs.ids import new_id
from shared.obs.metrics import counter
from shared.runtime.http import Problem

ANSWER_SIZE_BYTES_MAX = 12 * 1024 * 1024
"""Packed. A larger one is not kept: the request is carried out again instead, with the same outcome."""
RETRY_AFTER_S = 2
_TRIES_MAX = 5

OUTCOMES = counter("idempotent_requests_total", "Requests with a key, by what became of them.", ["outcome"])


@dataclass(frozen=True)
class Reply:
    """An answer that can be given again."""

    status: int
    body: dict[str, Any]
    replayed: bool = False


@dataclass
class Claim:
    """A key that this request holds, or no key at all."""

    id: str | None
    token: str
    batch: str
    """The batch of the first try."""


Act = Callable[[Claim], Awaitable[tuple[Reply, str]]]
"""Carries the request out. Returns: its answer, and its fingerprint."""


class Claims:
    """The keys of requests. claim_s: how long a request may be silent before its key is free. keep_s: of answers."""

    def __init__(self, mongo: Mongo, *, claim_s: float, keep_s: float) -> None:
        self._keys = mongo["idempotency"]
        self._claim_ms = int(claim_s * 1000)
        self._keep_ms = int(keep_s * 1000)

    async def once(
        self, id: str | None, act: Act, *, fingerprint: str | None, read: Callable[[], Awaitable[str]] | None = None
    ) -> Reply:
        """Carry a request out, or give the answer of the first one with this key.

        id: of the key (core.idempotency.claim_id); none: without a key. fingerprint: when it is known before the
        request is carried out; else `read` reads the request to its end and gives it.
        Raises: Problem 409 (the first one is in hand), 422 (the key was another request's); what `act` raises.
        """
        if id is None:
            return (await act(Claim(None, "", new_id("batch_"))))[0]
        token = new_id("claim_")
        found = await retried(lambda: self._claim(id, token, fingerprint), "claim of an Idempotency-Key")
        if found["state"] == "done":
            said = fingerprint if fingerprint is not None or read is None else await read()
            return self._again(found, said)
        if found["claim"] != token:
            if fingerprint is not None and found["fingerprint"] not in (None, fingerprint):
                raise _other_request()
            OUTCOMES.labels("in_flight").inc()
            text = "a request with this Idempotency-Key is in hand; ask again in a moment for its answer"
            raise Problem(409, ErrorCode.CONFLICT, text, headers={"Retry-After": str(RETRY_AFTER_S)})
        claim = Claim(id, token, found["batch"])
        try:
            reply, said = await act(claim)
        except BaseException:
            await self._release(claim)
            raise
        return await self._finish(claim, reply, said)

    async def touch(self, claim: Claim) -> None:
        """This request is alive: its key stays its own for another claim_s."""
        if claim.id is not None:
            query = {"_id": claim.id, "claim": claim.token, "state": "open"}
            await self._keys.update_one(query, [{"$set": {"claimed_at": "$$NOW"}}])

    async def _claim(self, id: str, token: str, fingerprint: str | None) -> dict[str, Any]:
        """What stands under a key after this: mine when `claim` is the token. One write, by the database's clock."""
        silent = {"$lt": ["$claimed_at", {"$subtract": ["$$NOW", self._claim_ms]}]}
        same = {"$in": ["$fingerprint", [None, fingerprint]]} if fingerprint is not None else True
        free = {"$and": [{"$eq": ["$state", "open"]}, silent, same]}
        absent = {"$eq": [{"$type": "$state"}, "missing"]}
        first = {
            "schema_version": 1,
            "batch": new_id("batch_"),
            "expires_at": {"$add": ["$$NOW", self._keep_ms]},
        }
        mine = {"state": "open", "claim": token, "claimed_at": "$$NOW", "fingerprint": fingerprint}
        taken = {"$mergeObjects": [first, "$$ROOT", mine]}
        update = [{"$replaceWith": {"$cond": [{"$or": [absent, free]}, taken, "$$ROOT"]}}]
        for attempt in range(_TRIES_MAX):
            try:
                found = await self._keys.find_one_and_update(
                    {"_id": id}, update, upsert=True, return_document=ReturnDocument.AFTER
                )
                assert found is not None  # an upsert
                return found
            except DuplicateKeyError:  # two upserts at once: the other one was first
                if attempt + 1 == _TRIES_MAX:
                    raise
        raise AssertionError("unreachable: the loop returns or raises")

    async def _finish(self, claim: Claim, reply: Reply, fingerprint: str) -> Reply:
        packed = zlib.compress(json.dumps(reply.body, separators=(",", ":")).encode(), 1)
        if len(packed) > ANSWER_SIZE_BYTES_MAX:
            await self._release(claim)
            return reply
        done = {
            "state": "done",
            "claim": claim.token,
            "status": reply.status,
            "answer": packed,
            "fingerprint": fingerprint,
        }

        async def attempt() -> dict[str, Any] | None:
            await self._keys.update_one({"_id": claim.id, "state": "open"}, {"$set": done})
            return await self._keys.find_one({"_id": claim.id})

        stored = await retried(attempt, "answer of an Idempotency-Key")
        if stored is None or stored["state"] != "done" or stored["claim"] == claim.token:
            OUTCOMES.labels("first").inc()
            return reply
        return self._again(stored, fingerprint)

    async def _release(self, claim: Claim) -> None:
        """Let a key go, since nothing was answered that could be given again. Where this fails, its time does it."""
        with contextlib.suppress(PyMongoError):
            await self._keys.delete_one({"_id": claim.id, "claim": claim.token, "state": "open"})

    def _again(self, stored: dict[str, Any], fingerprint: str | None) -> Reply:
        if stored["fingerprint"] != fingerprint:
            raise _other_request()
        OUTCOMES.labels("replayed").inc()
        return Reply(stored["status"], json.loads(zlib.decompress(stored["answer"])), replayed=True)


def _other_request() -> Problem:
    OUTCOMES.labels("other_request").inc()
    text = "this Idempotency-Key was sent with another request; make a new key for every new request"
    return Problem(422, ErrorCode.INVALID_INPUT, text)
