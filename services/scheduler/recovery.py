"""What comes back: tasks that runs give up, runs that end, robots that are lost, and what a crash left half done.

Owns: nothing. Called by: handlers.py (hints), main.py (sweeps). Survives a crash: every step is a guarded write that
may be repeated, and a hand-over is cleared last, so whoever sweeps next finds the rest. Change also: ARCHITECTURE.md
(hand-offs).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from services.scheduler.core.once import not_repeated
from services.scheduler.core.order import retry_policy
from services.scheduler.core.robots import lost
from services.scheduler.core.tasks import OWNER, Change, due_place, expired, given_back, orphaned, poisoned
from services.scheduler.core.zombies import verdict
from services.scheduler.hints import Hints
from services.scheduler.settling import Settling
from services.scheduler.store.queue import QueueStore
from services.scheduler.store.requests import RequestStore
from services.scheduler.store.returning import PARKED, Returning
from services.scheduler.store.runs import RunStore
from services.scheduler.store.tasks import TaskStore
from services.scheduler.store.workers import WorkerStore
from shared.domain.priority import list_key
from shared.domain.retry import RetryPolicy, RetryPosition, backoff_s
from shared.domain.run_state import FINAL, RunState
from shared.domain.task_state import LOGIN_REJECTED, ReturnReason
from shared.domain.warm import is_parked
from shared.errors import TemporaryError
from shared.mongo import Mongo
from shared.mongo.guarded import is_transient
from shared.obs.clock import now
from shared.obs.flow import came_out
from shared.obs.logs import get_logger
from shared.obs.metrics import counter

BATCH = 200
BATCHES_MAX = 25
"""Of tasks that come due or expire in one sweep."""
CLAIMS_MAX = 20
"""Tries at a hand-over before the task is held as poison."""
BACKOFF_FIRST_S = 2.0
BACKOFF_MAX_S = 60.0

ZOMBIES = counter("regente_zombies_recovered_total", "What a crash left behind and a sweep put right.", ["what"])
BACK = counter("regente_tasks_returned_total", "Tasks given back by runs.", ["what"])
for _what in ("robot", "task"):
    ZOMBIES.labels(_what)  # shown as 0 before the first
for _reason in ReturnReason:
    BACK.labels(_reason.value)
EXPIRED = counter("regente_tasks_expired_total", "Tasks whose deadline passed before they ran.", [])
LOST = counter("regente_robots_lost_total", "Runs that lost their robot.", [])

log = get_logger(__name__)


class Recovery:
    """Brings back what runs leave, and frees robots."""

    def __init__(self, mongo: Mongo, hints: Hints, *, kick: Callable[[], None]) -> None:
        self._queue = QueueStore(mongo)
        self._tasks = TaskStore(mongo)
        self._runs = RunStore(mongo)
        self._workers = WorkerStore(mongo)
        self._requests = RequestStore(mongo)
        self._settling = Settling(mongo)
        self._returning = Returning(mongo)
        self._hints = hints
        self._kick = kick
        """Has the dispatcher look again."""

    async def task_returned(self, id: str) -> None:
        """An executor gave a task back: to the queue with it (or to its partner, when it was cancelled meanwhile)."""
        task = await self._tasks.task(id)
        handed = (task or {}).get("pending") or {}
        if task is None or handed.get("to") != OWNER or await self._waits_for_its_run(task):
            return
        at = now()
        if handed["claims"] > CLAIMS_MAX or handed["what"] not in tuple(ReturnReason):
            change = poisoned(task, handed["claims"], at)
        else:
            policy = retry_policy(await self._queue.workflow_settings(task["account"], task["workflow"]))
            front = await self._front(task, policy)
            change = not_repeated(task, given_back(task, ReturnReason(handed["what"]), policy, at, front=front), at)
        held = task.get("held_by") or {}
        expect = {"pending.to": OWNER, "pending.what": handed["what"], "held_by.run": held.get("run")}
        if await self._apply(task, change, f"back/{held.get('run')}/{held.get('attempt')}", expect):
            BACK.labels(handed["what"]).inc()
            log.info("task_returned", task=id, run=held.get("run"), what=handed["what"], state=change.after.value)

    async def run_finished(self, id: str) -> None:
        """A run ended: see to the tasks it left, then put it away; its hand-over is cleared with that. Or it waits, and
        gives its robot back: that is freed, nothing is judged."""
        run = await self._runs.run(id)
        if run is not None and run.get("warm") and is_parked(run):
            self._kick()  # it stands ready
        if run is None or (run.get("pending") or {}).get("to") != OWNER:
            return
        if run["state"] in FINAL:
            await self._bring_back(id, run)
            await self._settling.settle(run)
        elif run["state"] == RunState.WAITING and run["pending"]["what"] == PARKED:
            if await self._returning.free_robot(run):
                log.info("robot_given_back", run=id, worker=run["worker"], account=run["account"])
        else:
            return
        for task in await self._tasks.given_back_by(id):
            await self._one_of_many(self.task_returned, task["_id"])
        self._kick()

    async def _waits_for_its_run(self, task: Mapping[str, Any]) -> bool:
        """Whether a task goes back only when its run is put away: what ended the run must count before the next robot
        tries. Else a second robot could try a log-in that was refused before the workflow is held."""
        if task["pending"].get("parked"):
            return False  # the run only waits; what it gave back is free since its robot is
        rejected = (task.get("last_error") or {}).get("code") == LOGIN_REJECTED
        held = task.get("held_by") or {}
        if held.get("run") is None or not (rejected or task["pending"]["what"] == ReturnReason.NOT_STARTED):
            return False
        run = await self._runs.run(held["run"])
        return run is not None and (run["state"] not in FINAL or (run.get("pending") or {}).get("to") == OWNER)

    async def sweep_handed_over(self) -> None:
        """Work what was handed over and whose hint may have been lost."""
        for task in await self._tasks.handed_over(now(), BATCH):
            if await self._waits_for_its_run(task):
                await self._tasks.put_off(task, now() + timedelta(seconds=BACKOFF_FIRST_S))  # no try, so no poison
            elif await self._tasks.claim(task, _next_due(task)):
                await self._one_of_many(self.task_returned, task["_id"])
        for run in await self._runs.handed_over(now(), BATCH):
            if await self._runs.claim(run, _next_due(run)):
                await self._one_of_many(self.run_finished, run["_id"])

    async def sweep_due(self) -> None:
        """Let tasks whose time has come stand in line, and end those whose deadline has passed."""
        at = now()
        placed = 0
        for _ in range(BATCHES_MAX):
            due, late = await self._queue.come_due(at, BATCH), await self._queue.overdue(at, BATCH)
            placed += await self._let_join(due, at)
            await self._expire(late, at)
            if len(due) < BATCH and len(late) < BATCH:
                break
        if placed:
            self._kick()

    async def _let_join(self, tasks: list[dict[str, Any]], at: datetime) -> int:
        """Give places to tasks whose time has come; how many got one."""
        placed = 0
        for task in tasks:
            policy = retry_policy(await self._queue.workflow_settings(task["account"], task["workflow"]))
            place = due_place(task, policy, at, front=await self._front(task, policy))
            placed += await self._queue.give_place(task, place)
        return placed

    async def _expire(self, tasks: list[dict[str, Any]], at: datetime) -> None:
        """End tasks whose deadline has passed."""
        for task in tasks:
            change, expect = expired(at), {"deadline": {"$lte": at}, "pending": None}
            if await self._apply(task, change, f"expire/{task['_id']}", expect):
                EXPIRED.inc()
                log.info("task_expired", task=task["_id"], account=task["account"])

    async def sweep_lost(self) -> None:
        """Tell the executor, once for each, which live runs have lost their robot."""
        runs = [run for run in await self._runs.live() if run["worker"] is not None and not _parks(run)]
        if not runs:
            return
        fields = {"run": 1, "epoch": 1, "authorisation": 1, "connected": 1}
        workers = await self._workers.workers(sorted({run["worker"] for run in runs}), fields)
        for run in runs:
            reason = lost(workers.get(run["worker"]), run=run["_id"], epoch=run["epoch"])
            if reason is not None:
                await self._tell_lost(run, reason)

    async def sweep_zombies(self) -> None:
        """Compare robots and tasks with the runs that they say hold them."""
        busy = await self._workers.busy()
        holding = await self._tasks.runs_holding_tasks()
        ids = sorted({worker["run"] for worker in busy} | set(holding))
        known = await self._runs.standings(ids)
        for worker in busy:
            await self._free_zombie(worker, *known.get(worker["run"], (None, False)))
        for run in holding:
            if run not in known or known[run][0] in FINAL:
                await self._bring_back(run, await self._runs.run(run))

    async def _free_zombie(self, worker: Mapping[str, Any], state: str | None, handed_over: bool) -> None:
        """Free a robot whose run is gone, or has ended and was put away without it."""
        if handed_over or (state is not None and state not in FINAL):
            return
        if await self._workers.release(worker["_id"], worker["run"], worker["epoch"]):
            ZOMBIES.labels("robot").inc()
            log.warning("zombie_robot_released", worker=worker["_id"], run=worker["run"], run_state=state)
            self._kick()

    async def _bring_back(self, run_id: str, run: Mapping[str, Any] | None) -> None:
        """See to the tasks that an ended (or missing) run still holds without having said what becomes of them."""
        tasks = await self._tasks.left_by(run_id)
        if not tasks:
            return
        steps = await self._runs.steps(run_id)
        end = ((run or {}).get("end") or {}).get("reason")
        why = f"its run ended ({end or 'no reason was stored'}) without an outcome for it"
        for task in tasks:
            policy = retry_policy(await self._queue.workflow_settings(task["account"], task["workflow"]))
            attempt = int(task["held_by"]["attempt"])
            found = verdict(steps, task=task["_id"], attempt=attempt, policy=policy)
            back = orphaned(task, found, policy, now(), why=why, front=await self._front(task, policy))
            change = not_repeated(task, back, now())
            expect = {"held_by.run": run_id, "held_by.attempt": attempt, "pending": None}
            if await self._apply(task, change, f"zombie/{run_id}/{attempt}", expect):
                ZOMBIES.labels("task").inc()
                log.warning("zombie_task_recovered", task=task["_id"], run=run_id, state=change.after.value, reason=why)

    async def _front(self, task: Mapping[str, Any], policy: RetryPolicy) -> int | None:
        """Rank of the first task of a task's list, for a workflow whose retries go there."""
        if policy.position is not RetryPosition.FRONT:
            return None
        return await self._queue.front(str(list_key(task["account"], task["workflow"], task.get("priority"))))

    async def _tell_lost(self, run: Mapping[str, Any], reason: str) -> None:
        current = await self._runs.run(run["_id"])
        if current is None or current["state"] in FINAL or _parks(current):
            return
        if current.get("last_worker") and await self._returning.take_back(run):
            log.warning("robot_lost_before_it_began", worker=run["worker"], run=run["_id"], reason=reason)
            self._kick()
            return
        args = {"run": run["_id"], "worker": run["worker"], "epoch": run["epoch"], "reason": reason}
        command = f"cmd_lost_{run['_id']}_{run['epoch']}"
        if await self._requests.ask(command, kind="run.robot_lost", to="executor", target=run["_id"], args=args):
            self._hints.command(command, "executor")
            LOST.inc()
            log.warning("robot_lost", worker=run["worker"], run=run["_id"], reason=reason)

    async def _apply(self, task: Mapping[str, Any], change: Change, op: str, expect: Mapping[str, Any]) -> bool:
        """Apply a change, and send the hints that follow from it."""
        done = await self._tasks.apply(task, change, op=op, now=now(), expect=expect)
        if done.applied:
            if change.event is not None:
                came_out(task, change.event)
                self._hints.task_finished(task["_id"], change.event)
            if change.place is not None:
                self._kick()
        return done.applied

    async def _one_of_many(self, work: Callable[[str], Awaitable[None]], id: str) -> None:
        """Work one document of a sweep; a defect in one must not keep the others waiting."""
        try:
            await work(id)
        except Exception as error:
            if isinstance(error, TemporaryError) or is_transient(error):
                raise
            log.exception("handover_failed", document=id)


def _parks(run: Mapping[str, Any]) -> bool:
    """Whether a run is about to be without its robot, so that losing it is no loss."""
    return run["state"] == RunState.WAITING and (run.get("pending") or {}).get("what") == PARKED


def _next_due(document: Mapping[str, Any]) -> Any:
    """When a hand-over is looked at again, if nothing comes of this try."""
    wait_s = backoff_s(document["pending"]["claims"] + 1, first_s=BACKOFF_FIRST_S, factor=2.0, max_s=BACKOFF_MAX_S)
    return now() + timedelta(seconds=wait_s)
