"""The dispatch loop: free robots and waiting tasks become runs.

Owns: nothing; all truth is in the database, and several schedulers may run this loop at once. Called by: main.py;
kicked by handlers, presence and recovery, and by itself every second. Survives a crash: a run is opened in one
transaction or not at all.

Robots that may run little are served first, so that those which may run anything stay free for the rest; equals in a
random order, so that several schedulers rarely want the same one.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from services.scheduler.board import Board, Pick
from services.scheduler.core.inputs import InputCheck
from services.scheduler.core.opening import SEED_BITS, Fence, Opening
from services.scheduler.core.order import batch_max, followers, merge, shared_values
from services.scheduler.core.tasks import misfit
from services.scheduler.hints import Hints
from services.scheduler.keys import Keys
from services.scheduler.store.opening import Missed, Openings
from services.scheduler.store.queue import QueueStore
from services.scheduler.store.tasks import TaskStore
from services.scheduler.store.workers import WorkerStore
from services.scheduler.versions import Versions
from shared.domain.fitness import away, breadth
from shared.domain.gates import account_lock, group_lock, workflow_lock
from shared.mongo import Mongo
from shared.mongo.gates import Calendars
from shared.obs.clock import monotonic_s, now, now_us
from shared.obs.ids import new_id
from shared.obs.logs import get_logger
from shared.obs.metrics import counter, histogram

TASKS_MISSED_MAX = 2
"""After so many looks at a workflow that came to nothing others get their turn; the sweeps see to what is in the way.
"""
FOLLOW_S = 10.0
"""How long after a run its robot is first asked to go on with the group."""
TRIES_PER_ROBOT = 12
"""How often the queue is looked at anew for one robot when others were faster or inputs did not fit."""
CONFLICT_PAUSE_S = 0.01
INPUTS_PER_TURN = 50
"""Inputs checked before other work gets a turn."""

OPENED = counter("regente_runs_opened_total", "Runs opened.", [])
SECONDS = histogram("regente_dispatch_seconds", "Opening one run, from choosing its task to the commit.", [])
MISSED = counter("regente_dispatch_missed_total", "Runs not opened because somebody was faster.", ["what"])
MISFITS = counter("regente_tasks_misfit_total", "Queued tasks held because they no longer fit their workflow.", [])

log = get_logger(__name__)


class Dispatcher:
    """Opens runs."""

    def __init__(self, mongo: Mongo, hints: Hints, *, chance: random.Random | None = None) -> None:
        self._mongo = mongo
        self._queue = QueueStore(mongo)
        self._tasks = TaskStore(mongo)
        self._workers = WorkerStore(mongo)
        self._versions = Versions(self._queue)
        self._keys = Keys(mongo, hints, self._versions)
        self._openings = Openings(mongo)
        self._hints = hints
        self._chance = chance or random.Random()

    async def run_pass(self) -> int:
        """Serve every free robot once; the number of runs opened."""
        robots = await self._free_robots()
        if not robots:
            return 0
        board = Board(self._mongo, self._queue, self._versions, now(), now_us())
        await board.read()
        opened = 0
        for robot in robots:
            if board.empty:
                break
            opened += await self._serve(robot, board)
        return opened

    async def _free_robots(self) -> list[dict[str, Any]]:
        """Robots that take work now: those that go on with a group first, then those that may run little."""
        robots = await self._workers.free()
        scheduled = [(robot.get("account") or "", robot["schedule"]) for robot in robots if robot.get("schedule")]
        calendars = await Calendars.read(self._mongo, scheduled)
        at = now()

        def free(robot: Mapping[str, Any]) -> bool:
            schedule = robot.get("schedule")
            calendar = calendars.of(robot.get("account") or "", schedule) if schedule else None
            return away(robot, at, calendar) is None

        def place(robot: Mapping[str, Any]) -> tuple[Any, ...]:
            return (0 if _follows(robot) else 1, breadth(robot), self._chance.random())

        return sorted(filter(free, robots), key=place)

    async def _serve(self, robot: dict[str, Any], board: Board) -> bool:
        """Open a run on one robot, if there is work for it."""
        missed_tasks: Counter[str] = Counter()
        for _ in range(TRIES_PER_ROBOT):
            started_s = monotonic_s()
            pick, done = await self._pick(robot, board)
            if pick is None:
                return False
            missed = await self._try(robot, pick, done, board)
            if missed is None:
                SECONDS.observe(monotonic_s() - started_s)
                return True
            MISSED.labels(missed.value).inc()
            if missed is Missed.ROBOT:
                return False
            if missed is Missed.CONFLICT:
                await asyncio.sleep(CONFLICT_PAUSE_S * self._chance.random())
            missed_tasks[pick.workflow.id] += missed is Missed.TASKS
            if missed_tasks[pick.workflow.id] >= TASKS_MISSED_MAX:
                board.drop(pick.workflow.id)
            else:
                await board.refresh(pick.workflow.id)
        return False

    async def _pick(self, robot: Mapping[str, Any], board: Board) -> tuple[Pick | None, list[int]]:
        """The task that goes next on a robot, and the numbers of the scenarios that it has run for the task's group.

        A robot that has just served a group goes on with the group's remaining scenarios.
        """
        follow = robot["follow"] if _follows(robot) else None
        if follow is not None:
            plan = board.plan(follow["workflow"])
            keys = followers(plan, follow["key"], follow["done"]) if plan is not None else []
            pick = await board.follower(robot, follow["workflow"], keys) if keys else None
            if pick is not None:
                return pick, list(follow["done"])
        return await board.pick(robot), []

    async def _try(self, robot: Mapping[str, Any], pick: Pick, done: Sequence[int], board: Board) -> Missed | None:
        """Open a run with the picked task and what goes with it; none: it is open."""
        workflow, plan, key = pick.workflow, pick.plan, pick.head.group
        number, check = plan.scenario(key), await self._versions.check(plan.version)
        if number is None or check is None:
            await self._keys.renew_ahead(str(pick.head.key), plan)
            return Missed.TASKS
        scenario = plan.scenarios[number]
        limit = batch_max(scenario, workflow.gate.room)
        tasks = await self._fitting(await self._batch(pick, board, limit), check, plan.version)
        if not tasks:
            return Missed.TASKS
        run = await self._openings.open(self._opening(robot, pick, number, done, tasks))
        if isinstance(run, Missed):
            return run
        self._hints.run_opened(run["_id"])
        OPENED.inc()
        log.info(
            "run_opened", run=run["_id"], worker=robot["_id"], account=run["account"], workflow=run["workflow"],
            scenario=run["scenario"], epoch=run["epoch"], tasks=len(run["tasks"]), task=run["tasks"][0]["task"],
        )  # fmt: skip
        await board.took(workflow, run["locks"], len(run["tasks"]))
        return None

    def _opening(
        self, robot: Mapping[str, Any], pick: Pick, number: int, done: Sequence[int], tasks: Sequence[Mapping[str, Any]]
    ) -> Opening:
        workflow, plan, rules = pick.workflow, pick.plan, pick.workflow.rules
        account, name = str(workflow.document["account"]), str(workflow.document["name"])
        scenario = plan.scenarios[number]
        values, digest = shared_values(scenario, tasks[0])
        group = group_lock(account, name, digest, of_workflow=rules.group_of_workflow)
        limited = (
            (workflow_lock(account, name), rules.runs_max),
            (account_lock(account), workflow.account.runs_max),
            (group, rules.group_max),
        )
        follow = {"workflow": workflow.id, "key": pick.head.group, "done": [*done, number]}
        return Opening(
            run=new_id("run_"), account=account, workflow=name, version=plan.version, scenario=str(scenario["name"]),
            worker=str(robot["_id"]), epoch_before=int(robot["epoch"]), tasks=[str(task["_id"]) for task in tasks],
            seed=secrets.randbits(SEED_BITS), at=now(), traceparent=tasks[0].get("traceparent"), group=values,
            group_key=pick.head.group, follow=follow if digest and len(plan.scenarios) > 1 else None,
            locks=[lock for lock, _ in limited if lock is not None],
            fences=[Fence(lock, most) for lock, most in limited if lock is not None and most is not None],
            used=tuple(workflow.standing.used),
        )  # fmt: skip

    async def _batch(self, pick: Pick, board: Board, limit: int) -> list[Mapping[str, Any]]:
        """The first tasks of the picked task's scenario and group over all lists of its workflow, in order."""
        lists = board.lists(pick.workflow.id) or [str(pick.head.key)]
        found = await asyncio.gather(*(self._queue.of_key(one, pick.head.group, limit) for one in lists))
        return merge((task for tasks in found for task in tasks), pick.workflow.rules, now_us(), limit)

    async def _fitting(
        self, tasks: Sequence[Mapping[str, Any]], check: InputCheck, version: str
    ) -> list[Mapping[str, Any]]:
        """Those whose input fits the version; the others are held, and their partners told."""
        fitting: list[Mapping[str, Any]] = []
        for n, task in enumerate(tasks):
            if n % INPUTS_PER_TURN == INPUTS_PER_TURN - 1:
                await asyncio.sleep(0)
            text = check.misfit(task["input"])
            if text is None:
                fitting.append(task)
            elif await self._queue.is_current(version):  # else a version published meanwhile may take it
                await self._hold(task, text)
        return fitting

    async def _hold(self, task: Mapping[str, Any], text: str) -> None:
        at = now()
        change = misfit(task, text, at)
        expect = {"pending": None, "queue.list": task["queue"]["list"]}
        done = await self._tasks.apply(task, change, op=new_id("op_"), now=at, expect=expect)
        if done.applied and change.event:
            MISFITS.inc()
            self._hints.task_finished(task["_id"], change.event)
            log.warning("task_misfit", task=task["_id"], account=task["account"], reason=text)


def _follows(robot: Mapping[str, Any]) -> bool:
    """Whether a robot has just served a group, and is to go on with the group's other scenarios."""
    at = (robot.get("follow") or {}).get("at")
    return at is not None and now() - at < timedelta(seconds=FOLLOW_S)
