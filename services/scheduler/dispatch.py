"""The dispatch loop: free robots and waiting tasks become runs.

Owns: nothing; all truth is in the database, and several schedulers may run this loop at once. Called by: main.py;
kicked by handlers, presence and recovery, and by itself every second. Survives a crash: a run is opened in one
transaction or not at all.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import Any

from services.scheduler.core.inputs import InputCheck
from services.scheduler.core.opening import SEED_BITS, Opening
from services.scheduler.core.order import Workflow, by_level, head_of, target_for, tasks_of_run, workflow_of
from services.scheduler.core.tasks import misfit
from services.scheduler.hints import Hints
from services.scheduler.store.opening import Missed, open_run
from services.scheduler.store.queue import QueueStore
from services.scheduler.store.tasks import TaskStore
from services.scheduler.store.workers import WorkerStore
from shared.domain.priority import Head
from shared.mongo import Mongo
from shared.obs.clock import monotonic_s, now
from shared.obs.ids import new_id
from shared.obs.logs import get_logger
from shared.obs.metrics import counter, histogram

ROBOTS_PER_PASS = 200
TRIES_PER_ROBOT = 6
"""How often the queue is looked at anew for one robot when others were faster or inputs did not fit."""
VERSIONS_KEPT = 200
INPUTS_PER_TURN = 50
"""Inputs checked before other work gets a turn."""

OPENED = counter("regente_runs_opened_total", "Runs opened.", [])
SECONDS = histogram("regente_dispatch_seconds", "Opening one run, from choosing its task to the commit.", [])
MISSED = counter("regente_dispatch_missed_total", "Runs not opened because somebody was faster.", ["what"])
MISFITS = counter("regente_tasks_misfit_total", "Queued tasks held because they no longer fit their workflow.", [])

log = get_logger(__name__)


class Board:
    """The heads of all lists during one pass, with what is published for them."""

    def __init__(self, queue: QueueStore) -> None:
        self._queue = queue
        self._workflows: dict[str, Workflow] = {}
        self._heads: dict[str, Head] = {}

    async def read(self) -> None:
        """Look at every list."""
        await self._enter(await self._queue.heads())

    async def refresh(self, workflow: Workflow) -> None:
        """Look again at the lists of one workflow."""
        self.drop(workflow)
        await self._enter(await self._queue.heads(workflow.account, workflow.name))

    def drop(self, workflow: Workflow) -> None:
        """Leave a workflow out for the rest of this pass."""
        prefix = f"{workflow.id}/"
        self._heads = {key: head for key, head in self._heads.items() if not key.startswith(prefix)}

    def target(self, account: str | None) -> Head | None:
        """The task that goes next on a robot of this account (none: shared)."""
        return target_for(self._heads.values(), account)

    def workflow(self, head: Head) -> Workflow:
        """What is published for a head's task."""
        return self._workflows[f"{head.key.account}/{head.key.workflow}"]

    def levels(self, workflow: Workflow) -> list[list[str]]:
        """The workflow's lists by level, the highest first."""
        return by_level(self._heads.values(), workflow)

    async def _enter(self, tasks: Sequence[dict[str, Any]]) -> None:
        ids = {task["queue"]["list"].rpartition("/")[0] for task in tasks}
        for document in await self._queue.workflows(sorted(ids)):
            workflow = workflow_of(document)
            if workflow is not None:
                self._workflows[workflow.id] = workflow
            else:
                self._workflows.pop(document["_id"], None)
        for task in tasks:
            head = head_of(task, self._workflows)
            if head is not None:
                self._heads[str(head.key)] = head


