"""Periodic work led by one of several: who follows whom within what time, and that two is an event."""

from __future__ import annotations

from typing import Any

from shared.domain.events import EventKind
from shared.mongo import Mongo
from shared.mongo.leading import KEEPING, Leading
from shared.mongo.lease import BEAT_S, Lease
from shared.testing import FakeClock

FOLLOWED_S = 10.0


async def events(mongo: Mongo, kind: EventKind) -> list[dict[str, Any]]:
    return await mongo["events"].find({"kind": kind.value}).to_list(None)


async def test_a_leader_that_froze_is_followed_within_ten_seconds_and_is_fenced(mongo: Mongo) -> None:
    clock = FakeClock()
    one, two = (Leading(mongo, KEEPING, f"delivery-{n}", clock=clock) for n in (1, 2))
    assert await one.acquire()
    assert one.leads
    frozen_s = 0.0
    while not await two.acquire():
        assert not (one.leads and two.leads)
        clock.advance(BEAT_S)
        frozen_s += BEAT_S
    assert frozen_s < FOLLOWED_S
    assert not one.leads, "it must not go on by itself, before it has looked"
    assert two.leads
    assert two.fence == one.fence + 1
    (replaced,) = await events(mongo, EventKind.LEADER_REPLACED)
    assert replaced["facts"]["before"] == "delivery-1"
    assert replaced["facts"]["instance"] == "delivery-2"
    assert await events(mongo, EventKind.TWO_LEADERS) == []
    assert not await one.acquire(), "it goes on, and sees that another leads"
    (two_leaders,) = await events(mongo, EventKind.TWO_LEADERS)
    assert two_leaders["facts"]["stood_still_s"] > FOLLOWED_S / 2
    assert await two.beat()


async def test_a_leader_that_leaves_is_followed_at_once_and_nobody_hears_of_it(mongo: Mongo) -> None:
    one, two = (Leading(mongo, KEEPING, f"delivery-{n}") for n in (1, 2))
    assert await one.acquire()
    assert not await two.acquire()
    await one.release()
    assert await two.acquire()
    assert await mongo["events"].count_documents({}) == 0


async def test_presence_is_deleted_when_it_is_given_back_and_else_after_a_day(mongo: Mongo) -> None:
    one = Lease(mongo, "console/console-1", "console-1", facts={"url": "http://127.0.0.1:1"}, keep_s=86400.0)
    assert await one.acquire()
    found = await mongo["leases"].find_one({"_id": "console/console-1"})
    assert found is not None
    assert found["url"] == "http://127.0.0.1:1"
    assert (found["expires_at"] - found["at"]).total_seconds() == 86400
    await one.release()
    assert await mongo["leases"].count_documents({}) == 0
