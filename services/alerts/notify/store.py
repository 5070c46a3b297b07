"""What notify writes: markers of alerts, and `notifications`.

Called by: planner.py, closing.py, sender.py, service.py. Owns: `notifications` (people read them by the console).
Survives a crash: each step is one write that expects what was read; whoever comes next goes on from there. Change also:
shared/mongo/indexes.py, ARCHITECTURE.md (Data).
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pymongo import UpdateOne

from services.alerts.core.bundles import ITEMS_MAX, group_of
from services.alerts.core.inhibition import GRACE, SOURCE_KINDS, Source, source_of
from services.alerts.core.telling import Lane
from shared.domain.notification_state import LIVE, NotificationState
from shared.mongo import Mongo
from shared.mongo.guarded import insert_once, retried

BATCH_MAX = 500
HEADS_MAX = 50
SOURCES_MAX = 20_000
NEWEST_MAX = 100
ATTEMPTS_KEPT = 20
_S = NotificationState


@dataclass(frozen=True)
class Head:
    """Where a lane stands: its newest notification, and when those before it were closed."""

    n: int = 0
    id: str = ""
    state: str = ""
    rev: int = 0
    count: int = 0
    flush_at: datetime | None = None
    closed: tuple[tuple[datetime, tuple[str, ...]], ...] = ()
    """When, and about which groups; the newest first."""
    live: bool = False
    """One of them is still under way."""

    @property
    def gathering(self) -> bool:
        """Whether the newest one still takes more."""
        return self.state == _S.GATHERING

    def sent(self) -> dict[str, datetime]:
        """When each group was told of last."""
        found: dict[str, datetime] = {}
        for at, groups in self.closed:
            for group in groups:
                found.setdefault(group, at)
        return found


def notification_id(lane: str, n: int) -> str:
    """The id of a lane's nth notification: whoever makes it makes the same one."""
    return f"ntf_{hashlib.sha256(lane.encode()).hexdigest()[:20]}_{n:08d}"


