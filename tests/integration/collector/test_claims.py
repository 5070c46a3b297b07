"""Claims on keys: who holds one, who may take it over, and whose answer stands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from services.collector.claims import Claim, Claims, Reply
from shared.mongo import Mongo
from shared.obs.ids import new_id
from shared.runtime.http import Problem
from tests.integration.collector.running import Ground

DAY_S = 24 * 3600.0


class Push:
    """A request whose carrying out the test holds in hand."""

    def __init__(self, claims: Claims, id: str, mark: str = "same") -> None:
        self.begun, self.go_on = asyncio.Event(), asyncio.Event()
        self.claim: Claim | None = None
        self.error: Exception | None = None
        self.body: dict[str, Any] = {"by": new_id()}
        self._claims, self._id, self._mark = claims, id, mark
        self.task = asyncio.create_task(self._ask())

    async def _ask(self) -> Reply:
        return await self._claims.once(self._id, self._act, fingerprint=self._mark)

    async def _act(self, claim: Claim) -> tuple[Reply, str]:
        self.claim = claim
        self.begun.set()
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        return Reply(202, self.body), self._mark

    async def under_way(self) -> Claim:
        """Until it holds the key."""
        async with asyncio.timeout(10):
            await self.begun.wait()
        assert self.claim is not None
        return self.claim

    async def end(self) -> Reply:
        """Let it end."""
        self.go_on.set()
        return await self.task


@pytest.fixture
async def mongo(collector_ground: Ground) -> AsyncIterator[Mongo]:
    """The collector's database."""
    found = Mongo(collector_ground.mongo_url, collector_ground.db.name)
    yield found
    await found.close()


@pytest.fixture
def claims(mongo: Mongo) -> Claims:
    """Claims as the collector has them."""
    return Claims(mongo, claim_s=30, keep_s=2 * DAY_S)


async def silence(mongo: Mongo, id: str) -> None:
    """Let the holder of a key have been silent for a minute."""
    document = await mongo["idempotency"].find_one({"_id": id})
    assert document is not None
    long_ago = document["claimed_at"] - timedelta(minutes=1)
    await mongo["idempotency"].update_one({"_id": id}, {"$set": {"claimed_at": long_ago}})


async def test_a_key_that_is_held_is_nobody_elses(claims: Claims) -> None:
    first = Push(claims, "a/held")
    await first.under_way()
    for mark, status in (("same", 409), ("other", 422)):
        with pytest.raises(Problem) as refused:
            await Push(claims, "a/held", mark).task
        assert refused.value.status == status
    assert (await first.end()).body == first.body
    again = await Push(claims, "a/held").task
    assert (again.body, again.replayed) == (first.body, True)


@pytest.mark.parametrize("quicker", ["first", "second"])
async def test_of_a_slow_holder_and_the_one_that_took_over_the_first_answer_stands_for_both(
    mongo: Mongo, claims: Claims, quicker: str
) -> None:
    id = f"a/slow-{quicker}"
    first = Push(claims, id)
    batch = (await first.under_way()).batch
    await silence(mongo, id)
    second = Push(claims, id)
    assert (await second.under_way()).batch == batch
    one, two = (first, second) if quicker == "first" else (second, first)
    assert (await one.end()).body == one.body
    late = await two.end()
    assert (late.body, late.replayed) == (one.body, True)
    assert (await Push(claims, id).task).body == one.body


async def test_one_that_was_taken_over_and_fails_frees_nothing(mongo: Mongo, claims: Claims) -> None:
    first = Push(claims, "a/fails")
    await first.under_way()
    await silence(mongo, "a/fails")
    second = Push(claims, "a/fails")
    await second.under_way()
    first.error = Problem(503, "the database is away")
    with pytest.raises(Problem):
        await first.end()
    with pytest.raises(Problem) as busy:
        await Push(claims, "a/fails").task
    assert busy.value.status == 409
    await second.end()


async def test_one_that_shows_life_is_not_taken_over(mongo: Mongo, claims: Claims) -> None:
    first = Push(claims, "a/alive")
    claim = await first.under_way()
    await silence(mongo, "a/alive")
    await claims.touch(claim)
    with pytest.raises(Problem) as busy:
        await Push(claims, "a/alive").task
    assert busy.value.status == 409
    await first.end()


async def test_a_dead_holders_key_is_free_for_the_same_request_only(mongo: Mongo, claims: Claims) -> None:
    dead = Push(claims, "a/dead")
    await dead.under_way()
    await silence(mongo, "a/dead")
    with pytest.raises(Problem) as refused:
        await Push(claims, "a/dead", "other").task
    assert refused.value.status == 422
    retry = Push(claims, "a/dead")
    await retry.under_way()
    await retry.end()
    dead.task.cancel()


async def test_one_of_many_at_once_gets_the_key(claims: Claims) -> None:
    crowd = [Push(claims, "a/crowd") for _ in range(20)]
    holder = await asyncio.wait_for(_first_begun(crowd), 10)
    await holder.end()
    outcomes = await asyncio.gather(*(one.task for one in crowd), return_exceptions=True)
    replies = [one for one in outcomes if isinstance(one, Reply)]
    refused = [one for one in outcomes if isinstance(one, Problem)]
    assert len(replies) + len(refused) == 20
    assert sum(one.begun.is_set() for one in crowd) == 1
    assert all(one.body == holder.body for one in replies)
    assert all(one.status == 409 for one in refused)


async def _first_begun(crowd: list[Push]) -> Push:
    waiting = {asyncio.create_task(one.begun.wait()): one for one in crowd}
    done, rest = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in rest:
        task.cancel()
    return waiting[done.pop()]
