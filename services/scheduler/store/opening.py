"""Opening a run: one transaction over the robot (if it needs one), its locks, the tasks, the limits and the run: all of
it or nothing.

Called by: dispatch.py. Survives a crash: before the commit nothing was done; after it the run's `pending` brings it to
an executor. Several schedulers may try the same robot and the same tasks at once: the guards let one of them through.

Who holds a lock is counted over `runs`; the document in `slots` is only where two openings under the same limit meet,
so that one of them is told of a conflict. Ending a run therefore frees its locks by itself.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pymongo import ReturnDocument
from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.errors import OperationFailure

from services.scheduler.core.counting import counter_document, limit_events
from services.scheduler.core.opening import Opening, run_document
from shared.domain.gates import SERVER_LOCK, circuit_id
from shared.domain.run_state import LIVE, RunState
from shared.domain.task_state import TASK, TaskState
from shared.domain.worker_state import WORKER, Authorisation, WorkerMode, WorkerStatus
from shared.mongo import Mongo
from shared.mongo.events import raise_event
from shared.mongo.guarded import WriteConflict, in_transaction, insert_once

OWNER = "scheduler"
HISTORY_MAX = 50
KNOWN_MAX = 50_000
SESSION_ENDED_CODES = (251, 11601)
"""NoSuchTransaction, Interrupted: another scheduler took the turn over and ended this one's transaction."""


class Missed(StrEnum):
    """Why no run was opened."""

    ROBOT = "robot"
    """The robot is no longer free."""
    TASKS = "tasks"
    """None of the tasks is there any more."""
    LIMIT = "limit"
    """A limit was used up meanwhile."""
    LOCK = "lock"
    """As many runs as may be at once hold a lock meanwhile."""
    HELD = "held"
    """The workflow, or the scenario, was held meanwhile."""
    CONFLICT = "conflict"
    """Another scheduler writes the same documents at this moment."""


class Abandoned(Exception):
    """Ends the transaction without a commit."""

    def __init__(self, missed: Missed) -> None:
        super().__init__(missed)
        self.missed = missed