class Dispatcher:
    """Opens runs."""

    def __init__(self, mongo: Mongo, hints: Hints) -> None:
        self._mongo = mongo
        self._queue = QueueStore(mongo)
        self._tasks = TaskStore(mongo)
        self._workers = WorkerStore(mongo)
        self._hints = hints
        self._versions: dict[str, tuple[dict[str, Any], InputCheck]] = {}

    async def run_pass(self) -> int:
        """Serve every free robot once; the number of runs opened."""
        robots = await self._workers.free(ROBOTS_PER_PASS)
        if not robots:
            return 0
        board = Board(self._queue)
        await board.read()
        opened = 0
        for robot in robots:
            opened += await self._serve(robot, board)
        return opened

    async def _serve(self, robot: dict[str, Any], board: Board) -> bool:
        """Open a run on one robot, if there is work for it."""
        for _ in range(TRIES_PER_ROBOT):
            head = board.target(robot.get("account"))
            if head is None:
                return False
            workflow = board.workflow(head)
            done = await self._try(robot, workflow, board)
            if done is Missed.ROBOT:
                return False
            if done is None:
                board.drop(workflow)
                continue
            await board.refresh(workflow)
            if isinstance(done, dict):
                return True
        return False

    async def _try(self, robot: dict[str, Any], workflow: Workflow, board: Board) -> dict[str, Any] | Missed | None:
        """Open a run of this workflow on this robot; none when the workflow can't be run at all."""
        started_s = monotonic_s()
        kept = await self._version(workflow)
        if kept is None:
            return None
        version, check = kept
        tasks = await self._fitting(await self._first(board.levels(workflow), tasks_of_run(version)), check)
        if not tasks:
            return Missed.TASKS
        opening = Opening(
            run=new_id("run_"), workflow=workflow, version=version, worker=robot["_id"],
            epoch_before=int(robot["epoch"]), tasks=[task["_id"] for task in tasks],
            seed=secrets.randbits(SEED_BITS), at=now(),
            traceparent=tasks[0].get("traceparent"),
        )  # fmt: skip
        run = await open_run(self._mongo, opening)
        if isinstance(run, Missed):
            MISSED.labels(run.value).inc()
            return run
        self._hints.run_opened(run["_id"])
        OPENED.inc()
        SECONDS.observe(monotonic_s() - started_s)
        log.info(
            "run_opened", run=run["_id"], worker=robot["_id"], account=workflow.account, workflow=workflow.name,
            epoch=run["epoch"], tasks=len(run["tasks"]), task=run["tasks"][0]["task"],
        )  # fmt: skip
        return run

    async def _first(self, levels: Sequence[Sequence[str]], limit: int) -> list[dict[str, Any]]:
        """The first tasks over a workflow's lists: by level, then by age."""
        found: list[dict[str, Any]] = []
        for lists in levels:
            if len(found) >= limit:
                break
            found += await self._queue.first_tasks(lists, limit - len(found))
        return found

    async def _fitting(self, tasks: Sequence[dict[str, Any]], check: InputCheck) -> list[dict[str, Any]]:
        """Those whose input fits the version; the others are held, and their partners told."""
        fitting: list[dict[str, Any]] = []
        for n, task in enumerate(tasks):
            if n % INPUTS_PER_TURN == INPUTS_PER_TURN - 1:
                await asyncio.sleep(0)
            text = check.misfit(task["input"])
            if text is None:
                fitting.append(task)
            else:
                await self._hold(task, text)
        return fitting

    async def _hold(self, task: dict[str, Any], text: str) -> None:
        at = now()
        change = misfit(task, text, at)
        expect = {"pending": None, "queue.list": task["queue"]["list"]}
        done = await self._tasks.apply(task, change, op=new_id("op_"), now=at, expect=expect)
        if done.applied and change.event:
            MISFITS.inc()
            self._hints.task_finished(task["_id"], change.event)
            log.warning("task_misfit", task=task["_id"], account=task["account"], reason=text)

    async def _version(self, workflow: Workflow) -> tuple[dict[str, Any], InputCheck] | None:
        """The workflow's current version, ready to use; none when it can't be run. It never changes, so it is kept."""
        id = f"{workflow.id}/{workflow.current}"
        kept = self._versions.get(id)
        if kept is not None:
            return kept
        version = await self._queue.version(id)
        if version is None or not version.get("scenarios"):
            log.error(
                "version_unusable",
                version=id,
                reason="it does not exist or has no scenario; publish the workflow again",
            )
            return None
        if len(self._versions) >= VERSIONS_KEPT:
            self._versions.pop(next(iter(self._versions)))
        self._versions[id] = (version, InputCheck(version.get("input") or {}))
        return self._versions[id]
