"""Counts of selectors that matched on the real database: several executors add to the same documents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from services.executor.matches import RECENT_MAX, Matches
from shared.domain.objects import mark_of
from shared.mongo import Mongo

SELECTORS = ("css=#go", "text=Go")
RUN = {"_id": "run_1", "account": "acme", "workflow": "tax", "environment": "staging", "worker": "w1"}
OBJECTS = {"go": {"selectors": ["css=#x"], "environments": {"staging": {"selectors": list(SELECTORS)}}}}
ID = f"acme/tax/go/staging/{mark_of(SELECTORS)}"


@pytest.fixture
async def mongo(mongo_url: str, mongo_db: str) -> AsyncIterator[Mongo]:
    """An empty database."""
    made = Mongo(mongo_url, mongo_db)
    yield made
    await made.close()


def note(matches: Matches, matched: int | None) -> None:
    instruction = {"name": "browser.click", "args": {"target": {"$object": "go"}}}
    outcome, code = ("done", None) if matched is not None else ("error", "TIMEOUT")
    matches.note_reply(RUN, instruction, OBJECTS, outcome=outcome, code=code, matched=matched)


async def found(mongo: Mongo) -> dict[str, Any]:
    document = await mongo["object_matches"].find_one({"_id": ID})
    assert document is not None
    return dict(document)


async def test_executors_add_to_one_another(mongo: Mongo) -> None:
    several = [Matches(mongo) for _ in range(6)]
    for _ in range(2):
        for n, matches in enumerate(several):
            for matched in (0, 1, None)[: 1 + n % 3]:
                note(matches, matched)
        await asyncio.gather(*(matches.flush() for matches in several))
    await asyncio.gather(*(matches.flush() for matches in several))
    document = await found(mongo)
    assert document["counts"] == {"0": 12, "1": 8}
    assert (document["misses"], document["uses"], len(document["recent"])) == (4, 24, 24)
    assert (document["selectors"], document["environment"]) == (list(SELECTORS), "staging")
    assert document["last_at"]["0"] <= document["used_at"] < document["expires_at"]


async def test_the_newest_uses_stay_in_order_and_are_bounded(mongo: Mongo) -> None:
    matches = Matches(mongo)
    for n in range(3 * RECENT_MAX):
        note(matches, n % 2)
        if n % 7 == 0:
            await matches.flush()
    note(matches, None)
    await matches.flush()
    document = await found(mongo)
    recent = [one["matched"] for one in document["recent"]]
    assert recent == [*(n % 2 for n in range(2 * RECENT_MAX + 1, 3 * RECENT_MAX)), None]
    assert document["uses"] == 3 * RECENT_MAX + 1


class Away:
    """A database that is away for a while."""

    def __getitem__(self, name: str) -> Away:
        return self

    async def bulk_write(self, *_: Any, **__: Any) -> None:
        """Nobody there."""
        raise AutoReconnect("away")


async def test_what_could_not_be_written_is_added_later(mongo: Mongo) -> None:
    matches = Matches(Away())  # type: ignore[arg-type]
    note(matches, 0)
    await matches.flush()
    note(matches, 1)
    await matches.flush()
    matches._mongo = mongo
    await matches.flush()
    await matches.flush()
    document = await found(mongo)
    assert (document["counts"], [one["matched"] for one in document["recent"]]) == ({"0": 1, "1": 1}, [0, 1])
