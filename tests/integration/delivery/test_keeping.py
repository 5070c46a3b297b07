"""Archiving, deletion, legal holds, erasure: on the real database, dying at every write."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from gridfs.asynchronous import AsyncGridFSBucket
from pymongo import MongoClient

from services.executor.evidence import EvidenceStore
from shared.contracts.messages import Evidence
from shared.mongo import Mongo, holds, tombstones
from shared.mongo.indexes import apply_indexes
from tests.integration.delivery.keeping_ground import (
    OLD,
    SECRET,
    Died,
    DyingMongo,
    Keeper,
    ask_erasure,
    everything,
    old_task,
    old_tasks,
    picture,
)

NOW = datetime.now(UTC)
STRIDE = 1 if os.environ.get("REGENTE_SOAK") else 3
"""Every so many writes a process dies; 1 in `make soak`."""


@pytest.fixture(scope="module")
def mongo_db(servers: Any) -> Iterator[str]:
    """The name of this module's database: making all indexes for each test would take longer than the tests."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    yield name
    with MongoClient[dict[str, Any]](servers.mongo) as client:
        client.drop_database(name)


@pytest.fixture
async def mongo(mongo_url: str, mongo_db: str) -> AsyncIterator[Mongo]:
    """The database, empty."""
    made = Mongo(mongo_url, mongo_db)
    if not await made.db.list_collection_names():
        await apply_indexes(made)
    for name in await made.db.list_collection_names():
        await made.db[name].delete_many({})
    yield made
    await made.close()


async def dying(mongo_url: str, mongo_db: str, n: int, work: Any) -> bool:
    """Let a process do something and die around its n-th write; false when it had ended before that.

    At odd ones before the write, at even ones after it, before its answer is heard; so both happen everywhere, since
    neighbours do much the same.
    """
    made = DyingMongo(mongo_url, mongo_db)
    made.die_at, made.before = n, n % 2 == 1
    try:
        await work(Keeper(made))
    except Died:
        return True
    finally:
        await made.close()
    return False


async def hold(mongo: Mongo, account: str, **scope: Any) -> str:
    id = f"hold_{account}_{len(scope)}"
    whole = {"workflow": None, "task": None, "reference": None, **scope}
    await holds.place(mongo, {"_id": id, "account": account, "reason": "court", "by": "ann", "at": NOW, **whole})
    return id


def ids(found: dict[str, set[str]], archived: bool) -> dict[str, set[str]]:
    """The ids on one side."""
    return {
        name.removeprefix("archive_"): of
        for name, of in found.items()
        if of and name.startswith("archive_") == archived
    }


async def test_what_is_old_moves_to_the_archive_whole_and_its_references_stay_taken(mongo: Mongo) -> None:
    for n in range(3):
        await old_task(mongo, "acme", n)
    await old_task(mongo, "acme", 9, finished_at=NOW)
    before = await everything(mongo, "acme")
    keeper = Keeper(mongo)
    await keeper.archive_all("acme", NOW - timedelta(days=30))
    after = await everything(mongo, "acme")
    assert after["tasks"] == {"task_acme_9"}
    assert after["runs"] == {"run_acme_9"}
    assert ids(after, True)["tasks"] == {f"task_acme_{n}" for n in range(3)}
    for name, whole in ids(before, False).items():
        assert after[name] | after[f"archive_{name}"] == whole
        assert not after[name] & after[f"archive_{name}"]
    assert set(await tombstones.standing(mongo, "acme", "tax", ["R0", "R1", "R9"])) == {"R0", "R1"}
    stored = await mongo["archive_tasks"].find_one({"_id": "task_acme_0"})
    assert stored is not None
    assert stored["input"] == {"cpf": SECRET, "n": 0}


async def test_the_archive_is_compressed(mongo: Mongo) -> None:
    stats = await mongo.db.command("collStats", "archive_tasks")
    assert "block_compressor=zstd" in stats["wiredTiger"]["creationString"]


