"""Adaptive waits on the real database: executors learn from one another, people forget and freeze, limits hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.executor import pacing as module
from services.executor.core.pacing import Planned
from services.executor.pacing import Pacing, paced
from services.executor.pacing_requests import PacingRequests
from services.executor.store_pacing import COLLECTION, PacingStore, Stored
from shared.contracts.messages import WorkerInstruction
from shared.domain import pacing as pacing_domain
from shared.mongo import Mongo
from shared.mongo.indexes import apply_indexes

KEY = "acme/tax"
PLACE = "tax.py:execute:12:browser.click"
TARGET = {"target": {"$object": "portal.go", "selectors": ["css=#go"]}}


@pytest.fixture
async def mongo(mongo_url: str, mongo_db: str) -> AsyncIterator[Mongo]:
    made = Mongo(mongo_url, mongo_db)
    await apply_indexes(made)
    yield made
    await made.close()


@pytest.fixture
async def store(mongo: Mongo) -> PacingStore:
    return PacingStore(mongo)


def plan(pacing: Pacing, place: str = PLACE, worker: str = "w1", run: str = "run_1", **args: Any) -> Planned:
    return pacing.plan(
        "acme", "tax", place, worker, "browser.click", {**TARGET, **args}, timeout_s=30.0, run=run
    )  # fmt: skip


def act(pacing: Pacing, ready_s: float, times: int = 1, **where: Any) -> int:
    """Instructions on a page that is ready after so many seconds; how many failed."""
    failed = 0
    for _ in range(times):
        planned = plan(pacing, **where)
        if planned.pause_s >= ready_s:
            pacing.note(planned, outcome="done", found_s=0.1, duration_s=36.0)
        else:
            failed += 1
            pacing.note(planned, outcome="in_doubt", code="TIMEOUT", found_s=0.1, duration_s=36.0)
    return failed


async def learn(pacing: Pacing, ready_s: float, rounds: int, **where: Any) -> None:
    for _ in range(rounds):
        act(pacing, ready_s, 2, **where)
        await pacing.flush(all_held=True)


async def test_what_one_executor_learns_the_other_knows(store: PacingStore, mongo: Mongo) -> None:
    one, other = Pacing(store), Pacing(store)
    assert plan(one) == Planned(timeout_s=30.0), "nothing is known before the workflow was read"
    await one.flush()
    await learn(one, 0.3, 40)
    learned = plan(one)
    assert learned.pause_s >= 0.3
    await other.ready("acme", "tax")
    assert plan(other).pause_s == learned.pause_s
    assert plan(other, worker="another").pause_s >= 0.3, "a robot that was never there begins where the place stands"
    document = await mongo[COLLECTION].find_one({"_id": f"{KEY}/{PLACE}"}) or {}
    assert (document["account"], document["workflow"], document["counts"]["samples"]) == ("acme", "tax", 80)
    assert [one["robot"] for one in document["robots"]] == ["w1"]
    (thing,) = document["objects"]
    assert (thing["object"], thing["counts"]["found"]) == ("portal.go", 80 - document["counts"]["failures"])
    head = await mongo[COLLECTION].find_one({"_id": KEY}) or {}
    assert head["hours"] == pytest.approx(0.8)


async def test_executors_that_flush_at_once_lose_nothing(store: PacingStore, mongo: Mongo) -> None:
    executors = [Pacing(store) for _ in range(4)]
    for n, one in enumerate(executors):
        await one.ready("acme", "tax")
        act(one, 0.0, 25, worker=f"w{n}", run=f"run_{n}")
    for _ in range(5):  # who loses the race writes at the next flush
        await asyncio.gather(*(one.flush(all_held=True) for one in executors))
    document = await mongo[COLLECTION].find_one({"_id": f"{KEY}/{PLACE}"}) or {}
    assert document["counts"]["samples"] == 100
    assert {one["robot"]: one["counts"]["samples"] for one in document["robots"]} == {f"w{n}": 25 for n in range(4)}
    assert sum(document["found"]["counts"]) == 100


async def test_who_is_overtaken_after_its_write_does_not_write_again(store: PacingStore) -> None:
    """Another executor's write between a flush and its look at what became of it: both took effect."""
    first = await store.save(KEY, {PLACE: Stored(None, pacing_domain.fresh())}, "pace_a")
    (read,) = (await store.read(KEY, [PLACE])).values()
    assert (first, read.rev) == ({PLACE}, 1)
    assert await store.save(KEY, {PLACE: read}, "pace_b") == {PLACE}
    assert await store.save(KEY, {PLACE: read}, "pace_c") == set(), "the revision is old"
    assert await store.save(KEY, {PLACE: Stored(None, read.place)}, "pace_d") == set(), "it is there already"
    assert await store.save(KEY, {PLACE: read}, "pace_a") == {PLACE}, "it was written then, although overtaken since"


