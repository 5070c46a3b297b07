"""The sequencer of the feed when the database's answers get lost: nothing missing, nothing twice, no gap."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from services.delivery import feed
from services.delivery.feed import Feed
from services.delivery.store import DeliveryStore
from shared.errors import TemporaryError
from shared.mongo import Mongo
from shared.obs.clock import now


class _Lossy:
    """A collection of which some inserts fail: before they are sent, or after they were stored."""

    def __init__(self, collection: Any, chance: random.Random) -> None:
        self._collection, self._chance = collection, chance

    def __getattr__(self, name: str) -> Any:
        return getattr(self._collection, name)

    async def insert_many(self, documents: Any, **more: Any) -> Any:
        fate = self._chance.random()
        if fate < 0.2:
            raise AutoReconnect("lost before it was sent")
        done = await self._collection.insert_many(documents, **more)
        if fate < 0.4:
            raise AutoReconnect("the answer was lost")
        return done


class LossyMongo(Mongo):
    """The real database behind a bad line."""

    chance = random.Random(1)

    def __getitem__(self, collection: str) -> Any:
        found = self.db[collection]
        return _Lossy(found, self.chance) if collection == "results" else found


@pytest.mark.parametrize("seed", range(2))
async def test_lost_answers_lead_to_no_gap_and_no_repeat(
    mongo_url: str, mongo_db: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "AT_ONCE_MAX", 3)
    lines = [LossyMongo(mongo_url, mongo_db) for _ in range(3)]
    await lines[0].db["results"].create_index([("account", 1), ("n", 1)], unique=True)
    feeds, retries, seen = [Feed(line) for line in lines], 0, []
    for at, line in enumerate(lines):
        line.chance = random.Random(f"{seed}/{at}")

    async def add(id: int) -> None:
        nonlocal retries
        while True:  # as the sweep does, from whichever process
            try:
                await feeds[random.randrange(3)].add({"_id": f"e{id}", "account": "acme", "body": "{}"})
                return
            except TemporaryError:
                retries += 1

    async def read() -> None:
        after = 0
        while len(seen) < 60:
            found = await lines[0].db["results"].find({"n": {"$gt": after}}).sort("n", 1).to_list(None)
            for entry in found:
                assert entry["n"] == after + 1, "a reader passes a gap that may be filled"
                after = entry["n"]
                seen.append(entry["_id"])
            await asyncio.sleep(0)

    try:
        async with asyncio.timeout(60):
            await asyncio.gather(read(), *(add(id) for id in [*range(60), *range(0, 60, 7)]))
    finally:
        for line in lines:
            await line.close()
    assert sorted(seen) == sorted(f"e{id}" for id in range(60))
    assert retries > 0


async def test_numbers_are_not_given_again_when_others_used_them_and_their_entries_are_gone(
    mongo_url: str, mongo_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that had been quiet went on from the number that it had given last, behind readers."""
    mongo = Mongo(mongo_url, mongo_db)
    await mongo["results"].create_index([("account", 1), ("n", 1)], unique=True)
    at_s = [1000.0]
    monkeypatch.setattr(feed, "monotonic_s", lambda: at_s[0])
    quiet, busy = Feed(mongo), Feed(mongo)
    await quiet.add({"_id": "one", "account": "acme"})
    await busy.add({"_id": "two", "account": "acme"})
    await quiet.raise_floor("acme", 2)
    await mongo["results"].delete_many({})
    at_s[0] += feed.LAST_S
    await quiet.add({"_id": "three", "account": "acme"})
    assert [one["n"] async for one in mongo["results"].find()] == [3]
    await mongo.close()


async def test_a_replay_by_filter_sends_results_with_their_file_and_not_besides(mongo_url: str, mongo_db: str) -> None:
    mongo = Mongo(mongo_url, mongo_db)
    about = {"account": "acme", "endpoint": "files", "state": "dead"}
    await mongo["deliveries"].insert_many(
        [
            {"_id": "file_1", "event": "file", **about},
            {"_id": "a", "workflow": "tax", "file": "file_1", **about},
            {"_id": "b", "workflow": "tax", "file": "file_1", **about},
            {"_id": "c", "workflow": "tax", **about},
            {"_id": "d", "workflow": "other", **about},
        ]
    )
    query = {"account": "acme", "workflow": "tax"}
    assert await DeliveryStore(mongo).replay(query, by="ana", at=now(), op="op_1") == 2
    due = [one["_id"] async for one in mongo["deliveries"].find({"next_at": {"$exists": True}}).sort("_id")]
    assert due == ["c", "file_1"]
    await mongo.close()
