"""Durable requests as the scheduler stores them itself: with an id of its own making, or handed on to another service.

Called by: recovery.py (a run lost its robot), requests.py. Everything else about commands is shared.runtime.commands.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from services.scheduler.core.tasks import HINT_GRACE_S, OWNER
from shared.mongo import Mongo
from shared.mongo.guarded import insert_once
from shared.obs.clock import now
from shared.obs.ids import new_id


class RequestStore:
    """The scheduler's view of `commands`."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo

    async def command(self, id: str) -> dict[str, Any] | None:
        """A request by its id."""
        return await self._mongo["commands"].find_one({"_id": id})

    async def ask(self, id: str, *, kind: str, to: str, target: str, args: Mapping[str, Any], by: str = OWNER) -> bool:
        """Store a request under an id that its reason determines; false when it was asked before."""
        at = now()
        document = {
            "_id": id, "schema_version": 1, "kind": kind, "to": to, "target": target, "args": dict(args), "by": by,
            "state": "pending", "reason": None, "claims": 0, "created_at": at,
            "due_at": at + timedelta(seconds=HINT_GRACE_S),
        }  # fmt: skip
        return await insert_once(self._mongo["commands"], document)

    async def readdress(self, id: str, to: str) -> bool:
        """Hand a pending request to the service that owns the edge now."""
        fields = {"to": to, "claims": 0, "due_at": now() + timedelta(seconds=HINT_GRACE_S)}
        done = await self._mongo["commands"].update_one({"_id": id, "to": OWNER, "state": "pending"}, {"$set": fields})
        return bool(done.modified_count)

    async def put_off(self, id: str, delay_s: float) -> None:
        """Look at a pending request again after `delay_s`."""
        due = now() + timedelta(seconds=delay_s)
        await self._mongo["commands"].update_one(
            {"_id": id, "to": OWNER, "state": "pending"}, {"$set": {"due_at": due}}
        )

    async def take_in_hand(
        self, command: Mapping[str, Any], start: Mapping[str, Any], for_s: float
    ) -> dict[str, Any] | None:
        """Take a long request in hand for `for_s` seconds; how far it is, or none when another worker has it."""
        at, known = now(), command.get("progress")
        if known is not None and known.get("until") is not None and known["until"] > at:
            return None
        mine = {**(known or start), "holder": new_id("hand_"), "until": at + timedelta(seconds=for_s)}
        guard = {"_id": command["_id"], "to": OWNER, "state": "pending"}
        guard["progress.holder"] = known["holder"] if known is not None else None
        done = await self._mongo["commands"].update_one(guard, {"$set": {"progress": mine, "claims": 0}})
        return mine if done.modified_count else None

    async def progress(self, id: str, progress: dict[str, Any], for_s: float) -> bool:
        """Keep how far a long request is; false when it is in other hands. Its tries count from zero again: a request
        that gets on is no poison."""
        progress["until"] = now() + timedelta(seconds=for_s)
        guard = {"_id": id, "to": OWNER, "state": "pending", "progress.holder": progress["holder"]}
        done = await self._mongo["commands"].update_one(guard, {"$set": {"progress": progress, "claims": 0}})
        return bool(done.matched_count)

    async def lay_down(self, id: str, progress: Mapping[str, Any]) -> None:
        """Let others have a turn: whoever looks next goes on."""
        guard = {"_id": id, "state": "pending", "progress.holder": progress["holder"]}
        fields = {"progress.until": None, "due_at": now()}
        await self._mongo["commands"].update_one(guard, {"$set": fields})