class NotifyStore:
    """Notify's view of the database."""

    def __init__(self, mongo: Mongo, *, keep_days: int = 400) -> None:
        self.mongo = mongo
        self._keep = timedelta(days=keep_days)

    # alerts

    async def due(self, now: datetime) -> list[dict[str, Any]]:
        """Alerts that somebody is to be told of, the longest waiting first."""
        query = {"notify.to": "notify", "notify.due_at": {"$lte": now}}
        found = self.mongo["alerts"].find(query, {"events": 0}).sort("notify.due_at", 1).limit(BATCH_MAX)
        return await found.to_list(BATCH_MAX)

    async def mark(self, marked: Sequence[tuple[Mapping[str, Any], dict[str, Any] | None]], now: datetime) -> None:
        """Leave each alert with its next marker, unless it has changed since it was read; what was told of one that has
        changed, and whose change somebody else has dealt with already, is looked at once more."""
        alerts = self.mongo["alerts"]
        ops = [
            UpdateOne(
                {"_id": one["_id"], "changes": one["changes"], "notify.due_at": one["notify"]["due_at"]},
                {"$set": {"notify": marker}},
            )
            for one, marker in marked
        ]
        done = await retried(lambda: alerts.bulk_write(ops, ordered=False), "marking of alerts")
        if done.matched_count < len(ops):
            fresh = {"to": "notify", "since": now, "due_at": now}
            again = [
                UpdateOne(
                    {"_id": one["_id"], "changes": {"$gt": one["changes"]}, "notify": None}, {"$set": {"notify": fresh}}
                )
                for one, _ in marked
            ]
            await retried(lambda: alerts.bulk_write(again, ordered=False), "marking of alerts")

    async def sources(self, now: datetime) -> list[Source]:
        """Alerts that may hold others back: open, or over since a moment. One that never fired was nothing."""
        kinds = {"$in": sorted(SOURCE_KINDS)}
        fields = {"kind": 1, "target": 1, "resolved_at": 1}
        alerts = self.mongo["alerts"]
        found = (
            await alerts.find({"open": True, "key": {"$gt": ""}, "kind": kinds}, fields).limit(SOURCES_MAX).to_list()
        )
        since = {"$gt": now - GRACE, "$type": "date"}
        over = {"kind": kinds, "resolved_at": since, "fired_at": {"$type": "date"}}
        found += await alerts.find(over, fields).limit(SOURCES_MAX).to_list()
        return [source_of(document) for document in found]

    async def alerts(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Alerts as they are now, by id."""
        found = self.mongo["alerts"].find({"_id": {"$in": list(ids)}}, {"events": 0})
        return {document["_id"]: document async for document in found}

    # gathering

    async def heads(self, lanes: Collection[Lane]) -> dict[str, Head]:
        """Where each lane stands."""
        return {lane.id: await self.head(lane) for lane in lanes}

    async def head(self, lane: Lane) -> Head:
        """Where a lane stands."""
        fields = {"n": 1, "state": 1, "rev": 1, "count": 1, "flush_at": 1, "closed_at": 1, "groups": 1}
        limit = max(HEADS_MAX, lane.recipient.rate.messages + 1)
        found = (
            await self.mongo["notifications"].find({"lane": lane.id}, fields).sort("n", -1).limit(limit).to_list(None)
        )
        if not found:
            return Head()
        first = found[0]
        closed = tuple((one["closed_at"], tuple(one["groups"])) for one in found if one.get("closed_at"))
        live = any(one["state"] in LIVE for one in found)
        return Head(
            first["n"], first["_id"], first["state"], first["rev"], first["count"], first["flush_at"], closed, live
        )

    async def history(self, alerts: Collection[str]) -> dict[tuple[str, str], set[str]]:
        """What each lane was given of some alerts: ids of items, by lane and alert."""
        wanted = {"items.alert": {"$in": list(alerts)}}
        steps: list[dict[str, Any]] = [
            {"$match": wanted},
            {"$project": {"_id": 0, "lane": 1, "items.id": 1, "items.alert": 1}},
            {"$unwind": "$items"},
            {"$match": wanted},
        ]
        found: dict[tuple[str, str], set[str]] = {}
        async for one in await self.mongo["notifications"].aggregate(steps):
            found.setdefault((one["lane"], one["items"]["alert"]), set()).add(one["items"]["id"])
        return found

    async def gather(
        self, lane: Lane, head: Head, items: Sequence[Mapping[str, Any]], flush_at: datetime, now: datetime
    ) -> bool:
        """Add items to what a lane is told next; false when the lane has moved on since its head was read."""
        groups = sorted({group_of(item) for item in items})
        if not head.gathering:
            document = self._opened(lane, head.n + 1, items, groups, flush_at, now)
            return await insert_once(self.mongo["notifications"], document)
        update = {
            "$push": {"items": {"$each": [dict(item) for item in items]}},
            "$inc": {"rev": 1, "count": len(items)},
            "$min": {"flush_at": flush_at},
            "$addToSet": {"groups": {"$each": groups}},
        }
        return await self._changed({"_id": head.id, "state": _S.GATHERING.value, "rev": head.rev}, update)

    def _opened(
        self, lane: Lane, n: int, items: Sequence[Mapping[str, Any]], groups: list[str], flush_at: datetime,
        now: datetime,
    ) -> dict[str, Any]:  # fmt: skip
        return {
            "_id": notification_id(lane.id, n), "schema_version": 1, "lane": lane.id, "n": n,
            "recipient": lane.recipient.id, "account": lane.recipient.account, "channel": lane.channel.id,
            "kind": lane.channel.kind.value, "address": lane.channel.address, "language": lane.recipient.language,
            "state": _S.GATHERING.value, "live": True, "rev": 1, "count": len(items), "groups": groups,
            "items": [dict(item) for item in items], "opened_at": now, "flush_at": flush_at, "closed_at": None,
            "due_at": None, "claim": None, "attempts": [], "failed": 0, "sent_at": None, "maybe_repeat": False,
            "reason": None, "expires_at": now + self._keep,
        }  # fmt: skip

    # closing and sending

    async def gathered(self, now: datetime) -> list[dict[str, Any]]:
        """Notifications whose time has come, or that are full: without their items."""
        due = {"$or": [{"flush_at": {"$lte": now}}, {"count": {"$gte": ITEMS_MAX}}]}
        query = {"live": True, "state": _S.GATHERING.value, **due}
        return await self.mongo["notifications"].find(query, {"items": 0}).limit(BATCH_MAX).to_list(None)

    async def close(self, found: Mapping[str, Any], now: datetime) -> bool:
        """It takes no more and is to be sent; false when it has changed."""
        expect = {"_id": found["_id"], "state": _S.GATHERING.value, "rev": found["rev"]}
        fields = {"state": _S.PENDING.value, "closed_at": now, "due_at": now}
        return await self._changed(expect, {"$set": fields, "$inc": {"rev": 1}})

    async def to_send(self, now: datetime, limit: int) -> list[dict[str, Any]]:
        """Ids, claims and times of notifications to be sent, the longest waiting first."""
        query = {"live": True, "state": {"$in": list(LIVE)}, "due_at": {"$lte": now}}
        fields = {"claim": 1, "due_at": 1, "lane": 1}
        return await self.mongo["notifications"].find(query, fields).sort("due_at", 1).limit(limit).to_list(None)

    async def claim(self, found: Mapping[str, Any], instance: str, id: str, until: datetime) -> dict[str, Any] | None:
        """Take one for an attempt; none when another was first. One that was taken and never noted may have been sent:
        it is marked."""
        query = {
            "_id": found["_id"], "state": {"$in": list(LIVE)}, "due_at": found["due_at"], "claim": found.get("claim"),
        }  # fmt: skip
        fields: dict[str, Any] = {"claim": {"id": id, "by": instance, "until": until}, "due_at": until}
        if found.get("claim"):
            fields["maybe_repeat"] = True
        await self._changed(query, {"$set": fields})
        return await self.mongo["notifications"].find_one({"_id": found["_id"], "claim.id": id})

    async def note(
        self, id: str, claim: str, state: NotificationState, attempt: Mapping[str, Any], *, due_at: datetime | None,
        reason: str | None, doubt: bool, now: datetime,
    ) -> bool:  # fmt: skip
        """How an attempt went; false when the claim is another's by now."""
        ended = state in (_S.SENT, _S.DEAD)
        fields: dict[str, Any] = {"state": state.value, "due_at": due_at, "claim": None, "reason": reason}
        if state is _S.SENT:
            fields["sent_at"] = now
        if doubt:
            fields["maybe_repeat"] = True
        update: dict[str, Any] = {
            "$set": fields,
            "$push": {"attempts": {"$each": [dict(attempt)], "$slice": -ATTEMPTS_KEPT}},
            "$inc": {"failed": 0 if state is _S.SENT else 1},
        }
        if ended:
            update["$unset"] = {"live": ""}
        return await self._changed({"_id": id, "claim.id": claim}, update)

    async def release_own(self, instance: str, now: datetime) -> None:
        """What this instance had in hand when it died is due at once; its claims stay, so that a repeat is marked."""
        query = {"live": True, "claim.by": instance}
        await self.mongo["notifications"].update_many(query, {"$set": {"due_at": now}})

    async def notification(self, id: str) -> dict[str, Any] | None:
        """One, whole."""
        return await self.mongo["notifications"].find_one({"_id": id})

    async def newest(self) -> list[dict[str, Any]]:
        """The newest ones, without their items."""
        fields = {"state": 1, "closed_at": 1, "sent_at": 1}
        return await self.mongo["notifications"].find({}, fields).sort("opened_at", -1).limit(NEWEST_MAX).to_list(None)

    async def _changed(self, expect: Mapping[str, Any], update: Mapping[str, Any]) -> bool:
        """Whether one document was as expected and is changed now. After an error of transport that hid a success the
        answer is no: who asked looks again and finds it done."""
        notifications = self.mongo["notifications"]
        done = await retried(lambda: notifications.update_one(expect, update), "update of notifications")
        return bool(done.matched_count)
