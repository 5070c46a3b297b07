"""Limits per minute that all processes share: token buckets in the database.

Owns: the collection `rates` (TTL: a bucket that is full again may go). Called by: auth.py. Survives a crash: a draw is
one update by the database's own clock. Written without majority: a failover may give back what the last moment drew,
and no more. Change also: shared/domain/rate.py, which this says in the server's words.
"""

from __future__ import annotations

from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError
from pymongo.write_concern import WriteConcern

from shared.domain import rate
from shared.domain.rate import Drawn
from shared.mongo import Mongo

_KEPT_MS = 60_000
_TRIES_MAX = 5


class Rates:
    """Buckets by name."""

    def __init__(self, mongo: Mongo) -> None:
        self._buckets = mongo["rates"].with_options(write_concern=WriteConcern(w=1))

    async def draw(self, name: str, *, per_min: int, cost: int, force: bool = False) -> Drawn:
        """Draw from a bucket; one that there isn't is full."""
        update = _update(per_min, cost, force=force)
        for attempt in range(_TRIES_MAX):
            try:
                found = await self._buckets.find_one_and_update(
                    {"_id": name}, update, upsert=True, return_document=ReturnDocument.AFTER
                )
                assert found is not None  # an upsert
                level = float(found["level"])
                wait_s = 0.0 if found["allowed"] else rate.wait_s(level, cost, per_min)
                return Drawn(bool(found["allowed"]), level, wait_s)
            except DuplicateKeyError:  # two made it at once: the other one was first
                if attempt + 1 == _TRIES_MAX:
                    raise
        raise AssertionError("unreachable: the loop returns or raises")


def _update(per_min: int, cost: int, *, force: bool) -> list[dict[str, Any]]:
    elapsed_s = {"$max": [0, {"$divide": [{"$subtract": ["$$NOW", {"$ifNull": ["$at", "$$NOW"]}]}, 1000]}]}
    grown = {"$add": [{"$ifNull": ["$level", per_min]}, {"$multiply": [elapsed_s, per_min / 60]}]}
    allowed: Any = True if force else {"$gte": ["$level", rate.needed(cost, per_min)]}
    to_full_ms = {"$multiply": [{"$subtract": [per_min, "$level"]}, 60_000 / per_min]}
    return [
        {"$set": {"level": {"$min": [per_min, grown]}, "at": "$$NOW"}},
        {"$set": {"allowed": allowed}},
        {"$set": {"level": {"$cond": ["$allowed", {"$subtract": ["$level", cost]}, "$level"]}}},
        {"$set": {"expires_at": {"$add": ["$$NOW", {"$toLong": to_full_ms}, _KEPT_MS]}}},
    ]