async def test_numbers_of_the_feed_are_not_used_again_when_the_newest_entries_are_gone(mongo: Mongo) -> None:
    for n in range(3):
        await old_task(mongo, "acme", n)
    keeper = Keeper(mongo)
    cursor = await keeper.feed.last("acme")
    assert cursor == 3
    await keeper.archive_all("acme", NOW)
    assert await mongo["results"].count_documents({"account": "acme"}) == 0
    assert await keeper.feed.last("acme") == 3
    await old_task(mongo, "acme", 7)  # another process, which knows no last number
    entry = await mongo["results"].find_one({"task": "task_acme_7"})
    assert entry is not None
    assert entry["n"] == 4


async def test_dying_at_any_write_of_archiving_loses_nothing(mongo: Mongo, mongo_url: str, mongo_db: str) -> None:
    n = 0
    while True:
        n += STRIDE
        account = f"acme{n}"
        await old_tasks(mongo, account, {"n": 0}, {"n": 1})
        whole = ids(await everything(mongo, account), False)

        async def work(keeper: Keeper, account: str = account) -> None:
            await keeper.archive_all(account, NOW)

        died = await dying(mongo_url, mongo_db, n, work)
        found = await everything(mongo, account)
        for name, ones in whole.items():
            assert found[name] | found[f"archive_{name}"] == ones, f"{name} lost at write {n}"
        await work(Keeper(mongo))
        found = await everything(mongo, account)
        assert ids(found, False) == {}, f"left behind after write {n}"
        assert ids(found, True) == whole
        assert len(await tombstones.standing(mongo, account, "tax", ["R0", "R1"])) == 2
        assert await Keeper(mongo).feed.last(account) == 2
        if not died:
            break
    assert n > 10


async def test_dying_at_any_write_of_deletion_leaves_no_orphan_and_takes_nothing_of_others(
    mongo: Mongo, mongo_url: str, mongo_db: str
) -> None:
    n = 0
    while True:
        n += STRIDE
        account = f"acme{n}"
        await old_tasks(mongo, account, {"n": 0}, {"n": 1}, {"n": 8, "finished_at": NOW})
        for task in range(2):
            await picture(mongo, account, f"task_{account}_{task}", f"own {n} {task}")
            await picture(mongo, account, f"task_{account}_{task}", f"shared {n}")
        await picture(mongo, account, f"task_{account}_8", f"shared {n}")
        await Keeper(mongo).archive_all(account, NOW - timedelta(days=30))

        async def work(keeper: Keeper, account: str = account) -> None:
            await keeper.delete_all(account, datetime.now(UTC) + timedelta(seconds=1))

        died = await dying(mongo_url, mongo_db, n, work)
        await work(Keeper(mongo))
        found = await everything(mongo, account)
        assert ids(found, True) == {}, f"left behind after write {n}"
        assert found["tasks"] == {f"task_{account}_8"}
        links = [one async for one in mongo["evidence_links"].find({"account": account})]
        assert [(link["task"], link["sha256"]) for link in links] == [(f"task_{account}_8", f"shared {n}")]
        left = await mongo["evidence"].distinct("_id", {"_id": {"$in": [f"own {n} 0", f"own {n} 1", f"shared {n}"]}})
        assert left == [f"shared {n}"]
        files = mongo["blobs.files"]
        orphans = [
            one["_id"]
            async for one in files.find({"filename": {"$regex": f"^own {n} "}})
            if one.get("checked") is not None
        ]
        assert orphans == []  # a file that a dead process left is one that the executor's sweep finds
        assert len(await tombstones.standing(mongo, account, "tax", ["R0", "R1"])) == 2
        if not died:
            break
    assert n > 8


