"""Runs as the scheduler needs them after opening: which have ended, and which have lost their robot.

Called by: recovery.py. The executor owns every change of a run but one: clearing the hand-over that brings it back
here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.scheduler.core.tasks import OWNER
from shared.domain.run_state import LIVE
from shared.mongo import Mongo

LIVE_MAX = 10_000
STEP_FIELDS = {"seq": 1, "kind": 1, "task": 1, "attempt": 1, "reply.seq": 1, "reply.outcome": 1,
               "instruction.effect": 1, "instruction.commit": 1}  # fmt: skip
STEPS_READ_MAX = 20_000


class RunStore:
    """The scheduler's view of `runs` and `steps`."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo

    async def run(self, id: str) -> dict[str, Any] | None:
        """A run by its id."""
        return await self._mongo["runs"].find_one({"_id": id})

    async def states(self, ids: Sequence[str]) -> dict[str, str]:
        """The states of those runs that exist."""
        cursor = self._mongo["runs"].find({"_id": {"$in": list(ids)}}, {"state": 1})
        return {run["_id"]: run["state"] async for run in cursor}

    async def live(self) -> list[dict[str, Any]]:
        """Runs that have not ended and need a robot."""
        query = {"state": {"$in": sorted(LIVE)}, "worker": {"$ne": None}}
        fields = {"worker": 1, "epoch": 1, "account": 1, "abort": 1}
        return await self._mongo["runs"].find(query, fields).to_list(LIVE_MAX)

    async def handed_over(self, now: datetime, limit: int) -> list[dict[str, Any]]:
        """Ended runs whose hint may have been lost."""
        query = {"pending.to": OWNER, "pending.due_at": {"$lte": now}}
        return await self._mongo["runs"].find(query, {"pending": 1}).sort("pending.due_at", 1).to_list(limit)

    async def claim(self, run: Mapping[str, Any], due_at: datetime) -> bool:
        """Count one more try at a run's hand-over, and put the next one off; false when somebody else did."""
        guard = {"_id": run["_id"], "pending.to": OWNER, "pending.due_at": run["pending"]["due_at"]}
        update = {"$set": {"pending.due_at": due_at}, "$inc": {"pending.claims": 1}}
        return bool((await self._mongo["runs"].update_one(guard, update)).modified_count)

    async def settled(self, id: str) -> None:
        """The robot is free and no task was left: clear the hand-over."""
        await self._mongo["runs"].update_one({"_id": id, "pending.to": OWNER}, {"$set": {"pending": None}})

    async def steps(self, run: str) -> list[dict[str, Any]]:
        """A run's journal in order, without what scripts and robots said."""
        span = {"$gte": f"{run}/", "$lt": f"{run}0"}
        return await self._mongo["steps"].find({"_id": span}, STEP_FIELDS).sort("_id", 1).to_list(STEPS_READ_MAX)
