"""One-off runs: unpublished files, once, on the robot that a person named.

Called by: requests.py (the request `run.once`), main.py (before each dispatch). Owns: what it inserts in `tasks`. The
run is opened by the same transaction as any other (store.opening); it needs no gate of its workflow and counts nowhere.
Robots with such a task waiting are left to it by the dispatcher, so a busy robot comes to it after the run in hand.
Survives a crash: the task's id follows from the request, the task waits in the database, and any scheduler opens it.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from services.scheduler.core.once import opening, task_document
from services.scheduler.core.opening import SEED_BITS
from services.scheduler.hints import Hints
from services.scheduler.requests import Answer, Outcome, Work, refused
from services.scheduler.store.opening import Missed, Openings
from services.scheduler.store.queue import QueueStore
from services.scheduler.store.workers import WorkerStore
from services.scheduler.versions import Versions
from shared.domain.fitness import away
from shared.domain.gates import rules_of
from shared.domain.once import KIND, refusal
from shared.domain.task_state import TaskState
from shared.errors import ErrorCode
from shared.mongo import Mongo
from shared.mongo.gates import Calendars
from shared.mongo.guarded import insert_once
from shared.obs.clock import now
from shared.obs.ids import new_id
from shared.obs.logs import get_logger
from shared.obs.metrics import counter
from shared.obs.spans import taken, task_context

WAITING_MAX = 500
"""One-off tasks looked at in one go, oldest first."""

OPENED = counter("regente_runs_once_total", "One-off runs opened.", [])

log = get_logger(__name__)


class Once:
    """Takes requests for one-off runs, and opens them when their robot is free."""

    def __init__(self, mongo: Mongo, hints: Hints, *, kick: Callable[[], None]) -> None:
        """kick: has the dispatcher look again."""
        self._mongo = mongo
        self._hints = hints
        self._kick = kick
        queue = QueueStore(mongo)
        self._queue = queue
        self._versions = Versions(queue)
        self._workers = WorkerStore(mongo)
        self._openings = Openings(mongo)
        self._wanted: frozenset[str] = frozenset()

    def routes(self) -> dict[str, Work]:
        """What is done for each kind of request."""
        return {KIND: self.start}

    async def start(self, command: Mapping[str, Any]) -> Outcome:
        """Make the task of a one-off run. target: the robot."""
        args, robot = command["args"], str(command["target"])
        problem = refusal(await self._workers.worker(robot), robot, str(args.get("account")))
        if problem is not None:
            return refused(ErrorCode.CONFLICT, problem)
        plan = await self._versions.plan(str(args.get("version")))
        if plan is None or all(one["name"] != args.get("scenario") for one in plan.scenarios):
            return refused(ErrorCode.NOT_FOUND, f"there is no version {args.get('version')} with this scenario")
        task = task_document(command, now())
        await insert_once(self._mongo["tasks"], task)
        self._kick()
        return Answer(done=True, reason=task["_id"])

    def wanted(self) -> frozenset[str]:
        """Robots that a one-off task waits for, as of the last look; those whose group is in use not counted."""
        return self._wanted

    async def serve(self) -> int:
        """Open what can be opened; the number of runs."""
        query = {"once.worker": {"$gt": ""}, "state": TaskState.QUEUED.value, "pending": None}
        cursor = self._mongo["tasks"].find(query).sort([("created_at", 1), ("_id", 1)]).limit(WAITING_MAX)
        opened, wanted = 0, set()
        for task in await cursor.to_list(None):
            robot = str(task["once"]["worker"])
            missed = None if robot in wanted else await self._try(task)
            opened += missed is None and robot not in wanted
            if missed is not None and missed is not Missed.LOCK:
                wanted.add(robot)
        self._wanted = frozenset(wanted)
        return opened

    async def _try(self, task: Mapping[str, Any]) -> Missed | None:
        """Open the run of one task; none: it is open."""
        worker = await self._workers.worker(task["once"]["worker"])
        if worker is None or await self._away(worker):
            return Missed.ROBOT
        plan = await self._versions.plan(task["once"]["version"])
        names = [one["name"] for one in plan.scenarios] if plan is not None else []
        if plan is None or task["once"]["scenario"] not in names:
            return Missed.LOCK  # its version is gone: it waits for its deadline, and keeps no robot from work
        rules = rules_of(await self._queue.workflow_settings(task["account"], task["workflow"]))
        asked = opening(
            task, worker, plan, names.index(task["once"]["scenario"]), rules, run=new_id("run_"),
            seed=secrets.randbits(SEED_BITS), at=now(),
        )  # fmt: skip
        run = await self._openings.open(replace(asked, traceparent=task_context(task)))
        if isinstance(run, Missed):
            return run
        OPENED.inc()
        with taken(run, [task]):
            self._hints.run_opened(run["_id"])
            log.info("run_opened_once", run=run["_id"], worker=worker["_id"], account=run["account"], task=task["_id"],
                     workflow=run["workflow"], version=run["version"], by=task["once"]["by"])  # fmt: skip
        return None

    async def _away(self, worker: Mapping[str, Any]) -> bool:
        """Whether the robot takes no run now: busy, paused, outside its time."""
        schedule, owner = worker.get("schedule"), worker.get("account") or ""
        calendar = None
        if schedule:
            calendar = (await Calendars.read(self._mongo, [(owner, schedule)])).of(owner, schedule)
        return away(worker, now(), calendar) is not None
