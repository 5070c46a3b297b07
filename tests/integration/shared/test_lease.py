"""Leases on the real database, under a clock that the test turns."""

from __future__ import annotations

import asyncio
from typing import Any

from shared.mongo import Mongo
from shared.mongo.lease import Lease, Watch
from shared.testing import FakeClock


async def test_takeover_only_after_standing_still_and_with_a_higher_token(mongo: Mongo) -> None:
    clock = FakeClock()
    one = Lease(mongo, "scheduler/leader", "scheduler-1", still_s=4, clock=clock)
    two = Lease(mongo, "scheduler/leader", "scheduler-2", still_s=4, clock=clock)
    assert await one.acquire()
    assert one.token == 1
    for _ in range(10):
        clock.advance(0.9)
        assert await one.beat()
        assert not await two.acquire()
    for _ in range(4):
        clock.advance(0.9)
        assert not await two.acquire()
    clock.advance(0.9)
    assert await two.acquire(), "4.5 s still"
    assert two.token == 2
    assert not one.fresh
    assert not await one.beat()
    assert not one.held


async def test_time_in_which_nobody_could_look_does_not_count(mongo: Mongo) -> None:
    clock = FakeClock()
    one = Lease(mongo, "scheduler/leader", "scheduler-1", still_s=4, clock=clock)
    two = Lease(mongo, "scheduler/leader", "scheduler-2", still_s=4, clock=clock)
    await one.acquire()
    assert not await two.acquire()
    clock.advance(3600)
    assert not await two.acquire(), "an hour without a look counts for a second"


async def test_released_lease_is_taken_at_once(mongo: Mongo) -> None:
    one, two = (Lease(mongo, "delivery/leader", f"delivery-{n}") for n in (1, 2))
    await one.acquire()
    await one.release()
    assert await two.acquire()
    assert two.token == 2


async def test_same_owner_takes_its_own_back_with_a_higher_token(mongo: Mongo) -> None:
    before, after = (Lease(mongo, "executor/executor-1", "executor-1") for _ in range(2))
    await before.acquire()
    assert await after.acquire()
    assert after.token == 2
    assert not await before.beat()


async def test_of_many_that_see_it_still_one_takes_it(mongo: Mongo) -> None:
    clock = FakeClock()
    await Lease(mongo, "x/leader", "x-0", clock=clock).acquire()
    others = [Lease(mongo, "x/leader", f"x-{n}", still_s=2, clock=clock) for n in range(1, 6)]
    for _ in range(4):
        taken = await asyncio.gather(*(lease.acquire() for lease in others))
        clock.advance(1)
    assert taken.count(True) == 1


async def test_watch_tells_how_long_each_stood_still(mongo: Mongo) -> None:
    clock = FakeClock()
    alive, dead = (Lease(mongo, f"executor/executor-{n}", f"executor-{n}", clock=clock) for n in (1, 2))
    other = Lease(mongo, "executors/else", "else", clock=clock)
    watch = Watch(mongo, kind="executor", still_s=1.2, clock=clock)
    for lease in (alive, dead, other):
        await lease.acquire()
    for _ in range(4):
        states = {state.instance: state for state in await watch.observe()}
        clock.advance(0.5)
        await alive.beat()
    assert set(states) == {"executor-1", "executor-2"}
    assert states["executor-1"].still_for_s == 0
    assert states["executor-2"].still_for_s == 1.5
    assert [state.instance for state in await watch.dead()] == ["executor-2"]
    await alive.release()
    assert {state.instance for state in await watch.dead()} == {"executor-1", "executor-2"}


async def test_background_beats_keep_it(mongo: Mongo, wait_until: Any) -> None:
    lease = Lease(mongo, "executor/executor-1", "executor-1", beat_s=0.02)
    lease.start()

    async def counter() -> int:
        found = await mongo["leases"].find_one({"_id": lease.name})
        return int(found["counter"]) if found else 0

    async def moved() -> bool:
        return await counter() > 5

    await wait_until(moved)
    assert lease.fresh
    await lease.stop()
    found = await mongo["leases"].find_one({"_id": lease.name})
    assert found is not None
    assert found["owner"] is None
