"""Warm standby: opens runs that are to be kept ready, gives them their tasks, and ends one whose robot is needed.

Called by: dispatch.py, within its turn. Owns: what one pass has read. Survives a crash: opening and giving are one
transaction each. What a warm run is stands in shared.domain.warm; the decisions in core/standby.py; the other reasons
for which one ends in closing.py.

A parked warm run is given the first tasks of its scenario and group before robots are served, so its robot is preferred
for them. Robots are kept from its group by the group's lock, as by any run; where more runs may share a group, they
take what is too much for one batch. A task that the run has had before ends it: it is tried again after a new setup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.scheduler.batches import Batches
from services.scheduler.board import Board
from services.scheduler.core.opening import Opening
from services.scheduler.core.order import Plan, batch_max, fitting_scenarios, held_scenarios
from services.scheduler.core.standby import TASKS_MAX, choose, judged, why_end
from services.scheduler.drafting import draft
from services.scheduler.hints import Hints
from services.scheduler.settling import Settling
from services.scheduler.stops import Stops
from services.scheduler.store.opening import Missed, Openings
from services.scheduler.store.queue import QueueStore
from services.scheduler.store.standby import StandbyStore
from services.scheduler.store.workers import FREE_FIELDS, WorkerStore
from services.scheduler.versions import Versions
from shared.domain.gates import GateReason
from shared.domain.warm import Wish, wishes
from shared.mongo import Mongo, Session
from shared.mongo.gates import Situation, WorkflowGate, read_situation
from shared.obs.clock import now, now_us
from shared.obs.logs import get_logger
from shared.obs.metrics import counter
from shared.obs.spans import taken

YIELD_AFTER_US = 10_000_000
"""A task that has waited this long and that nobody else takes ends a warm run whose robot may run it."""

WARM = counter("regente_runs_warm_total", "Warm runs opened.", [])
GIVEN = counter("regente_tasks_given_warm_total", "Tasks given to runs that stood ready.", [])

log = get_logger(__name__)


class Standby:
    """The scheduler's part in warm standby."""

    def __init__(
        self, mongo: Mongo, hints: Hints, versions: Versions, openings: Openings, batches: Batches, *,
        server_runs_max: int,
    ) -> None:  # fmt: skip
        self._mongo = mongo
        self._hints = hints
        self._versions = versions
        self._openings = openings
        self._batches = batches
        self._server_runs_max = server_runs_max
        self._store = StandbyStore(mongo)
        self._queue = QueueStore(mongo)
        self._workers = WorkerStore(mongo)
        self._settling = Settling(mongo)
        self._stops = Stops(mongo, hints)
        self._situation = Situation(now(), {})
        self._plans: dict[str, Plan] = {}
        self._wishes: dict[str, list[Wish]] = {}
        self._paused: set[str] = set()
        self._parked: list[dict[str, Any]] = []
        self._robots: dict[str, dict[str, Any]] = {}

    async def any_work(self) -> bool:
        """Whether a parked run may be given tasks, or a free robot may open a warm run."""
        if await self._store.any_parked() and await self._queue.any_waits():
            return True
        robots = await self._store.exclusive()
        if not robots:
            return False
        await self._look({robot["exclusive"] for robot in robots})
        return any(self._may_open(robot["exclusive"]) for robot in robots)

    async def read(self, robots: Sequence[Mapping[str, Any]]) -> None:
        """What a pass needs to know. robots: the free ones."""
        self._parked = await self._store.parked()
        ids = {f"{run['account']}/{run['workflow']}" for run in self._parked}
        await self._look(ids | {robot["exclusive"] for robot in robots if robot.get("exclusive")})
        on = sorted({run["worker"] for run in self._parked if run["worker"]})
        self._robots = await self._workers.workers(on, FREE_FIELDS) if on else {}

    async def give_tasks(self, session: Session | None = None) -> int:
        """Give every parked run the first tasks of its group; how many runs got some."""
        given = 0
        for run in list(self._parked):
            before, ended = judged(run)
            if before < ended:
                await self._settling.judge_parked(run)
            if await self._give(run, session):
                self._parked.remove(run)
                given += 1
        return given

    async def open(self, robot: Mapping[str, Any], key: str | None, board: Board, session: Session | None) -> bool:
        """Open a warm run on a free robot, if one is wanted rather than what it would do next.

        key: of the task that it would take; none: it has nothing to do.
        """
        id = str(robot.get("exclusive") or "")
        wish = choose(self._wanted(robot), key)
        if wish is None:
            return False
        workflow, plan = self._situation.gates[id], self._plans[id]
        opening = draft(
            robot, workflow, plan, wish.number, key=wish.key, values=wish.values, tasks=(), done=(),
            server_runs_max=self._server_runs_max, warm=wish.lock,
        )  # fmt: skip
        run = await self._openings.open(opening, session)
        if isinstance(run, Missed):
            self._paused.add(wish.lock)  # for this pass
            return False
        WARM.inc()
        self._hints.run_opened(run["_id"])
        self._situation.held.update(run["locks"])
        await board.took(board.workflow(id) or workflow, run["locks"], 0)
        log.info(
            "warm_run_opened", run=run["_id"], worker=robot["_id"], account=run["account"], workflow=run["workflow"],
            scenario=run["scenario"], epoch=run["epoch"],
        )  # fmt: skip
        return True

    async def make_room(self, board: Board) -> None:
        """End a parked run whose robot may run a task that has waited for some time and that nobody took in this pass;
        one of a workflow at a time."""
        for run in self._parked:
            robot, id = self._robots.get(run["worker"]), f"{run['account']}/{run['workflow']}"
            pick = await board.pick(robot) if robot is not None else None
            if pick is None or now_us() - pick.head.rank < YIELD_AFTER_US or pick.head.group == run["group_key"]:
                continue
            if not await self._store.any_ending(run["account"], run["workflow"]):
                await self._stops.ask(run, f"its robot is needed for other tasks of {id}", "needed")

    async def _look(self, ids: set[str]) -> None:
        """Read gates, wishes and pauses of these workflows."""
        at = now()
        self._situation = await read_situation(self._mongo, ids, at) if ids else Situation(at, {})
        self._plans, self._wishes = {}, {}
        for id, workflow in self._situation.gates.items():
            plan = await self._versions.plan(_version(workflow)) if workflow.standing.published else None
            if plan is not None:
                account, name = workflow.document["account"], workflow.document["name"]
                self._plans[id], self._wishes[id] = plan, wishes(account, name, workflow.rules, plan.scenarios)
        locks = [wish.lock for of in self._wishes.values() for wish in of]
        self._paused = await self._store.paused(locks, at) if locks else set()

    def _may_open(self, id: str) -> list[Wish]:
        """The warm runs that a workflow lacks and that may be opened now."""
        workflow = self._situation.gates.get(id)
        if workflow is None or not workflow.gate.open or id not in self._plans:
            return []
        held, most = self._situation.held, workflow.rules.group_max
        out = held_scenarios(self._plans[id], workflow.standing)
        return [
            wish
            for wish in self._wishes[id]
            if not held[wish.lock]
            and wish.lock not in self._paused
            and wish.number not in out
            and (wish.group is None or most is None or held[wish.group] < most)
        ]

    def _wanted(self, robot: Mapping[str, Any]) -> list[Wish]:
        """Those among them that this robot may run."""
        missing = self._may_open(str(robot.get("exclusive") or ""))
        if not missing:
            return []
        workflow = self._situation.gates[str(robot["exclusive"])]
        account, name = workflow.document["account"], workflow.document["name"]
        fits = fitting_scenarios(robot, account, name, workflow.rules, self._plans[workflow.id])
        return [wish for wish in missing if wish.number in fits]

    async def _give(self, run: Mapping[str, Any], session: Session | None) -> bool:
        """Give a parked run the first tasks of its scenario and group."""
        workflow = self._situation.gates.get(f"{run['account']}/{run['workflow']}")
        if workflow is None or not (workflow.gate.open or workflow.gate.reason is GateReason.RUNS):
            return False  # a run that lives already is none too many
        plan, robot = self._plans.get(workflow.id), self._robots.get(run["worker"])
        wanted = self._wishes.get(workflow.id, [])
        over = why_end(run, robot, workflow=workflow.id, version=_version(workflow), wanted=wanted, now=now())
        if plan is None or robot is None or over is not None or run["scenario"] in workflow.standing.scenarios:
            return False
        wish = next(wish for wish in wanted if wish.lock in run["locks"])
        tasks = await self._tasks(run, workflow, plan, wish)
        if not tasks:
            return False
        given = Opening(
            run=run["_id"], account=run["account"], workflow=run["workflow"], version=run["version"],
            scenario=run["scenario"], worker=run["worker"], epoch_before=int(run["epoch"]) - 1,
            tasks=[str(task["_id"]) for task in tasks], seed=0, at=now(), used=tuple(workflow.standing.used),
        )  # fmt: skip
        count = await self._store.push(run, given, session)
        if isinstance(count, Missed):
            return False
        GIVEN.inc(count)
        with taken({**run, "tasks": ()}, tasks[:count]):
            self._hints.run_opened(run["_id"])
            log.info("tasks_given_to_warm_run", run=run["_id"], worker=run["worker"], tasks=count, task=tasks[0]["_id"])
        return True

    async def _tasks(
        self, run: Mapping[str, Any], workflow: WorkflowGate, plan: Plan, wish: Wish
    ) -> Sequence[Mapping[str, Any]]:
        """The first tasks for a parked run, up to the first that it has had before; that one first of all ends it."""
        limit = min(batch_max(plan.scenarios[wish.number], workflow.gate.room), TASKS_MAX - len(run["tasks"]))
        heads = await self._queue.heads(run["account"], run["workflow"])
        lists = [head["queue"]["list"] for head in heads]
        first = await self._batches.first(lists, wish.key, workflow.rules, limit)
        had = {item["task"] for item in run["tasks"]}
        count = next((n for n, task in enumerate(first) if task["_id"] in had), len(first))
        if first and count == 0:
            await self._stops.ask(run, f"task {first[0]['_id']} is to be tried again, after a new setup", "again")
        check = await self._versions.check(plan.version)
        return await self._batches.fitting(first[:count], check, plan.version) if check is not None else []


def _version(workflow: WorkflowGate) -> str:
    return f"{workflow.id}/{workflow.document.get('current')}"
