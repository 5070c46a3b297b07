"""All of delivery's queries: tasks handed to it, deliveries, the results feed, endpoints.

Called by: handlers.py, sender.py, api.py. Survives a crash: every insert has an identity that follows from its task
and event, every update names the state it expects; a claim is a time, so that a dead instance's claims become due
again by themselves. Clocks of two machines that differ cost a repeated attempt (same webhook-id, same bytes), never a
lost one. Change also: shared/mongo/indexes.py, ARCHITECTURE.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern

from services.delivery.core.outcome import Next
from services.delivery.core.plan import Event
from shared.domain.delivery_state import DELIVERY, DeliveryState
from shared.errors import TemporaryError
from shared.mongo import Mongo
from shared.mongo.guarded import guarded_update, insert_once

OWNER = "delivery"
LIVE = (DeliveryState.PENDING.value, DeliveryState.RETRYING.value)
ATTEMPTS_KEPT = 20
FEED_COLLISIONS_MAX = 100
UNCLAIMED = {"claimed_by": None, "claimed_until": None}


class DeliveryStore:
    """Delivery's view of the database."""

    def __init__(self, mongo: Mongo) -> None:
        self.mongo = mongo
        self._feed_lock = asyncio.Lock()
        self._feed_last: dict[str, int] = {}

    # tasks that were handed over

    async def task(self, id: str) -> dict[str, Any] | None:
        """A task by its id."""
        found: dict[str, Any] | None = await self.mongo["tasks"].find_one({"_id": id})
        return found

    async def tasks_waiting(self, now: datetime, limit: int) -> list[dict[str, Any]]:
        """Tasks handed to delivery whose turn it is, longest waiting first."""
        query = {"pending.to": OWNER, "pending.due_at": {"$lte": now}}
        return list(await self.mongo["tasks"].find(query).sort("pending.due_at", 1).limit(limit).to_list(limit))

    async def claim_task(self, task: Mapping[str, Any], due_at: datetime, op: str) -> bool:
        """Push out when the sweep looks at a task again, and count the claim; false when somebody else did."""
        pending = task["pending"]
        expect = {"pending.to": OWNER, "pending.what": pending["what"], "pending.claims": pending["claims"]}
        update = {"$set": {"pending.due_at": due_at}, "$inc": {"pending.claims": 1}}
        return (await guarded_update(self.mongo["tasks"], task["_id"], expect, update, op=op)).applied

    async def clear_pending(self, task: Mapping[str, Any], event: Event, op: str) -> None:
        """Note that an event is settled, unless the task has moved on to another one meanwhile."""
        expect: dict[str, Any] = {"pending.to": OWNER, "pending.what": event.name}
        if event.name in (task.get("events") or {}):
            expect[f"events.{event.name}"] = event.count
        await guarded_update(self.mongo["tasks"], task["_id"], expect, {"$set": {"pending": None}}, op=op)

    async def settings(self, account: str, workflow: str) -> dict[str, Any]:
        """A workflow's settings as they are now."""
        found = await self.mongo["workflows"].find_one({"_id": f"{account}/{workflow}"}, {"settings": 1})
        return (found or {}).get("settings") or {}

    # deliveries

    async def add_delivery(self, document: Mapping[str, Any]) -> bool:
        """Insert a delivery; false: it was there."""
        return await insert_once(self.mongo["deliveries"], document)

    async def due(self, now: datetime, limit: int, busy: Collection[tuple[str, str]]) -> list[dict[str, Any]]:
        """Deliveries whose turn it is, longest due first. busy: (account, endpoint) that take no more at the moment."""
        query: dict[str, Any] = {
            "state": {"$in": list(LIVE)},
            "next_at": {"$lte": now},
            "$or": [{"claimed_until": None}, {"claimed_until": {"$lt": now}}],
        }
        if busy:
            query["$nor"] = [{"account": account, "endpoint": endpoint} for account, endpoint in busy]
        return list(await self.mongo["deliveries"].find(query).sort("next_at", 1).limit(limit).to_list(limit))

    async def claim(self, delivery: Mapping[str, Any], instance: str, now: datetime, for_s: float, op: str) -> bool:
        """Take a delivery as it was read, for one attempt."""
        expect = {name: delivery.get(name) for name in ("state", "next_at", "claimed_by", "claimed_until")}
        update = {"$set": {"claimed_by": instance, "claimed_until": now + timedelta(seconds=for_s), "claim": op}}
        return (await guarded_update(self.mongo["deliveries"], delivery["_id"], expect, update, op=op)).applied

    async def release_own(self, instance: str) -> int:
        """Give back what an earlier life of this instance had claimed."""
        query = {"claimed_by": instance, "state": {"$in": list(LIVE)}}
        return int((await self.mongo["deliveries"].update_many(query, {"$set": UNCLAIMED})).modified_count)

    async def record(
        self, delivery: str, claim: str, attempt: Mapping[str, Any] | None, following: Next, op: str
    ) -> bool:
        """Write down an attempt and what follows.

        A 2xx counts whoever holds the claim: the partner has it. Everything else only counts for the holder. attempt:
        none when nothing was sent, because the endpoint is missing.
        """
        sources = [state.value for state in DELIVERY.sources(following.state, owner=OWNER)]
        expect: dict[str, Any] = {"state": {"$in": [s for s in {*sources, following.state.value} if s in LIVE]}}
        if following.state is not DeliveryState.DELIVERED:
            expect["claim"] = claim
        fields: dict[str, Any] = {"state": following.state.value, "reason": following.reason, **UNCLAIMED}
        update: dict[str, Any] = {"$set": fields}
        if following.next_at is None:
            # The index of what is due holds only those that have the field.
            update["$unset"] = {"next_at": ""}
        else:
            fields["next_at"] = following.next_at
        if following.state is DeliveryState.DELIVERED and attempt is not None:
            fields["delivered_at"] = attempt["at"]
        if attempt is not None:
            update["$push"] = {"attempts": {"$each": [dict(attempt)], "$slice": -ATTEMPTS_KEPT}}
            update["$inc"] = {"attempts_made": 1, "failed_since_replay": 1}
        return (await guarded_update(self.mongo["deliveries"], delivery, expect, update, op=op)).applied

    async def replay(self, query: Mapping[str, Any], *, by: str, at: datetime, op: str) -> int:
        """Make dead deliveries due again, with a schedule from its beginning; how many there were."""
        fields = {
            "state": DeliveryState.RETRYING.value,
            "next_at": at,
            "reason": f"replayed by {by}",
            "failed_since_replay": 0,
            "op": op,
            **UNCLAIMED,
        }
        dead = {**query, "state": DeliveryState.DEAD.value}
        return int((await self.mongo["deliveries"].update_many(dead, {"$set": fields})).modified_count)

    # the results feed

    async def add_result(self, document: Mapping[str, Any]) -> None:
        """Give an event the next number of its account's feed, unless it has one.

        The unique index (account, n) is the sequencer: a number is taken only when the one before is there, so the
        feed has no gaps that fill up later, and a cursor skips nothing. Raises: TemporaryError when others were
        faster again and again.
        """
        account = document["account"]
        async with self._feed_lock:
            for _ in range(FEED_COLLISIONS_MAX):
                n = await self._last(account) + 1
                try:
                    await self.mongo["results"].insert_one({**document, "n": n})
                except DuplicateKeyError as error:
                    self._feed_last.pop(account, None)
                    if await self._in_feed(document["_id"]):
                        return
                    if "n" not in ((error.details or {}).get("keyPattern") or {}):
                        raise
                else:
                    self._feed_last[account] = n
                    return
        raise TemporaryError(f"no number of the feed of {account} could be had")

    async def _last(self, account: str) -> int:
        if account not in self._feed_last:
            found = await self.mongo["results"].find_one({"account": account}, {"n": 1}, sort=[("n", -1)])
            return int(found["n"]) if found else 0
        return self._feed_last[account]

    async def _in_feed(self, id: str) -> bool:
        return await self.mongo["results"].find_one({"_id": id}, {"_id": 1}) is not None

    async def results(self, account: str, after: int, limit: int) -> list[dict[str, Any]]:
        """Entries of an account's feed after number `after`, in order; only what a majority of the database has."""
        feed = self.mongo["results"].with_options(read_concern=ReadConcern("majority"))
        cursor = feed.find({"account": account, "n": {"$gt": after}}, {"n": 1, "body": 1}).sort("n", 1)
        return list(await cursor.limit(limit).to_list(limit))

    # endpoints

    async def endpoint(self, account: str, name: str) -> dict[str, Any] | None:
        """An endpoint with its sealed secrets."""
        found: dict[str, Any] | None = await self.mongo["endpoints"].find_one({"_id": f"{account}/{name}"})
        return found

    async def endpoints(self, account: str, after: str, limit: int) -> list[dict[str, Any]]:
        """An account's endpoints by name, without their secrets."""
        query = {"account": account, "name": {"$gt": after}}
        cursor = self.mongo["endpoints"].find(query, {"secrets": 0}).sort("name", 1)
        return list(await cursor.limit(limit).to_list(limit))

    async def endpoints_count(self, account: str) -> int:
        """How many endpoints an account has."""
        return int(await self.mongo["endpoints"].count_documents({"account": account}))

    async def put_endpoint(
        self, account: str, name: str, fields: Mapping[str, Any], sealed: bytes | None, keep: int, at: datetime
    ) -> dict[str, Any]:
        """Make or change an endpoint in one write; a new secret goes before the ones that stand."""
        update: dict[str, Any] = {
            "$set": {**fields, "enabled": True, "disabled_reason": None},
            "$setOnInsert": {"schema_version": 1, "account": account, "name": name, "created_at": at},
        }
        if sealed is not None:
            update["$push"] = {"secrets": {"$each": [sealed], "$position": 0, "$slice": keep}}
        document: dict[str, Any] | None = await self.mongo["endpoints"].find_one_and_update(
            {"_id": f"{account}/{name}"}, update, upsert=True, return_document=True, projection={"secrets": 0}
        )
        assert document is not None  # an upsert always leaves one
        return document

    async def disable_endpoint(self, account: str, name: str, secrets: Sequence[bytes], reason: str, op: str) -> None:
        """Disable an endpoint, if it is still the one that answered so."""
        expect = {"enabled": True, "secrets": list(secrets)}
        update = {"$set": {"enabled": False, "disabled_reason": reason}}
        await guarded_update(self.mongo["endpoints"], f"{account}/{name}", expect, update, op=op)

    async def remove_endpoint(self, account: str, name: str) -> bool:
        """Remove an endpoint; false when there was none."""
        return bool((await self.mongo["endpoints"].delete_one({"_id": f"{account}/{name}"})).deleted_count)
