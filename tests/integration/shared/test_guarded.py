"""Writes that take effect once, on the real database."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pymongo.errors import AutoReconnect, BulkWriteError, OperationFailure

from shared.errors import TemporaryError
from shared.mongo import Mongo
from shared.mongo import guarded as guarded_module
from shared.mongo.audit import audit
from shared.mongo.guarded import guarded_update, in_transaction, insert_new, insert_once


class Flaky:
    """A collection whose calls work and then lose their answer, or fail before, as often as told."""

    def __init__(self, collection: Any, *, method: str, error: Exception, before: bool = False, times: int = 1) -> None:
        self._collection = collection
        self._method = method
        self._error = error
        self._before = before
        self._times = times
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._collection, name)
        if name != self._method:
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            fails = self.calls <= self._times
            if fails and self._before:
                raise self._error
            answer = await found(*args, **kwargs)
            if fails:
                raise self._error
            return answer

        return call


async def test_insert_once(mongo: Mongo) -> None:
    assert await insert_once(mongo["runs"], {"_id": "r1", "n": 1})
    assert not await insert_once(mongo["runs"], {"_id": "r1", "n": 2})
    assert await mongo["runs"].find_one({"_id": "r1"}) == {"_id": "r1", "n": 1}


async def test_of_many_inserts_exactly_one_wins(mongo: Mongo) -> None:
    won = await asyncio.gather(*(insert_once(mongo["runs"], {"_id": "r1", "n": n}) for n in range(20)))
    assert won.count(True) == 1
    assert (await mongo["runs"].find_one({"_id": "r1"}))["n"] == won.index(True)


async def test_insert_whose_answer_was_lost_counts_as_mine(mongo: Mongo) -> None:
    flaky: Any = Flaky(mongo["runs"], method="insert_one", error=AutoReconnect("lost"))
    assert await insert_once(flaky, {"_id": "r1", "n": 1})
    assert flaky.calls == 2


async def test_insert_after_a_lost_answer_sees_that_another_won(mongo: Mongo) -> None:
    await insert_once(mongo["runs"], {"_id": "r1", "n": 2})
    flaky: Any = Flaky(mongo["runs"], method="insert_one", error=AutoReconnect("lost"), before=True)
    assert not await insert_once(flaky, {"_id": "r1", "n": 1})


async def test_new_ones_are_inserted_beside_those_that_stand(mongo: Mongo) -> None:
    assert await insert_new(mongo["tasks"], [{"_id": "a", "n": 1}, {"_id": "b", "n": 1}])
    assert not await insert_new(mongo["tasks"], [{"_id": "b", "n": 2}, {"_id": "c", "n": 2}])
    assert [one["n"] async for one in mongo["tasks"].find().sort("_id")] == [1, 1, 2]


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    "error",
    [
        AutoReconnect("lost"),
        BulkWriteError({"writeErrors": [{"index": 0, "code": 189}, {"index": 1, "code": 11000}]}),
        BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64}]}),
    ],
)
async def test_inserts_of_many_go_on_over_a_change_of_the_primary(mongo: Mongo, error: Exception, before: bool) -> None:
    flaky: Any = Flaky(mongo["tasks"], method="insert_many", error=error, before=before)
    flaky.name = "tasks"
    assert await insert_new(flaky, [{"_id": "a"}, {"_id": "b"}]) is before  # its own from before count as there
    assert await mongo["tasks"].count_documents({}) == 2


async def test_a_document_that_is_refused_is_no_duplicate(mongo: Mongo) -> None:
    refused = BulkWriteError({"writeErrors": [{"index": 0, "code": 121, "errmsg": "Document failed validation"}]})
    flaky: Any = Flaky(mongo["tasks"], method="insert_many", error=refused, before=True)
    flaky.name = "tasks"
    with pytest.raises(BulkWriteError):
        await insert_new(flaky, [{"_id": "a"}])


async def test_update_is_applied_when_the_state_is_as_expected(mongo: Mongo) -> None:
    await insert_once(mongo["tasks"], {"_id": "t1", "state": "queued", "n": 0})
    done = await guarded_update(mongo["tasks"], "t1", {"state": "queued"}, {"$set": {"state": "running"}}, op="op1")
    assert done.applied
    assert done.document == {"_id": "t1", "state": "running", "n": 0, "op": "op1"}


async def test_repeated_operation_is_applied_once_and_says_so_twice(mongo: Mongo) -> None:
    await insert_once(mongo["tasks"], {"_id": "t1", "state": "queued", "n": 0})
    for _ in range(3):
        update = {"$set": {"state": "running"}, "$inc": {"n": 1}}
        done = await guarded_update(mongo["tasks"], "t1", {"state": "queued"}, update, op="op1")
        assert done.applied
        assert done.document is not None
        assert done.document["n"] == 1


async def test_another_state_is_not_overwritten(mongo: Mongo) -> None:
    await insert_once(mongo["tasks"], {"_id": "t1", "state": "cancelled", "op": "other"})
    done = await guarded_update(mongo["tasks"], "t1", {"state": "queued"}, {"$set": {"state": "running"}}, op="op1")
    assert not done.applied
    assert done.document == {"_id": "t1", "state": "cancelled", "op": "other"}
    gone = await guarded_update(mongo["tasks"], "none", {}, {"$set": {"state": "running"}}, op="op1")
    assert (gone.applied, gone.document) == (False, None)


async def test_of_concurrent_writers_exactly_one_wins(mongo: Mongo) -> None:
    await insert_once(mongo["tasks"], {"_id": "t1", "token": 0, "n": 0})
    for token in range(5):
        update = {"$inc": {"token": 1, "n": 1}}
        done = await asyncio.gather(
            *(guarded_update(mongo["tasks"], "t1", {"token": token}, update, op=f"op{token}-{n}") for n in range(12))
        )
        assert sum(each.applied for each in done) == 1
    assert (await mongo["tasks"].find_one({"_id": "t1"}))["n"] == 5


@pytest.mark.parametrize(
    "error", [AutoReconnect("lost"), *(OperationFailure("x", code) for code in (91, 189, 10107, 11600, 11602, 64))]
)
@pytest.mark.parametrize("before", [True, False])
async def test_ambiguous_error_ends_in_one_application(mongo: Mongo, error: Exception, before: bool) -> None:
    await insert_once(mongo["tasks"], {"_id": "t1", "state": "queued", "n": 0})
    flaky: Any = Flaky(mongo["tasks"], method="find_one_and_update", error=error, before=before, times=1)
    # the filter still matches after the first application: only the operation id tells that it worked
    done = await guarded_update(flaky, "t1", {"state": "queued"}, {"$inc": {"n": 1}}, op="op1")
    assert done.applied
    assert (await mongo["tasks"].find_one({"_id": "t1"}))["n"] == 1


async def test_database_that_stays_away_is_temporary(mongo: Mongo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded_module, "RETRY_S", 0.3)
    flaky: Any = Flaky(
        mongo["tasks"], method="find_one_and_update", error=AutoReconnect("away"), before=True, times=999
    )
    with pytest.raises(TemporaryError, match="away"):
        await guarded_update(flaky, "t1", {}, {"$set": {"a": 1}}, op="op1")


async def test_error_that_is_no_transport_comes_through(mongo: Mongo) -> None:
    with pytest.raises(OperationFailure):
        await guarded_update(mongo["tasks"], "t1", {"$nonsense": 1}, {"$set": {"a": 1}}, op="op1")


async def test_transaction_is_all_or_nothing(mongo: Mongo) -> None:
    await insert_once(mongo["tasks"], {"_id": "t1", "state": "queued"})

    async def open_run(session: Any) -> str:
        await insert_once(mongo["runs"], {"_id": "r1"}, session=session)
        done = await guarded_update(
            mongo["tasks"], "t1", {"state": "queued"}, {"$set": {"state": "running"}}, op="o", session=session
        )
        if not done.applied:
            raise ValueError("taken")
        return "r1"

    await mongo.db.create_collection("runs")
    assert await in_transaction(mongo, open_run) == "r1"
    await mongo["runs"].delete_many({})
    await mongo["tasks"].update_one({"_id": "t1"}, {"$set": {"op": "another"}})
    with pytest.raises(ValueError, match="taken"):
        await in_transaction(mongo, open_run)
    assert await mongo["runs"].count_documents({}) == 0


async def test_transactions_that_conflict_are_tried_again(mongo: Mongo) -> None:
    await insert_once(mongo["runs"], {"_id": "r1", "n": 0})

    async def count(session: Any) -> None:
        found = await mongo["runs"].find_one({"_id": "r1"}, session=session)
        await mongo["runs"].update_one({"_id": "r1"}, {"$set": {"n": found["n"] + 1}}, session=session)

    await asyncio.gather(*(in_transaction(mongo, count) for _ in range(6)))
    assert (await mongo["runs"].find_one({"_id": "r1"}))["n"] == 6


@pytest.mark.slow
async def test_database_killed_in_the_middle_of_writes(own_servers) -> None:
    mongo = Mongo(own_servers.mongo_url, "faults")
    await insert_once(mongo["runs"], {"_id": "r1", "n": 0})
    killed = asyncio.Event()

    async def write() -> int:
        for n in range(1, 400):
            update = {"$inc": {"n": 1}}
            done = await guarded_update(mongo["runs"], "r1", {"n": n - 1}, update, op=f"op{n}")
            assert done.applied, n
            if n == 30:
                killed.set()
        return n

    writing = asyncio.create_task(write())
    await killed.wait()
    await asyncio.to_thread(own_servers.restart, "database")
    assert await writing == 399
    assert (await mongo["runs"].find_one({"_id": "r1"}))["n"] == 399
    await mongo.close()


async def test_audit_is_kept(mongo: Mongo) -> None:
    await audit(mongo, by="anna", action="worker.authorise", target="0a0b", account="acme", details={"why": "new"})
    entry = await mongo["audit"].find_one({})
    assert entry is not None
    assert (entry["by"], entry["action"], entry["target"], entry["details"]) == (
        "anna",
        "worker.authorise",
        "0a0b",
        {"why": "new"},
    )
