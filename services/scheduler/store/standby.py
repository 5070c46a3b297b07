"""Warm runs as the scheduler reads them, and the one transaction that gives tasks to a parked one.

Called by: standby.py. Survives a crash: before the commit nothing was done; after it the run's hand-over brings the
tasks to an executor. The executor's claim and this transaction expect the same state of the run, so one of them wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.scheduler.core.opening import Opening, run_items
from services.scheduler.core.tasks import pending
from services.scheduler.store.opening import Abandoned, Missed, count_used, held_now, take
from services.scheduler.store.workers import FREE
from shared.domain.run_state import LIVE
from shared.domain.warm import PARKED_QUERY
from shared.domain.worker_state import Authorisation, WorkerMode
from shared.mongo import Mongo, Session
from shared.mongo.guarded import WriteConflict, in_transaction

PARKED_MAX = 1000
SLOTS_MAX = 1000


class StandbyStore:
    """The scheduler's view of warm runs."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo

    async def any_parked(self) -> bool:
        """Whether a warm run stands ready."""
        return await self._mongo["runs"].find_one(PARKED_QUERY, {"_id": 1}) is not None

    async def parked(self) -> list[dict[str, Any]]:
        """Warm runs that stand ready, the oldest first."""
        found = await self._mongo["runs"].find(PARKED_QUERY).limit(PARKED_MAX).to_list(None)
        return sorted(found, key=lambda run: (run["opened_at"], run["_id"]))

    async def exclusive(self) -> list[dict[str, Any]]:
        """Free robots in exclusive mode."""
        query = {**FREE, "exclusive": {"$gt": ""}}
        return await self._mongo["workers"].find(query, {"exclusive": 1}).limit(PARKED_MAX).to_list(None)

    async def paused(self, locks: list[str], at: Any) -> set[str]:
        """Those among the locks of warm runs that failed, and are not to be opened again yet."""
        query = {"_id": {"$in": locks}, "until": {"$gt": at}}
        found = await self._mongo["slots"].find(query, {"_id": 1}).limit(SLOTS_MAX).to_list(None)
        return {slot["_id"] for slot in found}

    async def any_ending(self, account: str, workflow: str) -> bool:
        """Whether a warm run of a workflow was asked to end, and has not yet."""
        query = {"warm": True, "state": {"$in": sorted(LIVE)}, "account": account, "workflow": workflow}
        runs = await self._mongo["runs"].find(query, {"abort": 1}).limit(PARKED_MAX).to_list(None)
        if any(run.get("abort") for run in runs):
            return True
        asked = {"_id": {"$in": [f"cmd_stop_{run['_id']}" for run in runs]}}
        return await self._mongo["commands"].find_one(asked, {"_id": 1}) is not None

    async def push(self, run: Mapping[str, Any], given: Opening, session: Session | None = None) -> int | Missed:
        """Give tasks to a parked warm run: how many, or what was missed.

        run: its document. given: tasks and limits, with the run's own id, robot and epoch.
        """

        async def body(session: Session) -> int:
            robot = {
                "_id": run["worker"], "run": run["_id"], "epoch": run["epoch"], "connected": True, "drain": None,
                "authorisation": Authorisation.AUTHORISED, "mode": WorkerMode.RUN,
            }  # fmt: skip
            if await self._mongo["workers"].find_one(robot, {"_id": 1}, session=session) is None:
                raise Abandoned(Missed.ROBOT)
            if await held_now(self._mongo, given, session):
                raise Abandoned(Missed.HELD)
            taken, fresh = await take(self._mongo, given, session)
            if not taken:
                raise Abandoned(Missed.TASKS)
            if fresh and not await count_used(self._mongo, given, fresh, session):
                raise Abandoned(Missed.LIMIT)
            guard = {"_id": run["_id"], **PARKED_QUERY, "worker": run["worker"], "epoch": run["epoch"]}
            fields = {
                "pending": pending("executor", "tasks", given.at),
                "op": f"tasks/{run['_id']}/{given.at.isoformat()}",
            }
            update = {"$set": fields, "$push": {"tasks": {"$each": run_items(given.tasks, taken)}}}
            if not (await self._mongo["runs"].update_one(guard, update, session=session)).matched_count:
                raise Abandoned(Missed.ROBOT)
            return len(taken)

        try:
            return await in_transaction(self._mongo, body, conflicts=False, session=session)
        except Abandoned as abandoned:
            return abandoned.missed
        except WriteConflict:
            return Missed.CONFLICT
