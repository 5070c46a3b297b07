"""Indexes as data: applied, rebuilt when changed, used by the queries that they are for."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from pymongo.errors import DuplicateKeyError

from shared.mongo import Mongo, indexes
from shared.mongo.indexes import COLLECTIONS, INDEXES, apply_indexes
from shared.obs.clock import now


async def described(mongo: Mongo, collection: str) -> dict[str, Any]:
    return {index["name"]: index async for index in await mongo[collection].list_indexes()}


async def test_all_are_there_after_several_services_applied_them_at_once(mongo: Mongo) -> None:
    await asyncio.gather(*(apply_indexes(mongo) for _ in range(3)))
    assert set(await mongo.db.list_collection_names()) == set(COLLECTIONS)
    for index in INDEXES:
        found = await described(mongo, index.collection)
        assert index.matches(found[index.named]), index


async def test_changed_and_renamed_ones_are_rebuilt_and_foreign_ones_stay(
    mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = tuple(index for index in INDEXES if index.collection == "sessions")
    monkeypatch.setattr(indexes, "INDEXES", chosen)
    await apply_indexes(mongo)
    await mongo["sessions"].create_index("foreign", name="foreign")
    ttl = next(index for index in chosen if index.expire_after_s is not None)
    user = next(index for index in chosen if index is not ttl)
    changed = (replace(ttl, expire_after_s=60), replace(user, name="renamed"))
    monkeypatch.setattr(indexes, "INDEXES", changed)
    await apply_indexes(mongo)
    found = await described(mongo, "sessions")
    assert found["ttl"]["expireAfterSeconds"] == 60
    assert set(found) == {"_id_", "ttl", "renamed", "foreign"}


async def test_reference_is_unique_and_results_are_numbered_once(mongo: Mongo) -> None:
    await apply_indexes(mongo)
    task = {"account": "a", "workflow": "w", "reference": "1"}
    await mongo["tasks"].insert_one({"_id": "t1", **task})
    with pytest.raises(DuplicateKeyError):
        await mongo["tasks"].insert_one({"_id": "t2", **task})
    await mongo["results"].insert_many([{"_id": "r0", "account": "a"}, {"_id": "r1", "account": "a"}])
    await mongo["results"].insert_one({"_id": "r2", "account": "a", "n": 1})
    with pytest.raises(DuplicateKeyError):
        await mongo["results"].insert_one({"_id": "r3", "account": "a", "n": 1})


QUERIES: tuple[tuple[str, dict[str, Any], list[tuple[str, int]] | None, str], ...] = (
    ("tasks", {"queue.list": "a/w/1"}, [("queue.rank", 1), ("_id", 1)], "queue"),
    ("tasks", {"pending.to": "scheduler", "pending.due_at": {"$lte": now()}}, [("pending.due_at", 1)], "pending"),
    ("tasks", {"state": "queued", "deadline": {"$lte": now()}}, [("deadline", 1)], "deadline"),
    ("tasks", {"state": "queued", "not_before": {"$lte": now()}}, [("not_before", 1)], "delayed"),
    ("tasks", {"held_by.run": "run_1"}, None, "held_by"),
    ("runs", {"executor": "executor-1", "state": {"$in": ["executing", "opened"]}}, None, "live"),
    ("runs", {"pending.to": "executor", "pending.due_at": {"$lte": now()}}, [("pending.due_at", 1)], "pending"),
    ("commands", {"to": "x", "state": "pending", "due_at": {"$lte": now()}}, [("due_at", 1)], "pending"),
    ("logs", {"worker": "0a"}, [("at", -1), ("_id", -1)], "worker"),
    ("logs", {}, [("at", -1), ("_id", -1)], "at"),
    ("results", {"account": "a", "n": {"$gt": 5}}, [("n", 1)], "feed"),
    ("deliveries", {"lane": "acme/hook", "next_at": {"$lte": now()}}, [("next_at", 1)], "lane"),
    ("deliveries", {"collect": True, "account": "a", "endpoint": "e"}, [("created_at", 1), ("_id", 1)], "collect"),
    ("deliveries", {"file": {"$eq": "file_1", "$type": "string"}, "state": {"$in": ["pending"]}}, [], "file"),
    ("deliveries", {"told": {"$exists": True}, "$expr": {"$ne": ["$told", "$state"]}}, [], "told"),
    (
        "tasks",
        {"account": "a", "finished_at": {"$lt": now(), "$type": "date"}, "state": {"$in": ["failed"]}},
        [("finished_at", 1), ("_id", 1)],
        "ended",
    ),
    ("tasks", {"account": "a", "erased.erasure": "erasure_1"}, [], "erased"),
    ("runs", {"account": "a", "finished_at": {"$lt": now(), "$type": "date"}}, [("finished_at", 1)], "ended"),
    ("evidence_links", {"account": "a", "dropped": False, "at": {"$lt": now()}}, [("at", 1), ("_id", 1)], "age"),
    ("evidence", {"unused_since": {"$lt": now(), "$type": "date"}}, [], "unused"),
    ("archive_tasks", {"account": "a", "archived_at": {"$lt": now()}}, [("archived_at", 1), ("_id", 1)], "age"),
    ("archive_tasks", {"account": "a", "doomed_at": {"$type": "date"}}, [], "doomed"),
)


async def test_queries_can_use_their_indexes_and_sort_nothing(mongo: Mongo) -> None:
    await apply_indexes(mongo)
    for collection, query, sort, name in QUERIES:
        cursor = mongo[collection].find(query)
        plan = (await (cursor.sort(sort) if sort else cursor).explain())["queryPlanner"]
        # among empty indexes the planner's choice is arbitrary; that it considers ours is what counts
        assert f"'indexName': '{name}'" in str([plan["winningPlan"], plan["rejectedPlans"]]), (collection, query)
        assert "'stage': 'SORT'" not in str(plan["winningPlan"]), (collection, query)
