"""The results feed: its sequencer, its readers' positions, and who waits for new entries.

Called by: handlers.py (new entries), results_api.py (readers), retention/ (entries that go). Owns: `results`, `feeds`,
`feed_readers`. Survives a crash: an entry's identity follows from its task and event, its number from the one before.
Change also: core/feed.py, shared/mongo/indexes.py, docs/results.md, docs/adr/0023.

Why a cursor never skips: number n is only tried when n - 1 is known to be on a majority (a number that a failover can
take back would let n stand without it, and be filled later, behind a reader who has passed). The unique index
(account, n) decides between processes. `feeds.floor` holds the highest number that was ever removed, so that numbers
are not used again when the newest entries are gone.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from pymongo.errors import BulkWriteError, PyMongoError
from pymongo.read_concern import ReadConcern

from services.delivery.core.feed import Page, Wanted, page_of
from shared.errors import ErrorCode, PermanentError, TemporaryError
from shared.mongo import Collection, Mongo, first_line
from shared.obs.clock import monotonic_s
from shared.obs.metrics import counter

COLLISIONS_MAX = 100
COLLISION_WAIT_S = 0.02
AT_ONCE_MAX = 200
"""Entries that one insert numbers; more wait for the next one."""
SCANNED_MAX = 2000
"""Entries that one look at a filtered feed passes over."""
READERS_MAX = 100
DUPLICATE = 11000
SURE_TIMEOUT_MS = 5_000
LAST_S = 60.0
"""Far below the day that an entry stays at least."""
COLLISIONS = counter("feed_collisions_total", "Numbers of the feed that another process took first.", [])

Waiting = tuple[dict[str, Any], "asyncio.Future[None]"]


class Feed:
    """One process' side of every account's feed."""

    def __init__(self, mongo: Mongo) -> None:
        self.mongo = mongo
        self._last: dict[str, tuple[int, float]] = {}
        """The last number of an account and when (monotonic) it was this process that gave it."""
        self._queues: dict[str, list[Waiting]] = {}
        self._writers: dict[str, asyncio.Task[None]] = {}
        self._told: list[Callable[[str], None]] = []

    def on_entries(self, told: Callable[[str], None]) -> None:
        """Call `told(account)` after entries of an account were stored by this process."""
        self._told.append(told)

    # new entries

    async def add(self, document: Mapping[str, Any]) -> None:
        """Give an event the next number of its account's feed, unless it has one.

        Entries of an account that come together are numbered by one insert. Raises: TemporaryError when the database
        is away, or others were faster again and again; then the entry may or may not be there, and adding it again is
        right in both cases.
        """
        account = str(document["account"])
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues.setdefault(account, []).append((dict(document), done))
        if account not in self._writers:
            self._writers[account] = asyncio.create_task(self._write(account), name=f"feed {account}")
        await asyncio.shield(done)

    async def _write(self, account: str) -> None:
        """Number what waits, until nothing does."""
        queue = self._queues[account]
        try:
            while queue:
                part, queue[:] = queue[:AT_ONCE_MAX], queue[AT_ONCE_MAX:]
                try:
                    await self._number(account, [document for document, _ in part])
                except Exception as error:
                    self._last.pop(account, None)
                    _settle(part, _as_ours(error))
                else:
                    _settle(part, None)
                    for told in self._told:
                        told(account)
        finally:
            del self._writers[account], self._queues[account]

    async def _number(self, account: str, documents: Sequence[Mapping[str, Any]]) -> None:
        left = list({document["_id"]: document for document in documents}.values())
        for _ in range(COLLISIONS_MAX):
            first = await self._sure_last(account) + 1
            numbered = [{**document, "n": first + at} for at, document in enumerate(left)]
            try:
                await self.mongo["results"].insert_many(numbered, ordered=True)
            except BulkWriteError as error:
                # In order: what stands before the one that failed is stored, and nothing behind it.
                faults = error.details.get("writeErrors") or [{}]
                if faults[0].get("code") != DUPLICATE or error.details.get("writeConcernErrors"):
                    raise
                left = left[int(faults[0]["index"]) :]
                self._last.pop(account, None)
                COLLISIONS.inc()
                if await self._there(left[0]["_id"]):
                    left = left[1:]
                if not left:
                    return
                await asyncio.sleep(random.uniform(0, COLLISION_WAIT_S))
            else:
                self._last[account] = (first + len(numbered) - 1, monotonic_s())
                return
        raise TemporaryError(f"no number of the feed of {account} could be had")

    async def _sure_last(self, account: str) -> int:
        """The last number of a feed, of which no failover takes anything back.

        Linearizable: the answer waits until what it saw is on a majority. The entries are read before the floor: an
        entry that was removed in between has raised the floor before. What this process gave itself is good for
        LAST_S: later ones of others may have been made, and removed again, since then.
        """
        last, at_s = self._last.get(account, (0, float("-inf")))
        if monotonic_s() - at_s < LAST_S:
            return last
        found = await _sure(self.mongo["results"]).find_one(
            {"account": account}, {"n": 1}, sort=[("n", -1)], max_time_ms=SURE_TIMEOUT_MS
        )
        floor = await _sure(self.mongo["feeds"]).find_one({"_id": account}, max_time_ms=SURE_TIMEOUT_MS)
        return max(int(found["n"]) if found else 0, int(floor["floor"]) if floor else 0)

    async def _there(self, id: str) -> bool:
        """Whether an entry stands, and no failover takes it back any more."""
        found = await _sure(self.mongo["results"]).find_one({"_id": id}, {"_id": 1}, max_time_ms=SURE_TIMEOUT_MS)
        return found is not None

    # reading

    async def page(self, account: str, after: int, limit: int, wanted: Wanted) -> Page:
        """Entries behind number `after` that are wanted, in order; only what a majority of the database has."""
        feed = self.mongo["results"].with_options(read_concern=ReadConcern("majority"))
        scanned = SCANNED_MAX if wanted.narrow else limit + 1
        shown: dict[str, Any] = {"n": 1, "workflow": 1, "body": _body_if(wanted) if wanted.narrow else 1}
        cursor = feed.find({"account": account, "n": {"$gt": after}}, shown).sort("n", 1).limit(scanned)
        found = [_checked(entry, wanted) for entry in await cursor.to_list(scanned)]
        return page_of(found, after=after, limit=limit, scanned_max=scanned)

    async def last(self, account: str) -> int:
        """The highest number that the feed has or had."""
        feed = self.mongo["results"].with_options(read_concern=ReadConcern("majority"))
        found = await feed.find_one({"account": account}, {"n": 1}, sort=[("n", -1)])
        floor = await self.mongo["feeds"].find_one({"_id": account})
        return max(int(found["n"]) if found else 0, int(floor["floor"]) if floor else 0)

    # entries that go

    async def raise_floor(self, account: str, n: int) -> None:
        """Note that numbers up to `n` were used, before their entries are removed."""
        await self.mongo["feeds"].update_one(
            {"_id": account}, {"$max": {"floor": n}, "$setOnInsert": {"schema_version": 1}}, upsert=True
        )

    # readers

    async def reader(self, account: str, name: str) -> dict[str, Any] | None:
        """A named reader's position."""
        found: dict[str, Any] | None = await self.mongo["feed_readers"].find_one({"_id": f"{account}/{name}"})
        return found

    async def readers(self, account: str) -> list[dict[str, Any]]:
        """All readers of an account, by name."""
        cursor = self.mongo["feed_readers"].find({"account": account}).sort("_id", 1).limit(READERS_MAX)
        return list(await cursor.to_list(READERS_MAX))

    async def acknowledge(self, account: str, name: str, n: int, *, back: bool, at: datetime) -> dict[str, Any]:
        """Move a reader to number `n`; backwards only when `back` says so. Gives its position as it is now.

        Raises: PermanentError TOO_MANY.
        """
        id = f"{account}/{name}"
        if await self.reader(account, name) is None and await self._readers_count(account) >= READERS_MAX:
            text = f"an account has at most {READERS_MAX} readers; remove one with DELETE /v1/results/readers/{{name}}"
            raise PermanentError(ErrorCode.TOO_MANY, text)
        move: dict[str, Any] = {"$set": {"n": n}} if back else {"$max": {"n": n}}
        fresh = {"schema_version": 1, "account": account, "name": name}
        document: dict[str, Any] | None = await self.mongo["feed_readers"].find_one_and_update(
            {"_id": id},
            {**move, "$currentDate": {"at": True}, "$setOnInsert": fresh},
            upsert=True,
            return_document=True,
        )
        return document or {**fresh, "n": n, "at": at}

    async def forget_reader(self, account: str, name: str) -> bool:
        """Remove a reader; false when there was none."""
        return bool((await self.mongo["feed_readers"].delete_one({"_id": f"{account}/{name}"})).deleted_count)

    async def _readers_count(self, account: str) -> int:
        return int(await self.mongo["feed_readers"].count_documents({"account": account}))


