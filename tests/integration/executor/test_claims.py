"""Claiming a run on the real database: however often and by whom it is tried at once, one call has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from services.executor.store import ExecutorStore
from shared.mongo import Mongo
from shared.seal import Sealer

RUN = {"_id": "run_1", "state": "opened", "executor": None, "token": 0, "pending": {"to": "executor"}}


@pytest.fixture
async def store(mongo_url: str, mongo_db: str) -> AsyncIterator[ExecutorStore]:
    """An executor's store on an empty database."""
    mongo = Mongo(mongo_url, mongo_db)
    yield ExecutorStore(mongo, Sealer(bytes(range(32))))
    await mongo.close()


async def test_a_hint_that_comes_twice_at_once_claims_a_run_once(store: ExecutorStore) -> None:
    """The same executor, the same run as it was read, ten calls at once: two jobs for one run would both go on."""
    await store.mongo["runs"].insert_one(dict(RUN))
    claimed = await asyncio.gather(*(store.claim(dict(RUN), "executor-1") for _ in range(10)))
    (mine,) = [run for run in claimed if run is not None]
    assert (mine["executor"], mine["token"], mine["pending"]) == ("executor-1", 1, None)


async def test_of_several_executors_one_gets_the_run(store: ExecutorStore) -> None:
    await store.mongo["runs"].insert_one(dict(RUN))
    claimed = await asyncio.gather(*(store.claim(dict(RUN), f"executor-{n}") for n in range(10)))
    (mine,) = [run for run in claimed if run is not None]
    found = await store.mongo["runs"].find_one({"_id": "run_1"}) or {}
    assert (found["executor"], found["token"]) == (mine["executor"], 1)
