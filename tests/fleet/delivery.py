"""A stand-in for delivery: takes over every outcome that is handed to it, in bulk, and counts them by task."""

from __future__ import annotations

import asyncio

from pymongo import UpdateOne

from shared.mongo import Mongo
from tests.fleet.ledger import Ledger

LOOK_S = 0.3
BATCH = 2000


class Delivery:
    """Clears the tasks' hand-over to delivery."""

    def __init__(self, mongo: Mongo, ledger: Ledger) -> None:
        self._mongo = mongo
        self._ledger = ledger

    async def work(self) -> None:
        """Look again and again."""
        while True:
            if await self._round() < BATCH:
                await asyncio.sleep(LOOK_S)

    async def _round(self) -> int:
        query = {"pending.to": "delivery"}
        found = await self._mongo["tasks"].find(query, {"pending.what": 1}).limit(BATCH).to_list(BATCH)
        if found:
            clear = {"$set": {"pending": None}}
            updates = [
                UpdateOne(
                    {"_id": task["_id"], "pending.to": "delivery", "pending.what": task["pending"]["what"]}, clear
                )
                for task in found
            ]
            done = await self._mongo["tasks"].bulk_write(updates, ordered=False)
            if done.modified_count != len(found):
                self._ledger.complain(
                    f"{len(found) - done.modified_count} outcomes changed while they were handed over"
                )
            self._ledger.told.update(task["_id"] for task in found)
        return len(found)