class Openings:
    """Opens runs."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self._known: set[str] = set()
        """Slots and counters that exist: making one inside a transaction would clash with whoever makes it too."""

    async def open(self, opening: Opening, session: AsyncClientSession | None = None) -> dict[str, Any] | Missed:
        """Open a run with what is still there of its robot and tasks.

        session: of the turn (store.turn), so that others can end it when this process dies.
        Returns: the run's document, or what was missed.
        Raises: TemporaryError when nobody can say now whether it was opened; then the robot tells at the next look.
        """
        await self._prepare(opening)

        async def body(session: AsyncClientSession) -> dict[str, Any]:
            return await self._body(opening, session)

        try:
            return await in_transaction(self._mongo, body, conflicts=False, session=session)
        except Abandoned as abandoned:
            return abandoned.missed
        except WriteConflict:
            return Missed.CONFLICT
        except OperationFailure as error:
            if error.code in SESSION_ENDED_CODES:
                return Missed.CONFLICT
            raise

    async def _body(self, opening: Opening, session: AsyncClientSession) -> dict[str, Any]:
        mongo = self._mongo
        if not await _reserve(mongo, opening, session):
            raise Abandoned(Missed.ROBOT)
        if opening.once is None and await held_now(mongo, opening, session):
            raise Abandoned(Missed.HELD)
        if not await _locks_free(mongo, opening, session):
            raise Abandoned(Missed.LOCK)
        taken, fresh = await take(mongo, opening, session)
        if not taken and opening.warm is None:
            raise Abandoned(Missed.TASKS)
        if fresh and not await count_used(mongo, opening, fresh, session):
            raise Abandoned(Missed.LIMIT)
        run = run_document(opening, taken)
        await mongo["runs"].insert_one(run, session=session)
        return run

    async def _prepare(self, opening: Opening) -> None:
        """Make the slots and counters that the transaction changes."""
        if len(self._known) > KNOWN_MAX:
            self._known.clear()
        for fence in opening.fences:
            if fence.lock not in self._known:
                await insert_once(self._mongo["slots"], {"_id": fence.lock, "schema_version": 1, "seq": 0})
                if fence.lock == SERVER_LOCK:  # whoever says why a task waits has no settings of the scheduler
                    most = {"$set": {"max": fence.runs_max}}
                    await self._mongo["slots"].update_one({"_id": fence.lock}, most)
                self._known.add(fence.lock)
        for used in opening.used:
            if used.counter not in self._known:
                document = counter_document(used, opening.account, opening.workflow, opening.at)
                await insert_once(self._mongo["usage"], document)
                self._known.add(used.counter)


async def _reserve(mongo: Mongo, opening: Opening, session: AsyncClientSession) -> bool:
    """Give the robot to the run if it is free, and raise its epoch; a run that needs none has nothing to reserve."""
    if opening.worker is None:
        return True
    WORKER.check(WorkerStatus.WAITING, WorkerStatus.RESERVED, owner=OWNER)
    guard = {
        "_id": opening.worker,
        "authorisation": Authorisation.AUTHORISED,
        "connected": True,
        "status": WorkerStatus.WAITING,
        "mode": WorkerMode.RUN,
        "drain": None,
        "run": None,
        "epoch": opening.epoch_before,
    }
    fields = {
        "status": WorkerStatus.RESERVED, "run": opening.run, "epoch": opening.epoch, "op": f"open/{opening.run}",
        "follow": dict(opening.follow) if opening.follow else None,
    }  # fmt: skip
    done = await mongo["workers"].update_one(guard, {"$set": fields}, session=session)
    return bool(done.matched_count)


async def held_now(mongo: Mongo, opening: Opening, session: AsyncClientSession) -> bool:
    """Whether the workflow, or the scenario, is held."""
    circuits = [circuit_id(opening.account, opening.workflow, of) for of in (None, opening.scenario)]
    held = {"_id": {"$in": circuits}, "state": "open"}
    return await mongo["circuits"].find_one(held, {"_id": 1}, session=session) is not None


async def _locks_free(mongo: Mongo, opening: Opening, session: AsyncClientSession) -> bool:
    """Meet at the slots of the limited locks, and count who holds them."""
    for fence in sorted(opening.fences, key=lambda one: one.lock):
        await mongo["slots"].update_one({"_id": fence.lock}, {"$inc": {"seq": 1}}, session=session)
        at_work = {"locks": fence.lock, "state": {"$in": sorted(LIVE if fence.parked else LIVE - {RunState.WAITING})}}
        leaving = {"locks": fence.lock, "state": {"$nin": sorted(LIVE)}, "pending.to": OWNER}
        holders = 0
        for query in (at_work, leaving):
            holders += await mongo["runs"].count_documents(query, limit=fence.runs_max, session=session)
        if holders >= fence.runs_max:
            return False
    if opening.warm is None:
        return True
    paused = {"_id": opening.warm, "until": {"$gt": opening.at}}  # runs before it failed
    return await mongo["slots"].find_one(paused, {"_id": 1}, session=session) is None


async def take(mongo: Mongo, opening: Opening, session: AsyncClientSession) -> tuple[dict[str, int], int]:
    """Take those tasks that are still queued and in time.

    Returns: their attempt numbers by task, and how many of them no limit has counted yet.
    """
    TASK.check(TaskState.QUEUED, TaskState.RUNNING, owner=OWNER)
    guard = {
        "_id": {"$in": list(opening.tasks)},
        "state": TaskState.QUEUED,
        **({"queue.list": {"$gt": ""}} if opening.once is None else {"once.worker": opening.worker}),
        "pending": None,
        "$or": [{"deadline": None}, {"deadline": {"$gt": opening.at}}],
    }
    await mongo["tasks"].update_many(guard, _taking(opening), session=session)
    fields = {"attempts": 1, "counted": 1}
    taken = {"_id": {"$in": list(opening.tasks)}, "held_by.run": opening.run}
    mine = await mongo["tasks"].find(taken, fields, session=session).to_list(None)
    fresh = sum(1 for task in mine if (task.get("counted") or {}).get("run") == opening.run)
    return {task["_id"]: task["attempts"] for task in mine}, fresh


def _taking(opening: Opening) -> list[dict[str, Any]]:
    """The update that gives a task to the run; `counted` stays what an earlier attempt made it."""
    attempt = {"$add": ["$attempts", 1]}
    entry = {
        "at": opening.at, "state": TaskState.RUNNING, "reason": "a run was opened with it", "by": OWNER,
        "run": opening.run,
    }  # fmt: skip
    fields: dict[str, Any] = {
        "state": TaskState.RUNNING,
        "held_by": {"run": opening.run, "attempt": attempt, "epoch": opening.epoch},
        "attempts": attempt,
        "placed": "$queue",
        "updated_at": opening.at,
        "history": {"$slice": [{"$concatArrays": [{"$ifNull": ["$history", []]}, [entry]]}, -HISTORY_MAX]},
        "op": f"open/{opening.run}",
    }
    if opening.used:
        now_counted = {"run": opening.run, "in": [used.counter for used in opening.used]}
        fields["counted"] = {"$ifNull": ["$counted", now_counted]}
    return [{"$set": fields}, {"$unset": "queue"}]


async def count_used(mongo: Mongo, opening: Opening, tasks: int, session: AsyncClientSession) -> bool:
    """Use up the limits by `tasks`, with the events that follow; false when one does not allow it."""
    for used in sorted(opening.used, key=lambda one: one.counter):
        found = await mongo["usage"].find_one_and_update(
            {"_id": used.counter}, {"$inc": {"used": tasks}}, return_document=ReturnDocument.AFTER, session=session
        )
        after = int(found["used"]) if found else tasks
        if found is None or (used.limit.blocks and after > used.limit.max):
            return False
        for event in limit_events(used, after - tasks, after, opening.account, opening.workflow, opening.at):
            await raise_event(mongo, event, session=session)
    return True