async def test_a_flush_writes_a_place_once_however_much_was_seen(store: PacingStore, mongo: Mongo) -> None:
    pacing = Pacing(store)
    await pacing.ready("acme", "tax")
    act(pacing, 0.0, 150)
    await pacing.flush(all_held=True)
    document = await mongo[COLLECTION].find_one({"_id": f"{KEY}/{PLACE}"}) or {}
    assert (document["rev"], document["counts"]["samples"]) == (1, 150)
    act(pacing, 0.0, 1000)
    await pacing.flush(all_held=True)
    document = await mongo[COLLECTION].find_one({"_id": f"{KEY}/{PLACE}"}) or {}
    assert (document["rev"], document["counts"]["samples"]) == (2, 150 + module.PENDING_MAX)


async def test_the_number_of_places_is_limited(
    store: PacingStore, mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PLACES_MAX", 3)
    pacing = Pacing(store)
    await pacing.ready("acme", "tax")
    for n in range(10):
        act(pacing, 0.0, place=f"tax.py:execute:{n}:browser.click", run=f"run_{n}")
    await pacing.flush(all_held=True)
    assert await mongo[COLLECTION].count_documents({"key": KEY}) == 3


async def test_a_click_is_blamed_for_what_the_next_instruction_does_not_find(store: PacingStore, mongo: Mongo) -> None:
    pacing = Pacing(store)
    await pacing.ready("acme", "tax")
    click = plan(pacing)
    pacing.note(click, outcome="done", found_s=0.1)
    wait = plan(pacing, place="next")
    pacing.note(wait, outcome="error", code="TIMEOUT")
    await pacing.flush(all_held=True)
    assert plan(pacing).pause_s > 0
    other = plan(pacing, run="run_2")
    pacing.note(other, outcome="done", found_s=0.1)
    third = plan(pacing, place="elsewhere", run="run_3")
    pacing.note(third, outcome="error", code="TIMEOUT")
    await pacing.flush(all_held=True)
    document = await mongo[COLLECTION].find_one({"_id": f"{KEY}/{PLACE}"}) or {}
    assert document["counts"]["failures"] == 1, "another run's failure is not its fault"


async def test_people_freeze_and_reset(store: PacingStore, mongo: Mongo) -> None:
    pacing = Pacing(store)
    requests = PacingRequests(store, pacing)
    await pacing.ready("acme", "tax")
    await learn(pacing, 0.3, 40)
    before = plan(pacing).pause_s

    async def ask(kind: str, **args: Any) -> tuple[bool, str | None]:
        answer = await getattr(requests, kind)({"target": KEY, "args": args})
        await pacing.flush(all_held=True)
        return answer

    assert await ask("freeze", on=True, place=PLACE) == (True, None)
    await learn(pacing, 4.0, 5)
    assert plan(pacing).pause_s == before
    assert await ask("freeze", on=False, place=PLACE) == (True, None)
    assert await ask("freeze", on=True) == (True, None)
    await learn(pacing, 4.0, 5)
    assert plan(pacing).pause_s == before
    assert await ask("reset", place=PLACE) == (True, None)
    assert plan(pacing).pause_s == 0
    assert await ask("freeze", on=False) == (True, None)
    await learn(pacing, 4.0, 5)
    assert plan(pacing).pause_s > 0
    assert await ask("reset") == (True, None)
    assert plan(pacing).pause_s == 0
    assert await mongo[COLLECTION].count_documents({"key": KEY}) == 0
    assert await ask("reset", place="nowhere") == (True, "nothing is known about the place nowhere")
    assert await ask("freeze", on=True, place="nowhere") == (True, "nothing is known about the place nowhere")
    done, why = await ask("freeze", place=None)
    assert (done, "on is true or false" in (why or "")) == (True, True)


async def test_a_reset_by_another_executor_is_noticed(store: PacingStore, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Pacing(store), Pacing(store)
    await one.ready("acme", "tax")
    await learn(one, 0.3, 20)
    await other.ready("acme", "tax")
    assert plan(other).pause_s > 0
    await store.reset(KEY, None)
    monkeypatch.setattr(module, "REFRESH_S", 0.0)
    await other.flush()
    assert plan(other).pause_s == 0


async def test_settings_switch_it_off_freeze_it_and_bound_it(store: PacingStore, mongo: Mongo) -> None:
    pacing = Pacing(store)
    await pacing.ready("acme", "tax")
    await learn(pacing, 0.7, 60)
    learned = plan(pacing).pause_s
    assert learned >= 0.7

    async def change(**settings: Any) -> None:
        await mongo["workflows"].update_one(
            {"_id": KEY}, {"$set": {"account": "acme", "name": "tax", "settings.pacing": settings}}, upsert=True
        )
        pacing.forget("acme", "tax")
        await pacing.flush()

    await change(mode="off")
    assert plan(pacing) == Planned(timeout_s=30.0)
    pacing.note(plan(pacing), outcome="error", code="TIMEOUT")
    await change(mode="learn", pause_max_s=0.2)
    assert plan(pacing).pause_s == 0.2
    await change(mode="frozen")
    await learn(pacing, 4.0, 5)
    assert plan(pacing).pause_s == learned


async def test_while_the_database_is_away_what_was_seen_is_kept(
    store: PacingStore, mongo: Mongo, monkeypatch: pytest.MonkeyPatch
) -> None:
    pacing = Pacing(store)
    await pacing.ready("acme", "tax")
    act(pacing, 0.0, 10)

    async def fails(*_: Any) -> set[str]:
        raise OSError("away")

    with monkeypatch.context() as broken:
        broken.setattr(store, "save", fails)
        with pytest.raises(OSError, match="away"):
            await pacing.flush(all_held=True)
    act(pacing, 0.0, 5)
    await pacing.flush(all_held=True)
    document = await mongo[COLLECTION].find_one({"_id": f"{KEY}/{PLACE}"}) or {}
    assert document["counts"]["samples"] == 15


async def test_a_message_carries_the_pace_and_keeps_its_time(store: PacingStore) -> None:
    pacing = Pacing(store)
    await pacing.ready("acme", "tax")
    await learn(pacing, 0.3, 30)
    message = WorkerInstruction(
        worker="w1", run="run_1", seq=1, epoch=1, phase="task", name="browser.click", args=TARGET, effect="act",
        timeout_s=30, reply_to="executor-1",
    )  # fmt: skip
    planned = plan(pacing)
    sent = paced(message, planned)
    assert sent.pause_s == planned.pause_s > 0
    assert sent.timeout_s >= 30 + planned.pause_s
    unpaced = paced(message, Planned(timeout_s=30.0))
    assert unpaced == message
    own = plan(pacing, timeout=3)
    assert (own.find_s, own.wait) == (None, None)


async def test_repeated_and_refused_replies_teach_nothing(store: PacingStore, mongo: Mongo) -> None:
    pacing = Pacing(store)
    await pacing.ready("acme", "tax")
    pacing.note(plan(pacing), outcome="done", repeated=True)
    pacing.note(plan(pacing), outcome="refused", code="BUSY")
    await pacing.flush(all_held=True)
    assert await mongo[COLLECTION].count_documents({}) == 0
