"""The queries of adaptive waits: collection `paces_learned`, places and (per workflow) robot hours and the freeze.

Called by: pacing.py, pacing_requests.py. Survives a crash: what was saved; what was only seen is lost, which costs some
learning. Executors merge by compare and set: a place is read, learns what this executor saw, and is written only if its
`rev` is still the one that was read; who lost the race reads again at the next flush. Change also: section 'Data' of
ARCHITECTURE.md, services/console/store/pacing.py (reads the same documents), shared/domain/pacing.py (their form)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pymongo import InsertOne, UpdateOne
from pymongo.errors import BulkWriteError, PyMongoError

from shared.domain import pacing
from shared.domain.pacing import Place
from shared.errors import TemporaryError
from shared.mongo import Mongo, first_line
from shared.mongo.guarded import is_transient
from shared.obs.clock import now

COLLECTION = "paces_learned"
PLACES_MAX = 1000
"""Places of one workflow; those beyond are not learned."""
DUPLICATE_CODE = 11000
OPS_MAX = 20
"""Flushes that a place remembers: another executor may write between a flush and its look at what became of it."""


@dataclass(frozen=True)
class Head:
    """What counts for a whole workflow."""

    hours: float
    frozen: bool
    settings: Mapping[str, Any]
    """`settings.pacing` of the workflow, as stored."""


@dataclass(frozen=True)
class Stored:
    """A place and the revision that it was read at; none: it is not stored yet."""

    rev: int | None
    place: Place


class PacingStore:
    """What executors remember about waits. `key`: `<account>/<workflow>`."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self._places = mongo[COLLECTION]

    async def head(self, key: str) -> Head:
        """Robot hours, freeze and settings of a workflow."""
        head = await self._places.find_one({"_id": key}) or {}
        workflow = await self._mongo["workflows"].find_one({"_id": key}, {"settings.pacing": 1}) or {}
        settings = (workflow.get("settings") or {}).get("pacing") or {}
        return Head(float(head.get("hours", 0.0)), bool(head.get("frozen")), settings)

    async def revisions(self, key: str) -> dict[str, int]:
        """Every stored place of a workflow with its revision."""
        query = {"key": key, "rev": {"$exists": True}}
        found = self._places.find(query, {"_id": 0, "place": 1, "rev": 1}).limit(PLACES_MAX)
        return {one["place"]: one["rev"] async for one in found}

    async def read(self, key: str, places: Iterable[str]) -> dict[str, Stored]:
        """The stored ones among these places."""
        found = self._places.find({"_id": {"$in": [f"{key}/{place}" for place in places]}})
        return {one["place"]: Stored(one["rev"], pacing.from_document(one)) async for one in found}

    async def save(self, key: str, changed: Mapping[str, Stored], op: str) -> set[str]:
        """Write what was learned on top of the revisions that were read; the places whose write took effect.

        op: identity of this flush. Raises: TemporaryError.
        """
        account, _, workflow = key.partition("/")
        writes: list[InsertOne[Any] | UpdateOne] = []
        for name, one in changed.items():
            fields = {**pacing.to_document(one.place), "seen_at": now()}
            if one.rev is None:
                head = {"_id": f"{key}/{name}", "schema_version": 1, "key": key, "account": account}
                writes.append(InsertOne({**head, "workflow": workflow, "place": name, "rev": 1, "ops": [op], **fields}))
            else:
                expect = {"_id": f"{key}/{name}", "rev": one.rev}
                mark = {"ops": {"$each": [op], "$slice": -OPS_MAX}}
                writes.append(UpdateOne(expect, {"$set": {**fields, "rev": one.rev + 1}, "$push": mark}))
        try:
            await self._places.bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            if any(one["code"] != DUPLICATE_CODE for one in error.details.get("writeErrors", [])):
                raise TemporaryError(f"paces are not saved: {first_line(error)}") from error
        except PyMongoError as error:
            if is_transient(error):
                raise TemporaryError(f"paces are not saved: {first_line(error)}") from error
            raise
        mine = self._places.find({"_id": {"$in": [f"{key}/{name}" for name in changed]}, "ops": op}, {"place": 1})
        return {one["place"] async for one in mine}

    async def add_hours(self, key: str, hours: float) -> None:
        """Count robot hours of a workflow."""
        account, _, workflow = key.partition("/")
        insert = {"schema_version": 1, "account": account, "workflow": workflow}
        await self._places.update_one({"_id": key}, {"$inc": {"hours": hours}, "$setOnInsert": insert}, upsert=True)

    # what people ask for

    async def freeze(self, key: str, place: str | None, on: bool) -> bool:
        """Learn no more (or again), at one place or in the whole workflow; false when there is no such place."""
        if place is not None:
            update = {"$set": {"frozen": on}, "$inc": {"rev": 1}}
            done = await self._places.update_one({"_id": f"{key}/{place}", "key": key}, update)
            return done.matched_count == 1
        account, _, workflow = key.partition("/")
        insert = {"schema_version": 1, "account": account, "workflow": workflow, "hours": 0.0}
        await self._places.update_one({"_id": key}, {"$set": {"frozen": on}, "$setOnInsert": insert}, upsert=True)
        return True

    async def reset(self, key: str, place: str | None) -> bool:
        """Forget what was learned, at one place or in the whole workflow; false when there is no such place."""
        one = {"_id": f"{key}/{place}"} if place is not None else {}
        gone = await self._places.delete_many({"key": key, **one})
        return place is None or gone.deleted_count == 1
