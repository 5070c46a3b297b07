"""Schedulers take turns at opening runs, and a dead one's transaction does not hold up the next."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from pymongo.errors import PyMongoError

from services.scheduler.dispatch import Dispatcher
from services.scheduler.hints import Hints
from services.scheduler.store.turn import AT_ONCE, BEAT_S, TURN_MS, Turn
from shared.obs.clock import monotonic_s, now
from tests.integration.scheduler.conftest import World, until

ID, OTHERS = "dispatch/0", [f"dispatch/{n}" for n in range(1, AT_ONCE)]


async def take(turn: Turn) -> bool:
    """Take the first turn, if nobody has it."""
    free, _ = await turn.look()
    return ID in free and await turn.take(ID)


def _die(turn: Turn) -> None:
    """Have it lengthen its turn no more, as after a kill."""
    turn._over.set()


async def _end_in_ms(world: World, ms: int) -> None:
    """Have the turn in hand end in so many milliseconds from now."""
    await world.mongo["turns"].update_one({"_id": ID}, {"$set": {"until": now() + timedelta(milliseconds=ms)}})


async def test_so_many_at_once(world: World) -> None:
    turns = [Turn(world.mongo) for _ in range(AT_ONCE + 1)]
    for turn in turns[:-1]:
        free, _ = await turn.look()
        assert await turn.take(free[0])
    assert await turns[-1].look() == ([], AT_ONCE)
    for turn in turns[:-1]:
        await turn.give_back()


async def test_one_at_a_time(world: World) -> None:
    one, two = Turn(world.mongo), Turn(world.mongo)
    assert await take(one)
    assert not await take(two)
    await one.give_back()
    assert await take(two)
    assert (await two.look()) == (OTHERS, 2)
    assert not await take(one)
    await two.give_back()


async def test_a_turn_lasts_as_long_as_its_holder_lives(world: World) -> None:
    """Found in a soak on a machine so loaded that one opening took longer than a turn: nobody got on any more."""
    one, two = Turn(world.mongo), Turn(world.mongo)
    assert await take(one)
    await _end_in_ms(world, 300 + int(BEAT_S * 1000))

    async def lengthened() -> bool:
        found = await world.mongo["turns"].find_one({"_id": ID}) or {}
        return bool(found["until"] > now() + timedelta(milliseconds=TURN_MS - 1000))

    await until(lengthened)
    assert not await take(two)
    assert one.mine
    await one.give_back()


async def test_a_turn_that_is_not_given_back_ends_by_itself(world: World) -> None:
    one, two = Turn(world.mongo), Turn(world.mongo)
    assert await take(one)
    _die(one)
    assert (await two.look())[0] == OTHERS
    started_s = monotonic_s()
    await until(lambda: take(two), TURN_MS / 1000 * 3)
    assert monotonic_s() - started_s > TURN_MS / 1000 * 0.8
    await two.give_back()


async def test_whoever_lost_its_turn_notices_and_leaves_the_other_alone(world: World) -> None:
    slow, two = Turn(world.mongo), Turn(world.mongo)
    assert await take(slow)
    await _end_in_ms(world, -1)
    assert await take(two)

    async def noticed() -> bool:
        return not slow.mine

    await until(noticed)
    await slow.give_back()
    assert two.mine
    assert not await take(slow)
    await two.give_back()


async def test_a_turn_from_a_clock_that_was_set_back_since_ends_at_once(world: World) -> None:
    one, two = Turn(world.mongo), Turn(world.mongo)
    assert await take(one)
    await _end_in_ms(world, 3_600_000)
    assert await take(two)
    for turn in (one, two):
        await turn.give_back()


async def test_the_transaction_of_a_dead_scheduler_is_ended_with_its_turn(world: World) -> None:
    dead, next_one = Turn(world.mongo), Turn(world.mongo)
    await world.mongo["slots"].insert_one({"_id": "a", "seq": 0})
    assert await take(dead)
    _die(dead)
    locking = await dead.session.start_transaction()
    await world.mongo["slots"].update_one({"_id": "a"}, {"$inc": {"seq": 1}}, session=dead.session)
    await _end_in_ms(world, -1)
    started_s = monotonic_s()
    assert await take(next_one)
    await world.mongo["slots"].update_one({"_id": "a"}, {"$inc": {"seq": 10}})
    assert monotonic_s() - started_s < 2.0, "the document stayed locked"
    with pytest.raises(PyMongoError):
        await dead.session.commit_transaction()
    assert (await world.mongo["slots"].find_one({"_id": "a"}))["seq"] == 10
    del locking
    async with await dead.session.start_transaction():  # it was only slow: its next turn works as ever
        await world.mongo["slots"].update_one({"_id": "a"}, {"$inc": {"seq": 1}}, session=dead.session)
    await next_one.give_back()
    await dead.close()
    await next_one.close()


async def test_whoever_waits_is_spared_by_a_pass_that_began_after(world: World) -> None:
    """Three schedulers wait for a fourth: the first pass after its turn sees all that they were kicked for."""
    passes = 0

    class Counting(Dispatcher):
        async def _pass(self) -> int:
            nonlocal passes
            passes += 1
            return 0

    await world.publish()
    await world.robot()
    await world.tasks()
    holder, *others = [Turn(world.mongo) for _ in range(AT_ONCE)]
    for n, turn in enumerate([holder, *others]):
        await turn.look()
        assert await turn.take(f"dispatch/{n}")
    three = [asyncio.create_task(Counting(world.mongo, Hints(world.broker)).run_turn()) for _ in range(3)]
    await asyncio.wait(three, timeout=0.3)
    assert passes == 0
    await holder.give_back()
    assert await asyncio.gather(*three) == [0] * 3
    assert passes < 3
    assert (await holder.look())[1] == AT_ONCE + passes
    for turn in others:
        await turn.give_back()


async def test_nobody_asks_for_a_turn_without_robots_or_tasks(world: World) -> None:
    dispatcher, turn = Dispatcher(world.mongo, Hints(world.broker)), Turn(world.mongo)
    await world.publish()
    await world.tasks()
    assert not await dispatcher.run_turn()
    assert (await turn.look())[1] == 0
    await world.robot()
    assert await dispatcher.run_turn()
    assert (await turn.look())[1] == 1
    await dispatcher.close()