async def test_bytes_stay_while_a_new_link_is_on_its_way(mongo: Mongo) -> None:
    store, keeper = EvidenceStore(mongo), Keeper(mongo, grace_s=3600)
    await old_task(mongo, "acme", 0)
    await picture(mongo, "acme", "task_acme_0", "ab" * 32)
    await keeper.archive_all("acme", NOW)
    await keeper.delete_all("acme", datetime.now(UTC) + timedelta(seconds=1))
    marked = await mongo["evidence"].find_one({"_id": "ab" * 32})
    assert marked is not None
    assert marked["unused_since"] is not None
    # the grace is nearly over; an executor is about to link to the same bytes
    await mongo["evidence"].update_one({"_id": "ab" * 32}, {"$set": {"unused_since": NOW - timedelta(hours=2)}})
    proof = Evidence(name="again", sha256="ab" * 32, media_type="image/png", size_bytes=9)
    link = {"account": "acme", "workflow": "tax", "task": "t", "run": "r", "seq": 1, "worker": "w"}
    assert [one["dropped"] for one in await store.keep([proof], link=link)] == [False]
    await keeper.evidence.sweep_bytes()
    stream = await AsyncGridFSBucket(mongo.db, "blobs").open_download_stream_by_name("ab" * 32)
    assert await stream.read()
    # linked again: the mark goes at the next look, and the bytes stay
    assert await Keeper(mongo, grace_s=0).evidence.sweep_bytes() == 0
    kept = await mongo["evidence"].find_one({"_id": "ab" * 32})
    assert kept is not None
    assert kept.get("unused_since") is None


async def test_evidence_goes_by_its_age_and_stays_for_tasks_that_have_not_ended(mongo: Mongo) -> None:
    await old_task(mongo, "acme", 0)
    await old_task(mongo, "acme", 1, state="running", finished_at=None)
    await old_task(mongo, "acme", 2)
    for n in range(3):
        await picture(mongo, "acme", f"task_acme_{n}", f"sha {n}")
    await picture(mongo, "acme", "task_acme_0", "young", at=NOW)
    await hold(mongo, "acme", reference="R2")
    keeper = Keeper(mongo)
    await keeper.evidence.drop_old("acme", NOW - timedelta(days=30))
    assert await keeper.evidence.sweep_bytes() == 1
    assert sorted(await mongo["evidence"].distinct("_id")) == ["sha 1", "sha 2", "young"]
    link = await mongo["evidence_links"].find_one({"sha256": "sha 0"})
    assert link is not None
    assert (link["dropped"], link["gone"]) == (True, "retention")


@pytest.mark.parametrize(
    "scope", [{}, {"workflow": "tax"}, {"task": "task_acme_0"}, {"reference": "R0"}], ids=lambda scope: "+".join(scope)
)
async def test_a_legal_hold_stops_everything_until_it_is_lifted(mongo: Mongo, scope: dict[str, str]) -> None:
    await old_task(mongo, "acme", 0)
    await picture(mongo, "acme", "task_acme_0", "sha")
    id, keeper, later = await hold(mongo, "acme", **scope), Keeper(mongo), datetime.now(UTC) + timedelta(hours=1)
    await keeper.archive_all("acme", NOW)
    await keeper.evidence.drop_old("acme", NOW)
    erasure = await ask_erasure(mongo, "acme", {"references": ["R0"]})
    await keeper.erasing.sweep()
    found = await everything(mongo, "acme")
    assert found["tasks"] == {"task_acme_0"}
    assert found["archive_tasks"] == set()
    stored = await mongo["erasures"].find_one({"_id": erasure})
    assert stored is not None
    assert (stored["state"], stored["counts"]["on_hold"], stored["counts"]["tasks"]) == ("incomplete", 1, 0)
    task = await mongo["tasks"].find_one({"_id": "task_acme_0"})
    assert task is not None
    assert task["input"]["cpf"] == SECRET
    assert await holds.lift(mongo, id, by="ann", at=NOW, op="x")
    await keeper.archive_all("acme", NOW)
    if not scope:  # one that is placed when the task is in the archive already
        whole = dict.fromkeys(("workflow", "task", "reference"))
        await holds.place(mongo, {"_id": "h2", "account": "acme", "reason": "x", "by": "a", "at": NOW, **whole})
        await keeper.delete_all("acme", later)
        assert (await everything(mongo, "acme"))["archive_tasks"] == {"task_acme_0"}
        await holds.lift(mongo, "h2", by="ann", at=NOW, op="y")
    await keeper.delete_all("acme", later)
    assert ids(await everything(mongo, "acme"), True) == {}


