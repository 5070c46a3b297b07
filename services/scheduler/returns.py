"""Runs that gave their robot back and want one again: served before new tasks, the oldest first.

Called by: dispatch.py, at the beginning of each pass. Owns nothing. Survives a crash: a robot is given in one
transaction (store/returning.py); until then the run simply goes on waiting, and says why (shared.mongo.waiting).

Such a run has a task in hand, so what keeps new tasks does not keep it: a window that closed, a limit, a person's hold.
It does wait while its workflow is held for a refused log-in, or its scenario for setups that failed: it begins with
setup, which would fail again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.scheduler.core.order import needed_tags
from services.scheduler.hints import Hints
from services.scheduler.store.returning import Returning
from services.scheduler.versions import Versions
from shared.domain.fitness import unfit
from shared.domain.gates import SETUP_AGAIN_FAILS
from shared.domain.scenario import needs_robot
from shared.mongo import Mongo, Session
from shared.mongo.gates import WorkflowGate, read_situation
from shared.obs.clock import now
from shared.obs.logs import get_logger
from shared.obs.metrics import counter

GIVEN = counter("regente_robots_given_again_total", "Robots given to runs that had given theirs back.", [])

log = get_logger(__name__)


class Returns:
    """Gives robots to runs that want one again."""

    def __init__(self, mongo: Mongo, hints: Hints, versions: Versions) -> None:
        self._mongo = mongo
        self._returning = Returning(mongo)
        self._hints = hints
        self._versions = versions

    async def any_wants(self) -> bool:
        """Whether a run waits for a robot."""
        return await self._returning.any_wants()

    async def serve(
        self, robots: Sequence[dict[str, Any]], session: Session | None = None
    ) -> tuple[list[dict[str, Any]], int]:
        """Give free robots to the runs that want one. robots: in the order in which they are to be used.

        Returns: the robots that are left, and how many runs were served.
        """
        left = list(robots)
        runs = await self._returning.wanting()
        if not runs:
            return left, 0
        ids = {f"{run['account']}/{run['workflow']}" for run in runs}
        gates = (await read_situation(self._mongo, ids, now())).gates
        served = 0
        for run in runs:
            workflow = gates.get(f"{run['account']}/{run['workflow']}")
            if workflow is not None and not _setup_would_fail(workflow, run["scenario"]):
                served += await self._serve(run, workflow, left, session)
        return left, served

    async def _serve(
        self, run: Mapping[str, Any], workflow: WorkflowGate, robots: list[dict[str, Any]], session: Session | None
    ) -> bool:
        """Give a run the first robot that may run its scenario; those that are tried are taken from the list."""
        plan = await self._versions.plan(run["version"])
        scenario = next((one for one in plan.scenarios if one["name"] == run["scenario"]), {}) if plan else {}
        if not needs_robot(scenario):
            return await self._give(run, None, session)
        tags = needed_tags(workflow.rules, scenario)
        for robot in list(robots):
            if unfit(robot, account=run["account"], workflow=run["workflow"], tags=tags) is None:
                robots.remove(robot)
                if await self._give(run, robot, session):
                    return True
        return False

    async def _give(self, run: Mapping[str, Any], robot: Mapping[str, Any] | None, session: Session | None) -> bool:
        if not await self._returning.give_robot(run, robot, session):
            return False
        GIVEN.inc()
        self._hints.run_opened(run["_id"])
        log.info(
            "run_given_a_robot", run=run["_id"], worker=robot["_id"] if robot else None, before=run.get("last_worker"),
            account=run["account"], workflow=run["workflow"],
        )  # fmt: skip
        return True


def _setup_would_fail(workflow: WorkflowGate, scenario: str) -> bool:
    circuit = workflow.standing.circuit or {}
    rejected = circuit.get("state") == "open" and circuit.get("reason") in SETUP_AGAIN_FAILS
    return rejected or scenario in workflow.standing.scenarios
