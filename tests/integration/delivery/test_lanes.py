"""The queries that look for what is due: by index, whatever waits for an endpoint that is down."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.delivery.core.plan import Event, delivery_document
from services.delivery.store import DeliveryStore
from shared.mongo import Mongo
from shared.mongo.indexes import apply_indexes

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
BACKLOG = 20_000
READ_MAX = 20
"""Documents and index entries that a look, or a turn, may read."""


@pytest.fixture
async def store(mongo_url: str, mongo_db: str) -> AsyncIterator[DeliveryStore]:
    """A database in which one endpoint has a long lane, and two others have a delivery each."""
    mongo = Mongo(mongo_url, mongo_db)
    await apply_indexes(mongo)
    waiting = [delivery("dead", n) for n in range(BACKLOG)]
    await mongo["deliveries"].insert_many([*waiting, delivery("quick", 1), delivery("slow", 2)], ordered=False)
    ended = [{**one, "_id": f"{one['_id']}-ended", "state": "delivered"} for one in waiting[:2000]]
    for one in ended:
        del one["lane"], one["next_at"]
    await mongo["deliveries"].insert_many(ended, ordered=False)
    yield DeliveryStore(mongo)
    await mongo.close()


def delivery(endpoint: str, n: int) -> dict[str, Any]:
    """Due n seconds before NOW."""
    task = {"_id": f"task_{n:06}", "account": "acme", "workflow": "tax", "events": {"succeeded": 1}}
    return delivery_document(task, endpoint, Event("succeeded"), body="{}", at=NOW - timedelta(seconds=n))


async def profiled(store: DeliveryStore) -> list[dict[str, Any]]:
    """What ran since the profiler was switched on."""
    await store.mongo.db.command("profile", 0)
    rows = await store.mongo.db["system.profile"].find({}).to_list(None)
    return [row for row in rows if row["ns"].endswith(".deliveries")]


async def test_a_look_and_a_turn_read_no_lane_that_is_closed(store: DeliveryStore) -> None:
    await store.mongo.db.command("profile", 2)
    lanes = await store.lanes_due(NOW)
    (mine,) = await store.due("acme/quick", NOW, 4)
    await store.live_of_tasks("acme/quick", [mine["task"]])
    assert await store.claim(mine, "delivery-1", NOW, 30, "claim_1")
    rows = await profiled(store)
    assert [lane for lane, _ in lanes] == ["acme/dead", "acme/slow", "acme/quick"]
    assert len(rows) == 4
    for row in rows:
        said = {key: row.get(key) for key in ("op", "planSummary", "keysExamined", "docsExamined", "command")}
        assert "COLLSCAN" not in (row.get("planSummary") or ""), said
        assert (row.get("docsExamined") or 0) <= READ_MAX, said
        assert (row.get("keysExamined") or 0) <= READ_MAX, said
    look = next(row for row in rows if "aggregate" in row["command"])
    assert "DISTINCT_SCAN" in look["planSummary"]
    assert await store.due("acme/quick", NOW, 4) == [], "what is claimed is due when its claim ends"


async def test_what_an_instance_had_claimed_is_found_by_index(store: DeliveryStore) -> None:
    (mine,) = await store.due("acme/quick", NOW, 4)
    await store.claim(mine, "delivery-1", NOW, 30, "claim_1")
    await store.mongo.db.command("profile", 2)
    assert await store.release_own("delivery-1", NOW) == 1
    (row,) = await profiled(store)
    assert ((row.get("docsExamined") or 0), "IXSCAN" in row["planSummary"]) == (1, True)
    assert len(await store.due("acme/quick", NOW, 4)) == 1


async def test_deliveries_of_an_earlier_version_are_adopted(store: DeliveryStore) -> None:
    old = {**delivery("quick", 7), "_id": "old"}
    del old["lane"]
    await store.mongo["deliveries"].insert_one(old)
    assert await store.adopt() == 1
    assert "old" in [one["_id"] for one in await store.due("acme/quick", NOW, 9)]
    assert await store.adopt() == 0
