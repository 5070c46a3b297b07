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


class RequestStore:
    """The scheduler's view of `commands`."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo

    async def command(self, id: str) -> dict[str, Any] | None:
        """A request by its id."""
        return await self._mongo["commands"].find_one({"_id": id})

    async def ask(self, id: str, *, kind: str, to: str, target: str, args: Mapping[str, Any]) -> bool:
        """Store a request under an id that its reason determines; false when it was asked before."""
        at = now()
        document = {
            "_id": id, "schema_version": 1, "kind": kind, "to": to, "target": target, "args": dict(args), "by": OWNER,
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
