"""The MongoDB double is proven on the real server: the same operations, drawn at random, give the same on both.

What is drawn are the shapes that this program uses: filters over nested fields, arrays and missing values, updates by
operators and by pipelines, sorted and limited reads, counts, aggregations, unique keys, and transactions that meet.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from shared.mongo import Mongo as RealMongo
from shared.mongo.indexes import apply_indexes
from tests.sim.database import Mongo
from tests.sim.server import Server
from tests.sim.travel import Faults, Life, Travel, never

AT = datetime(2026, 3, 2, 9, 0, 0, tzinfo=UTC)
COLLECTION = "tasks"
Operation = tuple[Any, ...]

plain = st.sampled_from([None, True, False, 0, 1, 2, -3, 1.5, "", "a", "b", AT, AT + timedelta(hours=1), b"x"])
inner = st.dictionaries(st.sampled_from(["run", "to", "n"]), plain, max_size=3)
items = st.lists(st.fixed_dictionaries({"task": st.sampled_from(["a", "b", "c"]), "n": st.integers(0, 2)}), max_size=3)
FIELDS = st.sampled_from(["state", "n", "at", "name"])


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """A document such as tasks and runs are."""
    made: dict[str, Any] = {"_id": draw(st.sampled_from("abcdef"))}
    for name in ("state", "name"):
        if draw(st.booleans()):
            made[name] = draw(plain)
    if draw(st.booleans()):
        made["n"] = draw(st.integers(-2, 3))
    if draw(st.booleans()):
        made["at"] = draw(st.sampled_from([AT, AT + timedelta(hours=1), None]))
    if draw(st.booleans()):
        made["held"] = draw(st.one_of(st.none(), inner))
    if draw(st.booleans()):
        made["tasks"] = draw(items)
    if draw(st.booleans()):
        made["tags"] = draw(st.lists(st.sampled_from(["a", "b", 1, None]), max_size=3))
    made.update(account=draw(st.sampled_from(["x", "y"])), workflow="w", reference=draw(st.sampled_from("123456")))
    return made


comparisons = st.one_of(
    st.builds(lambda op, value: {op: value}, st.sampled_from(["$gt", "$gte", "$lt", "$lte"]),
              st.sampled_from([0, 1, 1.5, "", "a", AT, True])),
    st.builds(lambda op, values: {op: values}, st.sampled_from(["$in", "$nin"]), st.lists(plain, max_size=3)),
    st.builds(lambda value: {"$ne": value}, plain),
    st.builds(lambda value: {"$exists": value}, st.booleans()),
    st.builds(lambda value: {"$type": value}, st.sampled_from(["string", "date", "null", "array"])),
    st.just({"$gte": 0, "$lt": 2}),
)  # fmt: skip
conditions = st.one_of(plain, comparisons)
paths = st.sampled_from(["state", "name", "n", "at", "held", "held.run", "held.to", "tasks.task", "tasks.n", "tags"])


@st.composite
def queries(draw: st.DrawFn) -> dict[str, Any]:
    """A filter."""
    made = {path: draw(conditions) for path in draw(st.lists(paths, max_size=2, unique=True))}
    if draw(st.integers(0, 3)) == 0:
        made["_id"] = draw(st.sampled_from(["a", "b", {"$in": ["a", "c"]}, {"$gte": "b", "$lt": "e"}]))
    if draw(st.integers(0, 4)) == 0:
        made["$or"] = [{draw(paths): draw(conditions)}, {draw(paths): draw(conditions)}]
    if draw(st.integers(0, 5)) == 0:
        made["tasks"] = {"$elemMatch": {"task": "a", "n": draw(st.integers(0, 2))}}
    return made


@st.composite
def updates(draw: st.DrawFn) -> Any:
    """An update, by operators or by a pipeline."""
    if draw(st.integers(0, 3)) == 0:
        return draw(pipelines())
    made: dict[str, Any] = {"$set": {draw(st.sampled_from(["state", "name", "held.run", "seen.at"])): draw(plain)}}
    if draw(st.booleans()):
        made["$inc"] = {draw(st.sampled_from(["n", "events.done"])): draw(st.integers(-1, 2))}
    if draw(st.booleans()):
        made["$push"] = {
            "history": {"$each": [{"n": draw(st.integers(0, 9))}], "$slice": draw(st.sampled_from([-2, 2]))}
        }
    if draw(st.booleans()):
        made["$max"] = {draw(st.sampled_from(["most", "seen.most"])): draw(plain)}
    if draw(st.booleans()):
        made["$unset"] = {draw(st.sampled_from(["tags", "at", "held.n"])): ""}
    if draw(st.booleans()):
        made["$setOnInsert"] = {"made": True}
    return made


@st.composite
def pipelines(draw: st.DrawFn) -> list[dict[str, Any]]:
    """An update by pipeline, of the kinds in use."""
    number = {"$ifNull": ["$n", 0]}
    fields: dict[str, Any] = draw(st.sampled_from([
        {"n": {"$add": [number, 1]}},
        {"held": {"run": "r", "n": {"$add": [number, 1]}}},
        {"history": {"$slice": [{"$concatArrays": [{"$ifNull": ["$history", []]}, [{"n": number}]]}, -2]}},
        {"counted": {"$ifNull": ["$held", {"run": "$name"}]}},
        {"at": {"$add": [AT, {"$toLong": {"$min": [5000, {"$multiply": [1000, {"$pow": [2, number]}]}]}}]}},
        {"n": {"$max": [number, 1.5]}, "name": "$state"},
        {"x": {"$subtract": [1, {"$divide": [1, {"$add": [{"$ifNull": ["$events.done", 3]}, 9]}]}]}},
        {"y": {"$or": [{"$lte": ["$at", AT]}, {"$gt": ["$n", 1]}]}, "z": {"$gte": ["$name", "a"]}},
    ]))  # fmt: skip
    return [{"$set": fields}, *([{"$unset": "tags"}] if draw(st.booleans()) else [])]


SORTS = st.sampled_from([None, [("_id", 1)], [("_id", -1)], [("n", 1), ("_id", 1)], [("at", -1), ("_id", 1)],
                         [("state", 1), ("_id", -1)], [("held.run", 1), ("_id", 1)]])  # fmt: skip
SHOWN = st.sampled_from([None, {"_id": 1}, {"state": 1}, {"held.run": 1, "n": 1}, {"tasks.task": 1}, {"tags": 0},
                         {"n": 1, "free": {"$or": [{"$lte": ["$n", 1]}, {"$gt": ["$at", AT]}]}}])  # fmt: skip
AGGREGATES = st.sampled_from([
    [{"$match": {"state": {"$gt": ""}}}, {"$sort": {"state": 1, "_id": 1}},
     {"$group": {"_id": "$state", "first": {"$first": "$_id"}, "n": {"$first": "$n"}}}],
    [{"$group": {"_id": {"a": "$account", "s": "$state"}, "n": {"$sum": 1}}}],
    [{"$match": {"held.run": {"$gt": ""}}}, {"$group": {"_id": "$held.run"}}, {"$limit": 9}],
])  # fmt: skip
BY_ID = st.builds(lambda id, more: {**more, "_id": id}, st.sampled_from("abcdef"), queries())

operations = st.one_of(
    st.tuples(st.just("insert"), documents()),
    st.tuples(st.just("insert"), documents()),
    st.tuples(st.just("find"), queries(), SHOWN, SORTS.filter(bool), st.integers(0, 3)),
    st.tuples(st.just("update_one"), BY_ID, updates(), st.booleans()),
    st.tuples(st.just("update_many"), queries(), updates()),
    st.tuples(st.just("find_one_and_update"), BY_ID, updates(), st.booleans()),
    st.tuples(st.just("first_and_update"), queries(), updates(), SORTS.filter(bool)),
    st.tuples(st.just("positional"), st.sampled_from("abc")),
    st.tuples(st.just("count"), queries(), st.integers(0, 2)),
    st.tuples(st.just("distinct"), st.sampled_from(["state", "tags", "held.run", "tasks.task"]), queries()),
    st.tuples(st.just("aggregate"), AGGREGATES),
    st.tuples(st.just("bulk"), st.lists(st.tuples(BY_ID, updates()), min_size=1, max_size=3)),
    st.tuples(st.just("delete"), BY_ID),
)


def double() -> Mongo:
    """The double, without faults."""
    return Mongo(Server(), Travel(Life("test", never), Faults(slow=0.0), random.Random(1), None))


@pytest.fixture(scope="module")
async def real(servers: Any) -> AsyncIterator[RealMongo]:
    """The real one, with the indexes of this program."""
    mongo = RealMongo(servers.mongo, "test_sim_double")
    await mongo.client.drop_database("test_sim_double")
    await apply_indexes(mongo)
    yield mongo
    await mongo.client.drop_database("test_sim_double")
    await mongo.close()


@given(st.lists(operations, min_size=1, max_size=25))
@settings(
    max_examples=150,
    phases=[Phase.reuse, Phase.generate],  # to shrink what differs takes many minutes with a real server
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
async def test_the_same_operations_do_the_same(real: RealMongo, drawn: list[Operation]) -> None:
    await real[COLLECTION].delete_many({})
    other = double()
    for n, operation in enumerate(drawn):
        one, two = await outcome(real, operation), await outcome(other, operation)
        assert one == two, f"{drawn[:n]}, then {operation}: the server {one}, the double {two}"
    stored = await real[COLLECTION].find({}, sort=[("_id", 1)]).to_list(None)
    doubled = await other[COLLECTION].find({}, sort=[("_id", 1)]).to_list(None)
    assert [list(document.items()) for document in doubled] == [list(document.items()) for document in stored]


async def outcome(mongo: Any, operation: Operation) -> Any:
    """What an operation answers, or the kind of its error."""
    try:
        return await performed(mongo[COLLECTION], operation)
    except DuplicateKeyError:
        return "duplicate key"
    except PyMongoError:
        return "error"  # which of several complaints comes first is the server's affair; no code of ours reads it


async def performed(collection: Any, operation: Operation) -> Any:
    """One operation on whichever of the two."""
    match operation:
        case ("insert", document):
            await collection.insert_one(dict(document))
            return "inserted"
        case ("find", query, shown, sort, limit):
            return await collection.find(query, shown).sort(sort).limit(limit).to_list(None)
        case ("update_one", query, update, upsert):
            plain_query = {"_id": query["_id"]} if upsert else query
            done = await collection.update_one(plain_query, unclashing(update, upsert), upsert=upsert)
            return (done.matched_count, done.modified_count, done.upserted_id)
        case ("update_many", query, update):
            done = await collection.update_many(query, update)
            return (done.matched_count, done.modified_count)
        case ("find_one_and_update", query, update, after):
            way = ReturnDocument.AFTER if after else ReturnDocument.BEFORE
            return await collection.find_one_and_update(query, update, return_document=way)
        case ("first_and_update", query, update, sort):
            return await collection.find_one_and_update(query, update, sort=sort, return_document=ReturnDocument.AFTER)
        case ("positional", task):
            return await positional(collection, task)
        case ("count", query, limit):
            return await collection.count_documents(query, **({"limit": limit} if limit else {}))
        case ("distinct", key, query):
            return sorted(await collection.distinct(key, query), key=repr)
        case ("aggregate", stages):
            cursor = await collection.aggregate(stages)
            return sorted(await cursor.to_list(None), key=repr)
        case ("bulk", writes):
            done = await collection.bulk_write([UpdateOne(*one) for one in writes], ordered=False)
            return (done.matched_count, done.modified_count)
        case ("delete", query):
            return (await collection.delete_one(query)).deleted_count
    raise AssertionError(operation)


def unclashing(update: Any, upsert: bool) -> Any:
    """An upsert by this program never makes a task: the reference keeps the unique key from clashing."""
    if not upsert or isinstance(update, list):
        return update
    return {**update, "$setOnInsert": {"made": True, "account": "u", "workflow": "w"}}


async def positional(collection: Any, task: str) -> Any:
    """The element of an array that a filter found, both ways."""
    set_it = {"$set": {"tasks.$.state": "ended"}}
    one = await collection.find_one_and_update({"_id": "a", "tasks.task": task}, set_it, return_document=True)
    match = {"_id": "b", "tasks": {"$elemMatch": {"task": task, "n": 1}}}
    return one, await collection.find_one_and_update(match, set_it, return_document=True)


# transactions


async def both(real: RealMongo, play: Callable[[Any], Awaitable[Any]]) -> None:
    """Play the same on both, beginning with two documents."""
    said = []
    for mongo in (real, double()):
        collection = mongo[COLLECTION]
        await collection.delete_many({})
        for id in ("a", "b"):
            await collection.insert_one({"_id": id, "account": "x", "workflow": "w", "reference": id, "n": 0})
        said.append((await play(mongo), await collection.find({}, sort=[("_id", 1)]).to_list(None)))
    assert said[0] == said[1]


async def begun(mongo: Any) -> tuple[Any, Any]:
    session = mongo.client.start_session()
    return session, await session.start_transaction(read_concern=ReadConcern("snapshot"))


async def test_a_transaction_reads_its_snapshot_and_its_own_writes(real: RealMongo) -> None:
    async def play(mongo: Any) -> Any:
        collection, said = mongo[COLLECTION], []
        session, block = await begun(mongo)
        async with block:
            said.append(await collection.find_one({"_id": "a"}, session=session))
            await collection.update_one({"_id": "b"}, {"$inc": {"n": 5}})  # by somebody else
            await collection.update_one({"_id": "a"}, {"$inc": {"n": 1}}, session=session)
            said.append(await collection.find({}, session=session, sort=[("_id", 1)]).to_list(None))
            said.append(await collection.find_one({"_id": "a"}))
            said.append(await collection.count_documents({"n": {"$gt": 0}}, session=session))
        await session.end_session()
        return said

    await both(real, play)


async def test_who_writes_second_in_a_transaction_meets_a_conflict(real: RealMongo) -> None:
    async def play(mongo: Any) -> Any:
        collection = mongo[COLLECTION]
        one, first = await begun(mongo)
        two, second = await begun(mongo)
        async with first:
            await collection.update_one({"_id": "a"}, {"$set": {"n": 1}}, session=one)
            with pytest.raises(OperationFailure) as told:
                async with second:
                    await collection.update_one({"_id": "a"}, {"$set": {"n": 2}}, session=two)
        await one.end_session()
        await two.end_session()
        return told.value.code, told.value.has_error_label("TransientTransactionError")

    await both(real, play)


async def test_what_was_committed_after_the_snapshot_is_a_conflict(real: RealMongo) -> None:
    async def play(mongo: Any) -> Any:
        collection = mongo[COLLECTION]
        session, block = await begun(mongo)
        with pytest.raises(OperationFailure) as told:  # noqa: PT012 - it may come with the write or the commit
            async with block:
                await collection.find_one({"_id": "b"}, session=session)
                await collection.update_one({"_id": "a"}, {"$set": {"n": 7}})
                await collection.update_one({"_id": "a"}, {"$set": {"n": 8}}, session=session)
        await session.end_session()
        return told.value.code, told.value.has_error_label("TransientTransactionError")

    await both(real, play)


async def test_a_duplicate_ends_a_transaction(real: RealMongo) -> None:
    async def play(mongo: Any) -> Any:
        collection, codes = mongo[COLLECTION], []
        session, block = await begun(mongo)
        try:
            async with block:
                await collection.update_one({"_id": "a"}, {"$set": {"n": 7}}, session=session)
                with pytest.raises(DuplicateKeyError):
                    await collection.insert_one({"_id": "b"}, session=session)
                await collection.update_one({"_id": "a"}, {"$set": {"n": 8}}, session=session)
        except OperationFailure as error:
            codes.append(error.code)
        await session.end_session()
        return codes

    await both(real, play)


async def test_a_plain_write_waits_for_the_transaction_that_holds_the_document(real: RealMongo) -> None:
    async def play(mongo: Any) -> Any:
        collection = mongo[COLLECTION]
        session, block = await begun(mongo)
        async with block:
            await collection.update_one({"_id": "a"}, {"$inc": {"n": 1}}, session=session)
            write = asyncio.create_task(collection.update_one({"_id": "a", "n": 1}, {"$inc": {"n": 10}}))
            done, _ = await asyncio.wait({write}, timeout=0.3)
        await write
        await session.end_session()
        return len(done), write.result().matched_count

    await both(real, play)


async def test_a_killed_session_ends_its_transaction(real: RealMongo) -> None:
    async def play(mongo: Any) -> Any:
        collection = mongo[COLLECTION]
        session, block = await begun(mongo)
        with pytest.raises(OperationFailure) as told:  # noqa: PT012 - it may come with the write or the commit
            async with block:
                await collection.update_one({"_id": "a"}, {"$inc": {"n": 1}}, session=session)
                await mongo.client.admin.command({"killSessions": [{"id": session.session_id["id"]}]})
                await collection.update_one({"_id": "b"}, {"$inc": {"n": 1}}, session=session)
        await session.end_session()
        return told.value.has_error_label("TransientTransactionError")

    await both(real, play)
