"""Runs as the scheduler needs them after opening: which have ended, and which have lost their robot.

Called by: recovery.py, stalls.py, closing.py. The executor owns every change of a run but these: clearing the hand-over
that brings it back here, and which robot it has (store/returning.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from services.scheduler.core.tasks import OWNER
from shared.domain.run_state import LIVE
from shared.mongo import Mongo

LIVE_MAX = 20_000
LIVE_FIELDS = {
    "worker": 1, "epoch": 1, "account": 1, "workflow": 1, "version": 1, "scenario": 1, "abort": 1, "state": 1,
    "token": 1, "executor": 1, "progressed_at": 1, "pending.to": 1, "pending.what": 1, "wait": 1, "wants_robot": 1,
    "warm": 1, "last_worker": 1, "once": 1,
}  # fmt: skip
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

    async def standings(self, ids: Sequence[str]) -> dict[str, tuple[str, bool]]:
        """Of those runs that exist: the state, and whether it still is to be put away by a scheduler."""
        cursor = self._mongo["runs"].find({"_id": {"$in": list(ids)}}, {"state": 1, "pending.to": 1})
        return {run["_id"]: (run["state"], (run.get("pending") or {}).get("to") == OWNER) async for run in cursor}

    async def live(self) -> list[dict[str, Any]]:
        """Runs that have not ended, with a robot or without."""
        query = {"state": {"$in": sorted(LIVE)}}
        return await self._mongo["runs"].find(query, LIVE_FIELDS).limit(LIVE_MAX).to_list(None)

    async def handed_over(self, now: datetime, limit: int) -> list[dict[str, Any]]:
        """Ended runs whose hint may have been lost."""
        query = {"pending.to": OWNER, "pending.due_at": {"$lte": now}}
        return (
            await self._mongo["runs"].find(query, {"pending": 1}).sort("pending.due_at", 1).limit(limit).to_list(None)
        )

    async def claim(self, run: Mapping[str, Any], due_at: datetime) -> bool:
        """Count one more try at a run's hand-over, and put the next one off; false when somebody else did."""
        guard = {"_id": run["_id"], "pending.to": OWNER, "pending.due_at": run["pending"]["due_at"]}
        update = {"$set": {"pending.due_at": due_at}, "$inc": {"pending.claims": 1}}
        return bool((await self._mongo["runs"].update_one(guard, update)).modified_count)

    async def last_step(self, run: str) -> dict[str, Any] | None:
        """The newest entry of a run's journal, takeovers left out: the instruction in flight goes on through them."""
        span = {"$gte": f"{run}/", "$lt": f"{run}0"}
        fields = {"kind": 1, "seq": 1, "instruction.name": 1, "instruction.timeout_s": 1}
        query = {"_id": span, "kind": {"$ne": "takeover"}}
        return await self._mongo["steps"].find_one(query, fields, sort=[("_id", -1)])

    async def steps(self, run: str) -> list[dict[str, Any]]:
        """A run's journal in order, without what scripts and robots said."""
        span = {"$gte": f"{run}/", "$lt": f"{run}0"}
        return (
            await self._mongo["steps"]
            .find({"_id": span}, STEP_FIELDS)
            .sort("_id", 1)
            .limit(STEPS_READ_MAX)
            .to_list(None)
        )
