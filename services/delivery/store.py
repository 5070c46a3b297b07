"""Delivery's queries: tasks and questions handed to it, deliveries. Endpoints: store_endpoints.py; the feed: feed.py.

Called by: handlers.py, sender.py, api.py. Survives a crash: every insert has an identity that follows from its task
and event, every update names the state it expects; a claim is a time, so that a dead instance's claims become due
again by themselves. Clocks of two machines that differ cost a repeated attempt (same webhook-id, same bytes), never a
lost one. Change also: shared/mongo/indexes.py, ARCHITECTURE.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from typing import Any

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
SURE_TIMEOUT_MS = 5_000
REPLAYED_FILED_MAX = 100_000
"""Results in files that one replay looks at; a second one goes on with the rest."""
UNCLAIMED = {"claimed_by": None, "claimed_until": None}
LANES_MAX = 2000
"""Endpoints that one look serves; what is due for others comes at the next one."""
LANE = {"$concat": ["$account", "/", "$endpoint"]}


class DeliveryStore:
    """Delivery's view of the database."""

    def __init__(self, mongo: Mongo) -> None:
        self.mongo = mongo

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

    # questions that were handed over

    async def decision(self, id: str) -> dict[str, Any] | None:
        """A question by its id."""
        found: dict[str, Any] | None = await self.mongo["decisions"].find_one({"_id": id})
        return found

    async def decisions_waiting(self, now: datetime, limit: int) -> list[dict[str, Any]]:
        """Questions handed to delivery whose turn it is, longest waiting first."""
        query = {"pending.to": OWNER, "pending.due_at": {"$lte": now}}
        return list(await self.mongo["decisions"].find(query).sort("pending.due_at", 1).limit(limit).to_list(limit))

    async def put_off_decision(self, decision: Mapping[str, Any], due_at: datetime) -> bool:
        """Push out when the sweep looks at a question again, and count that; false when somebody else did.

        Without an operation id: the executor's answers are recognised by theirs.
        """
        query = {"_id": decision["_id"], "pending.to": OWNER, "pending.claims": decision["pending"]["claims"]}
        update = {"$set": {"pending.due_at": due_at}, "$inc": {"pending.claims": 1}}
        return bool((await self.mongo["decisions"].update_one(query, update)).modified_count)

    async def clear_decision(self, id: str) -> None:
        """Note that a question's deliveries stand."""
        await self.mongo["decisions"].update_one({"_id": id, "pending.to": OWNER}, {"$set": {"pending": None}})

    async def settings(self, account: str, workflow: str) -> dict[str, Any]:
        """A workflow's settings as they are now."""
        found = await self.mongo["workflows"].find_one({"_id": f"{account}/{workflow}"}, {"settings": 1})
        return (found or {}).get("settings") or {}

    # deliveries

    async def add_delivery(self, document: Mapping[str, Any]) -> bool:
        """Insert a delivery; false: it was there.

        Raises: TemporaryError when the one that was there may still be taken back by a failover: the task's `pending`
        must not be cleared for it.
        """
        if await insert_once(self.mongo["deliveries"], document):
            return True
        sure = self.mongo["deliveries"].with_options(read_concern=ReadConcern("linearizable"))
        if await sure.find_one({"_id": document["_id"]}, {"_id": 1}, max_time_ms=SURE_TIMEOUT_MS) is None:
            raise TemporaryError(f"delivery {document['_id']} was there, and is not any more")
        return False

    async def lanes_due(self, now: datetime) -> list[tuple[str, datetime]]:
        """Endpoints (`<account>/<name>`) for which something is due, and since when; the longest due first.

        One walk over the distinct lanes of the index (DISTINCT_SCAN), whatever waits in them: 100,000 deliveries of an
        endpoint that is down are one entry.
        """
        pipeline: list[dict[str, Any]] = [
            {"$match": {"lane": {"$gt": ""}}},
            {"$sort": {"lane": 1, "next_at": 1}},
            {"$group": {"_id": "$lane", "at": {"$first": "$next_at"}}},
            {"$match": {"at": {"$lte": now}}},
            {"$sort": {"at": 1}},
            {"$limit": LANES_MAX},
        ]
        found = await self.mongo["deliveries"].aggregate(pipeline)
        return [(one["_id"], one["at"]) async for one in found]

    async def due(self, lane: str, now: datetime, limit: int) -> list[dict[str, Any]]:
        """Deliveries of one endpoint whose turn it is, longest due first. Claimed ones are due when the claim ends."""
        query = {"lane": lane, "next_at": {"$lte": now}}
        return list(await self.mongo["deliveries"].find(query).sort("next_at", 1).limit(limit).to_list(limit))

    async def live_of_tasks(self, lane: str, tasks: Collection[str]) -> list[dict[str, Any]]:
        """What is still to be delivered of some tasks to one endpoint."""
        query = {"task": {"$in": list(tasks)}, "lane": lane}
        fields = {"task": 1, "order": 1, "created_at": 1, "next_at": 1}
        return list(await self.mongo["deliveries"].find(query, fields).to_list(None))

    async def put_behind(self, delivery: Mapping[str, Any], until: datetime, op: str) -> bool:
        """Let a delivery wait for an earlier event of its task; the end of that one brings it back sooner."""
        expect = {"next_at": delivery["next_at"], "claimed_by": None}
        update = {"$set": {"next_at": until, "behind": True}}
        return (await guarded_update(self.mongo["deliveries"], delivery["_id"], expect, update, op=op)).applied

    async def bring_forward(self, task: str, lane: str, now: datetime) -> int:
        """An event of a task has ended: what waited behind it may be looked at now."""
        query = {"task": task, "lane": lane, "behind": True}
        update = {"$set": {"next_at": now}, "$unset": {"behind": ""}}
        return int((await self.mongo["deliveries"].update_many(query, update)).modified_count)

    async def claim(self, delivery: Mapping[str, Any], instance: str, now: datetime, for_s: float, op: str) -> bool:
        """Take a delivery as it was read, for one attempt; it is due again when the claim ends without a word."""
        until = now + timedelta(seconds=for_s)
        expect = {"state": delivery["state"], "next_at": delivery["next_at"]}
        fields = {"claimed_by": instance, "claimed_until": until, "claim": op, "next_at": until}
        update = {"$set": fields, "$unset": {"behind": ""}}
        return (await guarded_update(self.mongo["deliveries"], delivery["_id"], expect, update, op=op)).applied

    async def release_own(self, instance: str, now: datetime) -> int:
        """Give back what an earlier life of this instance had claimed."""
        query = {"claimed_by": instance, "lane": {"$exists": True}}
        update = {"$set": {**UNCLAIMED, "next_at": now}}
        return int((await self.mongo["deliveries"].update_many(query, update)).modified_count)

    async def adopt(self) -> int:
        """Deliveries of an earlier version, which stood in no lane; results that are collected stand in none."""
        query = {"state": {"$in": list(LIVE)}, "lane": {"$exists": False}, "collect": None, "file": None}
        change = [{"$set": {"lane": LANE}}]
        return int((await self.mongo["deliveries"].update_many(query, change)).modified_count)

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
            # The index of what is due holds only those that have these fields.
            update["$unset"] = {"next_at": "", "lane": ""}
        else:
            fields["next_at"] = following.next_at
        if following.state is DeliveryState.DELIVERED and attempt is not None:
            fields["delivered_at"] = attempt["at"]
        if attempt is not None:
            update["$push"] = {"attempts": {"$each": [dict(attempt)], "$slice": -ATTEMPTS_KEPT}}
            update["$inc"] = {"attempts_made": 1, "failed_since_replay": 1}
        return (await guarded_update(self.mongo["deliveries"], delivery, expect, update, op=op)).applied

    async def replay(self, query: Mapping[str, Any], *, by: str, at: datetime, op: str) -> int:
        """Make dead deliveries due again, with a schedule from its beginning; how many there were.

        A result that went into a file is sent again with its file, and never by itself besides.
        """
        fields = {
            "state": DeliveryState.RETRYING.value,
            "lane": LANE,
            "next_at": at,
            "reason": {"$literal": f"replayed by {by}"},
            "failed_since_replay": 0,
            "op": {"$literal": op},
            **UNCLAIMED,
        }
        dead: dict[str, Any] = {"state": DeliveryState.DEAD.value, "erased": None}
        within = self.mongo["deliveries"].find({**query, **dead, "file": {"$type": "string"}}, {"file": 1})
        files = {one["file"] for one in await within.limit(REPLAYED_FILED_MAX).to_list(None)}
        dead["$or"] = [{**query, "file": None}, {"_id": {"$in": sorted(files)}}]
        return int((await self.mongo["deliveries"].update_many(dead, [{"$set": fields}])).modified_count)

    async def delivery(self, account: str, id: str) -> dict[str, Any] | None:
        """A delivery of this account."""
        found: dict[str, Any] | None = await self.mongo["deliveries"].find_one({"_id": id, "account": account})
        return found

    async def deliveries(
        self, account: str, filters: Mapping[str, Any], before: tuple[datetime, str] | None, limit: int
    ) -> list[dict[str, Any]]:
        """Deliveries of an account without their bytes, newest first."""
        query: dict[str, Any] = {"account": account, **filters}
        if before is not None:
            at, id = before
            query["$or"] = [{"created_at": {"$lt": at}}, {"created_at": at, "_id": {"$lt": id}}]
        cursor = self.mongo["deliveries"].find(query, {"body": 0}).sort([("created_at", -1), ("_id", -1)])
        return list(await cursor.limit(limit).to_list(limit))
