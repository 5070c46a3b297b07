"""Runs that make no progress although their robot beats: 'green' but hung.

Called by: main.py (sweep). Owns: how long each run's mark has stood still, on this process's own clock; lost at a
restart, which only makes it count anew. A run's mark is what moves when it gets on: its state, token and progress, and
the seq that its robot reports. A run that stands still for longer than the instruction in flight may take is ended as
if its robot were lost: its task is judged by the journal, the others go back. One without a robot has no desktop that
could hang, and its executor times out what it does itself, so there is only an event. Survives a crash: the request's
id follows from the run, so it is asked once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.scheduler.core.presence import ListeningClock, Stillness
from services.scheduler.core.zombies import patience_s
from services.scheduler.hints import Hints
from services.scheduler.store.requests import RequestStore
from services.scheduler.store.runs import RunStore
from services.scheduler.store.workers import WorkerStore
from shared.domain.events import EventKind, Severity, event_document
from shared.domain.run_state import RunState
from shared.domain.why_parked import wants_robot
from shared.mongo import Mongo
from shared.mongo.events import raise_event
from shared.mongo.lease import Watch
from shared.mongo.waiting import Waiting
from shared.obs.clock import monotonic_s, now
from shared.obs.logs import get_logger
from shared.obs.metrics import counter

STALLED = counter("regente_runs_stalled_total", "Runs ended because they made no progress.", [])
STEP_S_MAX = 15.0
"""Most that one look counts: a scheduler that was stopped for an hour has not watched for an hour."""

log = get_logger(__name__)


class Stalls:
    """Watches the progress of runs."""

    def __init__(
        self, mongo: Mongo, hints: Hints, *, grace_s: float, wanting_s: float = 300.0,
        clock: Callable[[], float] = monotonic_s,
    ) -> None:  # fmt: skip
        self._mongo = mongo
        self._runs = RunStore(mongo)
        self._workers = WorkerStore(mongo)
        self._requests = RequestStore(mongo)
        self._hints = hints
        self._executors = Watch(mongo, "executor")
        self._grace_s = grace_s
        self._wanting_s = wanting_s
        self._clock = clock
        self._listening = ListeningClock(step_s_max=STEP_S_MAX)
        self._stillness = Stillness()

    async def sweep(self, *, listening: bool = True) -> None:
        """Look at every run at work; end those that have stood still for too long.

        listening: whether the broker answers; while it is away nobody can make progress.
        """
        try:
            runs = {run["_id"]: run for run in await self._runs.live() if _watched(run)}
            on_robots = sorted({run["worker"] for run in runs.values() if run["worker"]})
            robots = await self._workers.workers(on_robots, {"seen": 1, "run": 1})
        except Exception:
            self._listening.read(self._clock(), listening=False)
            raise
        alive = {lease.instance for lease in await self._executors.observe() if lease.still_for_s == 0.0}
        listened_s = self._listening.read(self._clock(), listening=listening)
        marks = {id: _mark(run, robots.get(run["worker"] or "") or {}) for id, run in runs.items()}
        for id, still_s in self._stillness.observe(marks, listened_s).items():
            if still_s < self._grace_s:
                continue
            if wants_robot(runs[id]):
                await self._tell_wanting(runs[id], still_s)
            elif runs[id].get("executor") not in alive:
                await self._tell_unclaimed(runs[id], still_s)
            else:
                await self._judge(runs[id], still_s)

    async def _tell_unclaimed(self, run: Mapping[str, Any], still_s: float) -> None:
        """No living executor has a run: it goes on where it stands when one comes, but somebody has to know."""
        text = f"run {run['_id']} waits for an executor since {still_s:.0f} s; is any executor up, and has it room?"
        event = event_document(
            EventKind.RUN_STALLED, id=f"unclaimed/{run['_id']}/{run.get('token')}", at=now(), service="scheduler",
            severity=Severity.ERROR, target=run["_id"], account=run["account"], text=text,
            facts={"worker": run["worker"], "workflow": run["workflow"], "still_s": round(still_s), "last": "opened"},
        )  # fmt: skip
        if await raise_event(self._mongo, event):
            log.warning("run_unclaimed", run=run["_id"], worker=run["worker"], still_s=round(still_s))

    async def _tell_wanting(self, run: Mapping[str, Any], still_s: float) -> None:
        """A run that gave its robot back finds none again: it goes on waiting, but somebody has to know why."""
        if still_s < self._wanting_s:
            return
        why = await Waiting(self._mongo).why_parked(run) or "its run wants a robot"
        event = event_document(
            EventKind.RUN_WANTS_ROBOT, id=f"wants_robot/{run['_id']}/{run['epoch']}", at=now(), service="scheduler",
            severity=Severity.WARNING, target=run["_id"], account=run["account"],
            text=f"run {run['_id']} waits for {still_s:.0f} s: {why}",
            facts={"workflow": run["workflow"], "still_s": round(still_s), "last_worker": run.get("last_worker")},
        )  # fmt: skip
        if await raise_event(self._mongo, event):
            log.warning("run_wants_robot", run=run["_id"], still_s=round(still_s), reason=why)

    async def _judge(self, run: Mapping[str, Any], still_s: float) -> None:
        """End a run that stands still, unless the instruction in flight may take that long."""
        last = await self._runs.last_step(run["_id"])
        if still_s < patience_s(last, self._grace_s):
            return
        doing = ((last or {}).get("instruction") or {}).get("name") or (last or {}).get("kind") or "nothing"
        although = "its robot beats" if run["worker"] else "its executor lives"
        reason = f"no progress for {still_s:.0f} s although {although} (last: {doing})"
        if run["worker"] and not await self._end(run, reason):
            return  # it was asked before
        event = event_document(
            EventKind.RUN_STALLED, id=f"stalled/{run['_id']}/{run['epoch']}", at=now(), service="scheduler",
            severity=Severity.ERROR, target=run["_id"], account=run["account"], text=f"run {run['_id']}: {reason}",
            facts={"worker": run["worker"], "workflow": run["workflow"], "still_s": round(still_s), "last": doing},
        )  # fmt: skip
        if await raise_event(self._mongo, event):
            log.warning("run_stalled", run=run["_id"], worker=run["worker"], reason=reason)

    async def _end(self, run: Mapping[str, Any], reason: str) -> bool:
        """Have a run ended whose robot hangs; false when that was asked before."""
        args = {"run": run["_id"], "worker": run["worker"], "epoch": run["epoch"], "reason": reason}
        command = f"cmd_stalled_{run['_id']}_{run['epoch']}"
        if not await self._requests.ask(command, kind="run.robot_lost", to="executor", target=run["_id"], args=args):
            return False
        self._hints.command(command, "executor")
        STALLED.inc()
        return True


def _watched(run: Mapping[str, Any]) -> bool:
    """Whether a run is to get on: one that is parked need not, unless an executor is asked to go on with it."""
    if run["state"] != RunState.WAITING:
        return True
    due = (run.get("wait") or {}).get("due_at")
    return (run.get("pending") or {}).get("to") == "executor" or (due is not None and due < now())


def _mark(run: Mapping[str, Any], robot: Mapping[str, Any]) -> tuple[Any, ...]:
    """What moves when a run gets on."""
    seq = (robot.get("seen") or {}).get("seq") if robot.get("run") == run["_id"] else None
    return (run["state"], run.get("token"), run.get("progressed_at"), seq)