def _sure(collection: Collection) -> Collection:
    return collection.with_options(read_concern=ReadConcern("linearizable"))


def _body_if(wanted: Wanted) -> dict[str, Any]:
    """The body of entries that are wanted; the others come without one, so that the cursor moves past them."""
    tests: list[dict[str, Any]] = []
    if wanted.workflow is not None:
        tests.append({"$eq": [{"$ifNull": ["$workflow", wanted.workflow]}, wanted.workflow]})
    if wanted.event is not None:
        tests.append({"$eq": ["$event", wanted.event]})
    return {"$cond": [{"$and": tests}, "$body", "$$REMOVE"]}


def _checked(entry: dict[str, Any], wanted: Wanted) -> dict[str, Any]:
    """Entries of older versions name their workflow in the body only."""
    old = wanted.workflow is not None and "body" in entry and "workflow" not in entry
    if old and json.loads(entry["body"]).get("workflow") != wanted.workflow:
        del entry["body"]
    return entry


def _settle(part: Sequence[Waiting], error: Exception | None) -> None:
    for _, done in part:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
            done.exception()  # whoever waited may have been cancelled


def _as_ours(error: Exception) -> Exception:
    if isinstance(error, PyMongoError):
        made = TemporaryError(f"the feed can't be written: {first_line(error)}")
        made.__cause__ = error
        return made
    return error
