"""Results that are collected into files: makes a file's delivery of what waits, and tells results what became of it.

Called by: main.py (its sweeper). Owns the fields `collect`, `file`, `told` of deliveries. Survives a crash at any line:
a file and its results' `file` are one transaction, so a result is in exactly one file, whichever process made it; what
became of a file is told until `told` says so. From then on a file is a delivery like any other: attempted by its
endpoint's channel, tried again, dead, replayed. Change also: core/collecting.py, docs/results.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.delivery.core.collecting import EDGES_TO, FILE_PREFIX, file_document, part_due
from shared.domain.delivery_state import DeliveryState
from shared.domain.endpoint_options import ITEMS_MAX, collect_of
from shared.mongo import Mongo, Session
from shared.mongo.guarded import in_transaction
from shared.obs.clock import now
from shared.obs.ids import new_id
from shared.obs.logs import get_logger
from shared.obs.metrics import counter

ENDPOINTS_MAX = 1000
"""Endpoints with waiting results that one sweep looks at."""
TOLD_MAX = 100
FILES = counter("delivery_files_total", "Files of collected results that were made.", [])

log = get_logger(__name__)


class _Changed(Exception):
    """Another process put some of these results into a file."""


class Collector:
    """Makes files."""

    def __init__(self, mongo: Mongo, wake: Callable[[str | None], None]) -> None:
        """wake: tells the sender that something is due."""
        self._mongo = mongo
        self._wake = wake

    async def sweep(self) -> None:
        """Make the files that are due, and tell results what became of theirs."""
        made = 0
        for lane in await self._lanes():
            while await self._make(lane["account"], lane["endpoint"]):
                made += 1
        if made:
            FILES.inc(made)
            self._wake(None)
        for file in await self._untold():
            await self._tell(file)

    async def _lanes(self) -> list[dict[str, Any]]:
        """Endpoints for which results wait."""
        found = await self._mongo["deliveries"].aggregate(
            [
                {"$match": {"collect": True}},
                {"$group": {"_id": {"account": "$account", "endpoint": "$endpoint"}}},
                {"$limit": ENDPOINTS_MAX},
            ]
        )
        return [lane["_id"] async for lane in found]

    async def _make(self, account: str, endpoint: str) -> bool:
        """One file of an endpoint, if one is due; whether there may be another."""
        at = now()
        collect = collect_of(await self._mongo["endpoints"].find_one({"_id": f"{account}/{endpoint}"}))
        query = {"collect": True, "account": account, "endpoint": endpoint}
        cursor = self._mongo["deliveries"].find(query, {"created_at": 1}).sort([("created_at", 1), ("_id", 1)])
        waiting = [(one["_id"], one["created_at"]) for one in await cursor.limit(ITEMS_MAX).to_list(ITEMS_MAX)]
        part = part_due(waiting, collect, at)
        if part is None:
            return False
        items, until = part
        file = file_document(new_id(FILE_PREFIX), account=account, endpoint=endpoint, items=items, until=until, at=at)

        async def store(session: Session) -> None:
            taken = await self._mongo["deliveries"].update_many(
                {"_id": {"$in": items}, "collect": True},
                {"$set": {"file": file["_id"]}, "$unset": {"collect": ""}},
                session=session,
            )
            if taken.modified_count != len(items):
                raise _Changed
            await self._mongo["deliveries"].insert_one(file, session=session)

        try:
            await in_transaction(self._mongo, store)
        except _Changed:
            return True
        log.info("results collected", delivery=file["_id"], account=account, endpoint=endpoint, count=len(items))
        return True

    async def _untold(self) -> list[dict[str, Any]]:
        """Files whose results say something else than they do."""
        query = {"told": {"$exists": True}, "$expr": {"$ne": ["$told", "$state"]}}
        cursor = self._mongo["deliveries"].find(query, {"state": 1, "reason": 1, "delivered_at": 1, "told": 1})
        return list(await cursor.limit(TOLD_MAX).to_list(TOLD_MAX))

    async def _tell(self, file: Mapping[str, Any]) -> None:
        """Bring a file's results to its state, by the edges that deliveries have."""
        state = DeliveryState(file["state"])
        about = {"reason": file.get("reason"), "delivered_at": file.get("delivered_at")}
        if state is DeliveryState.DELIVERED:  # a dead one was replayed, and this is the first that is heard of it
            await self._move(file["_id"], DeliveryState.RETRYING, (DeliveryState.DEAD,), {})
        await self._move(file["_id"], state, EDGES_TO.get(state, ()), about)
        still = {"_id": file["_id"], "state": state.value, "told": file["told"]}
        done: dict[str, Any] = {"$set": {"told": state.value}}
        if state is DeliveryState.DELIVERED:  # nothing can follow: it need not be looked at any more
            done = {"$unset": {"told": ""}}
        await self._mongo["deliveries"].update_one(still, done)

    async def _move(
        self, file: str, to: DeliveryState, sources: tuple[DeliveryState, ...], fields: Mapping[str, Any]
    ) -> None:
        query: dict[str, Any] = {
            "file": {"$eq": file, "$type": "string"},
            "state": {"$in": [state.value for state in sources]},
            "next_at": {"$exists": False},
        }
        await self._mongo["deliveries"].update_many(query, {"$set": {**fields, "state": to.value}})
