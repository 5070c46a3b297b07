"""Runs that are to end early: their window closes, their workflow is held, or they stand ready in vain.

Called by: main.py (sweep; at once when a person holds a workflow). Owns nothing. A window that closes lets the running
task finish; the others of the run go back as they were. So does a hold, unless the person who held the workflow wants
its runs to go on to their end, or to end now. A run that is kept warm ends when it is to stand ready no more. One that
opened while the hold came is found by the next sweep. Survives a crash: the next sweep sees the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.scheduler.core.standby import why_end
from services.scheduler.hints import Hints
from services.scheduler.stops import Stops
from services.scheduler.store.queue import QueueStore
from services.scheduler.store.runs import RunStore
from services.scheduler.store.workers import WorkerStore
from services.scheduler.versions import Versions
from shared.domain.calendar import closed_because, is_open
from shared.domain.gates import Gate, GateReason, HoldMode
from shared.domain.warm import is_parked, wishes
from shared.mongo import Mongo
from shared.mongo.gates import Calendars, WorkflowGate, read_situation
from shared.obs.clock import now

ROBOT_FIELDS = {"schedule": 1, "account": 1, "mode": 1, "drain": 1, "exclusive": 1, "quarantine": 1, "run": 1}


class Closing:
    """Asks for runs to end when they may not go on."""

    def __init__(self, mongo: Mongo, hints: Hints) -> None:
        self._mongo = mongo
        self._runs = RunStore(mongo)
        self._workers = WorkerStore(mongo)
        self._stops = Stops(mongo, hints)
        self._versions = Versions(QueueStore(mongo))

    async def sweep(self) -> None:
        """Compare the runs at work with the gates of their workflows and the schedules of their robots."""
        runs = [run for run in await self._runs.live() if _may_be_asked(run)]
        if not runs:
            return
        at = now()
        ids = {f"{run['account']}/{run['workflow']}" for run in runs}
        situation = await read_situation(self._mongo, ids, at)
        robots = await self._workers.workers(sorted({run["worker"] for run in runs if run["worker"]}), ROBOT_FIELDS)
        scheduled = [(one.get("account") or "", one["schedule"]) for one in robots.values() if one.get("schedule")]
        calendars = await Calendars.read(self._mongo, scheduled)
        for run in runs:
            found = situation.gates.get(f"{run['account']}/{run['workflow']}")
            if found is not None and not run.get("once") and await self._by_gate(run, found.gate):
                continue
            robot = robots.get(run["worker"] or "") or {}
            schedule = robot.get("schedule")
            calendar = calendars.of(robot.get("account") or "", schedule) if schedule else None
            if calendar is not None and not is_open(calendar, at):
                why = closed_because(calendar, at) or "outside its windows"
                await self._stops.ask(run, f"its robot's time to work is over ({why})", "schedule")
                continue
            if run.get("warm") and found is not None and is_parked(run):
                await self._end_standby(run, found, robot)

    async def _end_standby(self, parked: Mapping[str, Any], workflow: WorkflowGate, robot: Mapping[str, Any]) -> None:
        """End a warm run that is to stand ready no more."""
        run = await self._runs.run(parked["_id"])
        version = f"{workflow.id}/{workflow.document.get('current')}"
        plan = await self._versions.plan(version) if workflow.standing.published else None
        if run is None:
            return
        account, name = workflow.document["account"], workflow.document["name"]
        wanted = wishes(account, name, workflow.rules, plan.scenarios) if plan is not None else []
        over = why_end(run, robot or None, workflow=workflow.id, version=version, wanted=wanted, now=now())
        if over is not None:
            await self._stops.ask(run, over, "standby")

    async def _by_gate(self, run: Mapping[str, Any], gate: Gate) -> bool:
        """Ask for a run to end whose workflow takes no tasks; false when it may go on."""
        if gate.reason is GateReason.CLOSED:
            await self._stops.ask(run, gate.text, gate.reason.value)
            return True
        mode = gate.facts.get("mode") if gate.reason is GateReason.HELD else HoldMode.PAUSE
        if mode != HoldMode.PAUSE:
            await self._stops.ask(run, gate.text, GateReason.HELD.value, now=mode == HoldMode.ABORT)
        return mode != HoldMode.PAUSE


def _may_be_asked(run: Mapping[str, Any]) -> bool:
    """Whether a run may still be asked to end (sooner): none has been asked for, or only after the task in hand."""
    return (run.get("abort") or {}).get("kind", "after_task") == "after_task"
