"""Whose turn it is to open runs: eight schedulers that look at the same queue at once would mostly be in each other's
way, so a few work a pass while the others wait for it. One alone would leave robots idle where the database is slow.

Called by: dispatch.py. A turn saves work and guards nothing: what a run takes is guarded by the transaction that opens
it, so two schedulers that both think it is their turn lose some transactions and nothing else. Survives a crash: a turn
ends by itself after TURN_MS on the database's own clock; no two machines' clocks are compared.

A scheduler that dies within a transaction leaves its documents locked until the server gives the transaction up, which
takes a minute by default. So a turn names the session that its transactions use, and who finds a turn that was never
given back ends that session first.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from datetime import UTC, datetime
from typing import Any

from pymongo.errors import OperationFailure, PyMongoError
from pymongo.write_concern import WriteConcern

from shared.mongo import Mongo, Session, first_line
from shared.mongo.guarded import insert_once
from shared.obs.logs import get_logger

AT_ONCE = 3
"""Turns at once. With one, openings came one after another, and a database that took 10 ms for each query fed three
robots a second; with eight, two of three transactions were aborted."""
TURN_MS = 3000
BEAT_S = 0.5
"""Whoever has the turn says so often that it goes on, however slow the database is: on a machine where one opening took
longer than a turn, schedulers that took each other's turns ended each other's transactions and nothing got on."""


log = get_logger(__name__)


def _in_ms(ms: int) -> dict[str, Any]:
    return {"$add": ["$$NOW", ms]}


FREE = {"$or": [{"$lte": ["$until", "$$NOW"]}, {"$gt": ["$until", _in_ms(2 * TURN_MS)]}]}
"""The turn has ended; one that would end later than any turn can was made by a clock that has been set back since."""


def _first(n: int) -> dict[str, Any]:
    long_ago = datetime(2000, 1, 1, tzinfo=UTC)
    return {
        "_id": f"dispatch/{n}", "schema_version": 1, "by": None, "until": long_ago, "passes": 0, "session": None
    }  # fmt: skip


class Turn:
    """One scheduler's view of the turn."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        # one node's word is enough, and a turn lost in a failover is only work done twice
        self._turns = mongo["turns"].with_options(write_concern=WriteConcern(w=1))
        self._me = secrets.token_hex(8)
        self._made = False
        self._id = ""
        """Of the turn that this scheduler has, or had last."""
        self._beating: asyncio.Task[None] | None = None
        self._over = asyncio.Event()
        self.mine = False
        """Whether this scheduler has the turn, as far as it knows."""
        self._session: Session | None = None

    @property
    def session(self) -> Session:
        """The session for all transactions of this scheduler's turns: one after another, so one is enough."""
        if self._session is None:
            self._session = self._mongo.client.start_session()
        return self._session

    async def look(self) -> tuple[list[str], int]:
        """The turns that nobody has, and how many have begun so far, over all schedulers.

        Those that were never given back come alone: whoever takes one ends what a dead scheduler left open.
        """
        if not self._made:
            for n in range(AT_ONCE):
                await insert_once(self._turns, _first(n))
            self._made = True
        ids = {"$in": [_first(n)["_id"] for n in range(AT_ONCE)]}
        found = await self._turns.find({"_id": ids}, {"passes": 1, "by": 1, "free": FREE}).to_list(None)
        self._made = len(found) == AT_ONCE  # else look again whether they are there: they may have been restored away
        free = [one for one in found if one["free"]]
        left = [one for one in free if one["by"] is not None]
        return [str(one["_id"]) for one in left or free], sum(int(one["passes"]) for one in found)

    async def take(self, id: str) -> bool:
        """Begin this turn, unless another scheduler has it by now."""
        fields = {
            "by": self._me, "until": _in_ms(TURN_MS), "passes": {"$add": ["$passes", 1]},
            "session": self.session.session_id["id"],
        }  # fmt: skip
        before = await self._turns.find_one_and_update({"_id": id, "$expr": FREE}, [{"$set": fields}])
        if before is None:
            return False
        self.mine, self._id = True, id
        self._over.clear()
        self._beating = asyncio.create_task(self._beat())
        if before["by"] not in (None, self._me):
            await self._end_session(before)
        return True

    async def give_back(self) -> None:
        """End the turn early: there is nothing left to open."""
        self._over.set()
        if self._beating is not None:
            await self._beating
        if self.mine:
            self.mine = False
            await self._turns.update_one({"_id": self._id, "by": self._me}, [{"$set": {"by": None, "until": "$$NOW"}}])

    async def _beat(self) -> None:
        """Lengthen the turn until it is given back; an event ends it, since the driver may swallow cancellations."""
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._over.wait(), BEAT_S)
            if self._over.is_set():
                return
            try:
                longer = [{"$set": {"until": _in_ms(TURN_MS)}}]
                done = await self._turns.update_one({"_id": self._id, "by": self._me}, longer)
                self.mine = bool(done.matched_count)
            except PyMongoError as error:
                log.info("turn_not_lengthened", reason=first_line(error))

    async def close(self) -> None:
        """Give the session back to the client."""
        if self._session is not None:
            await self._session.end_session()
            self._session = None

    async def _end_session(self, before: dict[str, Any]) -> None:
        """Abort the transaction of a scheduler that did not give its turn back: it died, or hangs and would be late."""
        log.warning("turn_taken_over", before=before["by"], passes=before["passes"])
        try:
            await self._mongo.client.admin.command({"killSessions": [{"id": before["session"]}]})
        except OperationFailure as error:  # the server then ends it by its own time limit
            log.warning("session_not_ended", before=before["by"], reason=str(error)[:300])