async def test_a_dry_run_says_what_would_go_and_nothing_goes(mongo: Mongo) -> None:
    for n in range(2):
        await old_task(mongo, "acme", n)
        await picture(mongo, "acme", f"task_acme_{n}", f"sha {n}")
    await Keeper(mongo).archive.tasks("acme", NOW)
    await old_task(mongo, "acme", 2)
    await old_task(mongo, "acme", 3, state="running", finished_at=None)
    await old_task(mongo, "other", 4)
    erasure = await ask_erasure(mongo, "acme", {"field": "cpf", "value": SECRET}, dry_run=True)
    before = [task async for task in mongo["tasks"].find({}).sort("_id", 1)]
    await Keeper(mongo).erasing.sweep()
    assert [task async for task in mongo["tasks"].find({}).sort("_id", 1)] == before
    stored = await mongo["erasures"].find_one({"_id": erasure})
    assert stored is not None
    assert stored["state"] == "done"
    assert "criteria" not in stored
    assert stored["counts"] == {
        "tasks": 3, "unfinished": 1, "on_hold": 0, "deliveries": 3, "results": 3, "evidence": 2, "steps": 6,
    }  # fmt: skip


async def test_dying_at_any_write_of_an_erasure_it_is_done_in_the_end_and_only_for_that_person(
    mongo: Mongo, mongo_url: str, mongo_db: str
) -> None:
    n = 0
    while True:
        n += STRIDE
        account = f"acme{n}"
        await old_tasks(mongo, account, {"n": 0}, {"n": 1})
        await picture(mongo, account, f"task_{account}_0", f"sha {n}")
        await picture(mongo, account, f"task_{account}_1", f"sha {n} archived")
        await Keeper(mongo).archive.tasks(account, NOW)  # its run stays where it is: both sides are to be cleaned
        await old_tasks(mongo, account, {"n": 2}, {"n": 3, "input": {"cpf": "somebody else"}})
        erasure = await ask_erasure(mongo, account, {"field": "cpf", "value": SECRET})

        async def work(keeper: Keeper) -> None:
            await keeper.erasing.sweep()

        died = await dying(mongo_url, mongo_db, n, work)
        await work(Keeper(mongo))
        await Keeper(mongo).evidence.sweep_bytes()
        stored = await mongo["erasures"].find_one({"_id": erasure})
        assert stored is not None
        assert (stored["state"], stored["counts"]["tasks"]) == ("done", 3), f"write {n}"
        assert "criteria" not in stored
        told = {"target": erasure, "action": "erasure.ended"}
        assert await mongo["audit"].count_documents(told) == 1, f"told once, write {n}"
        other = f"{account}_3"
        for name, key in (("tasks", "_id"), ("deliveries", "task"), ("results", "task")):
            for side in ("", "archive_"):
                async for document in mongo[f"{side}{name}"].find({"account": account}):
                    text = json.dumps(document, default=str)
                    assert (SECRET in text) == document[key].endswith(other), f"{side}{name} after write {n}"
        async for step in mongo["steps"].find({"run": {"$regex": f"^run_{account}_"}, "task": {"$ne": None}}):
            assert (SECRET in repr(step)) == step["run"].endswith(other), f"steps after write {n}"
        assert await mongo["late_replies"].count_documents({"run": {"$regex": f"^run_{account}_"}}) == 1
        assert await mongo["logs"].count_documents({"task": {"$regex": f"^task_{account}_"}}) == 1
        left = [one["task"] async for one in mongo["evidence_links"].find({"account": account, "dropped": False})]
        assert left == []
        assert await mongo["evidence"].count_documents({"_id": {"$regex": f"^sha {n}"}}) == 0
        task = await mongo["tasks"].find_one({"_id": f"task_{account}_2"})
        assert task is not None
        assert (task["state"], task["attempts"], task["reference"]) == ("succeeded", 1, "R2")
        assert task["erased"]["erasure"] == erasure
        assert (await everything(mongo, account))["results"] == {
            f"task_{account}_2:succeeded",
            f"task_{account}_3:succeeded",
        }
        if not died:
            break
        await mongo["runs"].delete_many({"account": account})
    assert n > 20


async def test_an_erasure_that_nobody_can_read_ends_and_holds_up_no_other(mongo: Mongo) -> None:
    await old_task(mongo, "acme", 0)
    broken = await ask_erasure(mongo, "acme", {"references": ["R0"]})
    await mongo["erasures"].update_one({"_id": broken}, {"$set": {"criteria": bytes(64), "created_at": OLD}})
    good = await ask_erasure(mongo, "acme", {"references": ["R0"]})
    await Keeper(mongo).erasing.sweep()
    states = {one["_id"]: one["state"] async for one in mongo["erasures"].find({})}
    assert states == {broken: "incomplete", good: "done"}


