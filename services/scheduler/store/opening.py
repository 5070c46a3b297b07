"""Opening a run: one transaction over the robot, the tasks and the run, so that all of it happened or nothing did.

Called by: dispatch.py. Survives a crash: before the commit nothing was done; after it the run's `pending` brings it to
an executor. Several schedulers may try the same robot and the same tasks at once: the guards let one of them through.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession

from services.scheduler.core.opening import Opening, run_document
from shared.domain.task_state import TASK, TaskState
from shared.domain.worker_state import WORKER, Authorisation, WorkerMode, WorkerStatus
from shared.mongo import Mongo
from shared.mongo.guarded import in_transaction

OWNER = "scheduler"
HISTORY_MAX = 50


class Missed(StrEnum):
    """Why no run was opened."""

    ROBOT = "robot"
    """The robot is no longer free."""
    TASKS = "tasks"
    """None of the tasks is there any more."""


class _Abandoned(Exception):
    """Ends the transaction without a commit."""

    def __init__(self, missed: Missed) -> None:
        super().__init__(missed)
        self.missed = missed


async def open_run(mongo: Mongo, opening: Opening) -> dict[str, Any] | Missed:
    """Open a run with what is still there of its robot and tasks.

    Returns: the run's document, or what was missed.
    Raises: TemporaryError when nobody can say now whether it was opened; then the robot tells at the next look.
    """

    async def body(session: AsyncClientSession) -> dict[str, Any]:
        if not await _reserve(mongo, opening, session):
            raise _Abandoned(Missed.ROBOT)
        taken = await _take(mongo, opening, session)
        if not taken:
            raise _Abandoned(Missed.TASKS)
        run = run_document(opening, taken)
        await mongo["runs"].insert_one(run, session=session)
        return run

    try:
        return await in_transaction(mongo, body)
    except _Abandoned as abandoned:
        return abandoned.missed


async def _reserve(mongo: Mongo, opening: Opening, session: AsyncClientSession) -> bool:
    """Give the robot to the run if it is free, and raise its epoch."""
    WORKER.check(WorkerStatus.WAITING, WorkerStatus.RESERVED, owner=OWNER)
    guard = {
        "_id": opening.worker,
        "authorisation": Authorisation.AUTHORISED,
        "connected": True,
        "status": WorkerStatus.WAITING,
        "mode": WorkerMode.RUN,
        "run": None,
        "epoch": opening.epoch_before,
    }
    fields = {"status": WorkerStatus.RESERVED, "run": opening.run, "epoch": opening.epoch, "op": f"open/{opening.run}"}
    done = await mongo["workers"].update_one(guard, {"$set": fields}, session=session)
    return bool(done.matched_count)


async def _take(mongo: Mongo, opening: Opening, session: AsyncClientSession) -> dict[str, int]:
    """Take those tasks that are still queued and in time; their attempt numbers by task."""
    TASK.check(TaskState.QUEUED, TaskState.RUNNING, owner=OWNER)
    guard = {
        "_id": {"$in": list(opening.tasks)},
        "state": TaskState.QUEUED,
        "queue.list": {"$gt": ""},
        "pending": None,
        "$or": [{"deadline": None}, {"deadline": {"$gt": opening.at}}],
    }
    attempt = {"$add": ["$attempts", 1]}
    entry = {
        "at": opening.at,
        "state": TaskState.RUNNING,
        "reason": "a run was opened with it",
        "by": OWNER,
        "run": opening.run,
    }
    fields = {
        "state": TaskState.RUNNING,
        "held_by": {"run": opening.run, "attempt": attempt, "epoch": opening.epoch},
        "attempts": attempt,
        "updated_at": opening.at,
        "history": {"$slice": [{"$concatArrays": [{"$ifNull": ["$history", []]}, [entry]]}, -HISTORY_MAX]},
        "op": f"open/{opening.run}",
    }
    await mongo["tasks"].update_many(guard, [{"$set": fields}, {"$unset": "queue"}], session=session)
    mine = mongo["tasks"].find({"held_by.run": opening.run}, {"attempts": 1}, session=session)
    return {task["_id"]: task["attempts"] async for task in mine}
