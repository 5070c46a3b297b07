"""Runs that are to end early, after the task in hand: their window closes, or their workflow is held.

Called by: main.py (sweep). Owns nothing. A window that closes lets the running task finish; the others of the run go
back as they were. The wish is a durable request to the executor whose id the run determines, so it is asked once,
however many schedulers see it. Survives a crash: the next sweep sees the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.scheduler.hints import Hints
from services.scheduler.store.requests import RequestStore
from services.scheduler.store.runs import RunStore
from services.scheduler.store.workers import WorkerStore
from shared.domain.calendar import closed_because, is_open
from shared.domain.gates import GateReason
from shared.mongo import Mongo
from shared.mongo.gates import Calendars, read_situation
from shared.obs.clock import now
from shared.obs.logs import get_logger
from shared.obs.metrics import counter

STOPPED = counter("regente_runs_stopped_total", "Runs that were asked to end after the task in hand.", ["why"])

log = get_logger(__name__)


class Closing:
    """Asks for runs to end when they may not go on."""

    def __init__(self, mongo: Mongo, hints: Hints) -> None:
        self._mongo = mongo
        self._runs = RunStore(mongo)
        self._workers = WorkerStore(mongo)
        self._requests = RequestStore(mongo)
        self._hints = hints

    async def sweep(self) -> None:
        """Compare the runs at work with the gates of their workflows and the schedules of their robots."""
        runs = [run for run in await self._runs.live() if run.get("abort") is None]
        if not runs:
            return
        at = now()
        ids = {f"{run['account']}/{run['workflow']}" for run in runs}
        situation = await read_situation(self._mongo, ids, at)
        robots = await self._workers.workers(sorted({run["worker"] for run in runs}), {"schedule": 1, "account": 1})
        scheduled = [(one.get("account") or "", one["schedule"]) for one in robots.values() if one.get("schedule")]
        calendars = await Calendars.read(self._mongo, scheduled)
        for run in runs:
            found = situation.gates.get(f"{run['account']}/{run['workflow']}")
            if found is not None and found.gate.reason in (GateReason.CLOSED, GateReason.HELD):
                await self._stop(run, found.gate.text, found.gate.reason.value)
                continue
            robot = robots.get(run["worker"]) or {}
            schedule = robot.get("schedule")
            calendar = calendars.of(robot.get("account") or "", schedule) if schedule else None
            if calendar is not None and not is_open(calendar, at):
                why = closed_because(calendar, at) or "outside its windows"
                await self._stop(run, f"its robot's time to work is over ({why})", "schedule")

    async def _stop(self, run: Mapping[str, Any], reason: str, why: str) -> None:
        command = f"cmd_stop_{run['_id']}"
        args = {"reason": reason, "by": "scheduler"}
        if await self._requests.ask(command, kind="run.stop", to="executor", target=run["_id"], args=args):
            self._hints.command(command, "executor")
            STOPPED.labels(why).inc()
            log.info("run_to_end", run=run["_id"], worker=run["worker"], reason=reason)