async def test_what_was_not_sent_yet_is_not_sent_after_an_erasure(mongo: Mongo) -> None:
    await old_task(mongo, "acme", 0)
    delivery = "task_acme_0:hook:succeeded"
    await mongo["deliveries"].update_one({"_id": delivery}, {"$set": {"state": "retrying", "next_at": NOW}})
    await ask_erasure(mongo, "acme", {"references": ["R0"]})
    await Keeper(mongo).erasing.sweep()
    stored = await mongo["deliveries"].find_one({"_id": delivery})
    assert stored is not None
    assert (stored["state"], stored.get("next_at"), stored["erased"]) == ("dead", None, True)
    assert SECRET not in repr(stored)
    assert OLD < NOW


def no_task(state: str) -> dict[str, Any]:
    """A delivery that is no task's."""
    return {
        "account": "acme", "task": None, "endpoint": "hook", "event": "decision", "body": "{}", "state": state,
        "attempts": [{"answer": SECRET}], "created_at": OLD, **({"next_at": OLD} if state == "pending" else {}),
    }  # fmt: skip


async def test_deliveries_of_no_task_go_with_age(mongo: Mongo) -> None:
    """Questions asked during setup, and tests of endpoints: they stayed for ever."""
    for state in ("delivered", "dead", "pending"):
        await mongo["deliveries"].insert_one({"_id": f"run_1:hook:{state}", **no_task(state)})
    await mongo["deliveries"].insert_one({"_id": "new", **no_task("dead"), "created_at": NOW})
    assert await Keeper(mongo).archive.delete_files("acme", OLD + timedelta(days=1)) == 2
    left = [one["_id"] async for one in mongo["deliveries"].find({"account": "acme"}).sort("_id", 1)]
    assert left == ["new", "run_1:hook:pending"]


async def test_what_tasks_of_a_run_share_goes_with_the_last_of_them(mongo: Mongo) -> None:
    """Group, end, and what setup and teardown did: of everybody in the run, until nobody is left."""
    await old_tasks(mongo, "acme", {"n": 0}, {"n": 1})
    run, both = "run_acme_0", [{"task": f"task_acme_{n}", "attempt": 1, "state": "ended"} for n in (0, 1)]
    await mongo["runs"].delete_one({"_id": "run_acme_1"})
    await mongo["runs"].update_one({"_id": run}, {"$set": {"tasks": both, "end": {"text": SECRET}}})
    await mongo["steps"].update_one({"_id": f"{run}/00000001"}, {"$set": {"instruction.args.text": SECRET}})
    await mongo["logs"].insert_one({"_id": "log_setup", "task": None, "run": run, "seq": 1, "event": SECRET})
    question = f"{run}:hook:decision-{run}-1"
    body = json.dumps({"type": "decision.asked", "timestamp": "t", "data": {"question": SECRET}})
    await mongo["deliveries"].insert_one({"_id": question, **no_task("delivered"), "body": body})

    async def shared() -> tuple[Any, bool, int]:
        asked = await mongo["deliveries"].find_one({"_id": question})
        assert (SECRET in str(asked)) is (await mongo["logs"].find_one({"_id": "log_setup"}) is not None)
        stored = await mongo["runs"].find_one({"_id": run}) or {}
        step = await mongo["steps"].find_one({"_id": f"{run}/00000001"})
        return stored["group"], SECRET in str(step), await mongo["logs"].count_documents({"_id": "log_setup"})

    await ask_erasure(mongo, "acme", {"references": ["R0"]})
    await Keeper(mongo).erasing.sweep()
    assert await shared() == ({"c": SECRET}, True, 1)  # R1 is in it still
    await ask_erasure(mongo, "acme", {"references": ["R1"]})
    await Keeper(mongo).erasing.sweep()
    assert await shared() == ({}, False, 0)
    assert SECRET not in str(await mongo["runs"].find_one({"_id": run}))
