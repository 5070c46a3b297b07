"""Robots that waiting runs gave back, and the runs that want one again: each change is one transaction.

Called by: recovery.py (a run parked, or lost the robot that it was just given), returns.py (the dispatcher's part).
Survives a crash: before a commit nothing was done; after it the hand-over is cleared (parked) or made (given a robot),
so a sweep goes on from there. A run's locks are held throughout: it lives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.scheduler.core.robots import drained_event, released
from services.scheduler.core.tasks import OWNER, pending
from services.scheduler.store.workers import FREE
from shared.domain.gates import SETUP_AGAIN_FAILS, circuit_id
from shared.domain.run_state import RunState
from shared.domain.task_state import ReturnReason
from shared.domain.worker_state import WORKER, WorkerStatus
from shared.mongo import Mongo, Session
from shared.mongo.events import raise_event
from shared.mongo.guarded import WriteConflict, in_transaction
from shared.obs.clock import now

PARKED = "parked"
"""What the hand-over of a run says that gives its robot back while it waits."""
WANTING_MAX = 1000
WANTING_FIELDS = {
    "account": 1, "workflow": 1, "version": 1, "scenario": 1, "epoch": 1, "worker": 1, "last_worker": 1, "opened_at": 1,
}  # fmt: skip
NOT_ABORTED = {"abort.kind": {"$in": [None, "after_task"]}}
"""A run that is to end after the task in hand needs a robot for that task."""
WANTING = {"wants_robot": True, "state": RunState.OPENED}


class _Gone(Exception):
    """Ends the transaction without a commit."""


class Returning:
    """The scheduler's part in runs that wait without a robot."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo

    async def any_wants(self) -> bool:
        """Whether a run waits for a robot."""
        return await self._mongo["runs"].find_one(WANTING, {"_id": 1}) is not None

    async def wanting(self) -> list[dict[str, Any]]:
        """Runs that wait for a robot, the oldest first."""
        cursor = self._mongo["runs"].find(WANTING, WANTING_FIELDS).sort("opened_at", 1)
        return await cursor.limit(WANTING_MAX).to_list(None)

    async def free_robot(self, run: Mapping[str, Any]) -> bool:
        """Free the robot of a run that parked without it; nobody is judged. False when that was done before.

        The tasks that it gave back are marked: they go back to the queue now, not at the run's end.
        """

        async def body(session: Session) -> bool:
            guard = {"_id": run["_id"], "state": RunState.WAITING, "pending.to": OWNER, "pending.what": PARKED}
            fields = {
                "pending": None, "worker": None, "last_worker": run["worker"],
                "op": f"parked/{run['_id']}/{run['epoch']}",
            }  # fmt: skip
            if not (await self._mongo["runs"].update_one(guard, {"$set": fields}, session=session)).matched_count:
                return False
            back = {"held_by.run": run["_id"], "pending.to": OWNER, "pending.what": ReturnReason.NOT_STARTED}
            await self._mongo["tasks"].update_many(back, {"$set": {"pending.parked": True}}, session=session)
            await self._release(run, session)
            return True

        return await in_transaction(self._mongo, body)

    async def give_robot(
        self, run: Mapping[str, Any], robot: Mapping[str, Any] | None, session: Session | None = None
    ) -> bool:
        """Reserve a robot for a run that wants one (none: it needs none), and hand it to an executor.

        False when robot or run are no longer there, or setup would only fail again.
        """
        at, epoch = now(), int(robot["epoch"]) + 1 if robot is not None else 0
        op = f"return/{run['_id']}/{epoch}"

        async def body(session: Session) -> bool:
            if await self._mongo["circuits"].find_one(_setup_fails(run), {"_id": 1}, session=session) is not None:
                raise _Gone
            if robot is not None:
                WORKER.check(WorkerStatus.WAITING, WorkerStatus.RESERVED, owner=OWNER)
                free = {**FREE, "_id": robot["_id"], "drain": None, "epoch": robot["epoch"]}
                reserved = {
                    "status": WorkerStatus.RESERVED,
                    "run": run["_id"],
                    "epoch": epoch,
                    "op": op,
                    "follow": None,
                }
                if not (
                    await self._mongo["workers"].update_one(free, {"$set": reserved}, session=session)
                ).matched_count:
                    raise _Gone
            guard = {"_id": run["_id"], **WANTING, "worker": None, **NOT_ABORTED}
            fields = {
                "worker": robot["_id"] if robot is not None else None, "epoch": epoch, "wants_robot": False, "op": op,
                "pending": pending("executor", "opened", at),
            }  # fmt: skip
            if not (await self._mongo["runs"].update_one(guard, {"$set": fields}, session=session)).matched_count:
                raise _Gone
            held = {"$set": {"held_by.epoch": epoch}}
            await self._mongo["tasks"].update_many({"held_by.run": run["_id"]}, held, session=session)
            return True

        try:
            return await in_transaction(self._mongo, body, conflicts=False, session=session)
        except (WriteConflict, _Gone):
            return False

    async def take_back(self, run: Mapping[str, Any]) -> bool:
        """Let a run want a robot again whose new one was lost before an executor began on it; false when one has."""

        async def body(session: Session) -> bool:
            guard = {
                "_id": run["_id"], "state": RunState.OPENED, "worker": run["worker"], "epoch": run["epoch"],
                "executor": None, "pending.to": "executor", **NOT_ABORTED,
            }  # fmt: skip
            fields = {
                "worker": None, "wants_robot": True, "pending": None, "op": f"back/{run['_id']}/{run['epoch']}",
            }  # fmt: skip
            if not (await self._mongo["runs"].update_one(guard, {"$set": fields}, session=session)).matched_count:
                return False
            await self._release(run, session)
            return True

        return await in_transaction(self._mongo, body)

    async def _release(self, run: Mapping[str, Any], session: Session) -> None:
        """Free a run's robot, if it still has it: as at the end of a run, but nothing is judged and nothing follows."""
        at, guard = now(), {"_id": run["worker"], "run": run["_id"], "epoch": run["epoch"]}
        worker = await self._mongo["workers"].find_one(guard, session=session) if run["worker"] else None
        if worker is None:
            return
        fields = {**released(worker), "follow": None, "op": f"release/{run['_id']}/{run['epoch']}"}
        await self._mongo["workers"].update_one(guard, {"$set": fields}, session=session)
        event = drained_event(worker, fields, at)
        if event is not None:
            await raise_event(self._mongo, event, session=session)


def _setup_fails(run: Mapping[str, Any]) -> dict[str, Any]:
    """The circuit breakers that say that setting up anew would fail again: a refused log-in, or setups in a row."""
    ids = [circuit_id(run["account"], run["workflow"], of) for of in (None, run["scenario"])]
    return {"_id": {"$in": ids}, "state": "open", "reason": {"$in": sorted(SETUP_AGAIN_FAILS)}}
