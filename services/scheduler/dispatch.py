"""The dispatch loop: waiting tasks become runs, on free robots or, for scenarios that need none, on none.

Owns: nothing; all truth is in the database, and several schedulers may run this loop at once. Called by: main.py;
kicked by handlers, presence and recovery, and by itself every second. Survives a crash: a run is opened in one
transaction or not at all.

Schedulers take turns (store/turn.py): eight that look at the same heads at once would abort more transactions than they
commit. Robots that may run little are served first, so that those which may run anything stay free for the rest; equals
in a random order, so that two schedulers that dispatch at once rarely want the same one.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from services.scheduler.batches import Batches
from services.scheduler.board import Board, Pick
from services.scheduler.core.order import SERVER, batch_max, followers, shared_values
from services.scheduler.drafting import draft
from services.scheduler.hints import Hints
from services.scheduler.keys import Keys
from services.scheduler.returns import Returns
from services.scheduler.standby import Standby
from services.scheduler.store.opening import Missed, Openings
from services.scheduler.store.queue import QueueStore
from services.scheduler.store.tasks import TaskStore
from services.scheduler.store.turn import Turn
from services.scheduler.store.workers import WorkerStore
from services.scheduler.versions import Versions
from shared.domain.fitness import away, breadth
from shared.domain.gates import SERVER_LOCK
from shared.mongo import Mongo
from shared.mongo.gates import Calendars
from shared.obs.clock import monotonic_s, now, now_us
from shared.obs.logs import get_logger
from shared.obs.metrics import counter, histogram
from shared.obs.spans import taken

IN_VAIN_MAX = 2
"""After so many looks at a workflow that came to nothing others get their turn; the sweeps see to what is in the way.
"""
FOLLOW_S = 10.0
"""How long after a run its robot is first asked to go on with the group."""
TRIES_PER_ROBOT = 12
"""How often the queue is looked at anew for one robot when others were faster or inputs did not fit."""
CONFLICT_PAUSE_S = 0.01
CONFLICTS_MAX = 4
"""Of one pass; then it ends. Another scheduler is at the same tasks, and to go on with what comes after them would turn
the order of work around."""
TURN_PAUSE_S = 0.04
"""Pause before a scheduler asks again for the turn that another one has."""

OPENED = counter("regente_runs_opened_total", "Runs opened.", [])
SECONDS = histogram("regente_dispatch_seconds", "Opening one run, from choosing its task to the commit.", [])
MISSED = counter("regente_dispatch_missed_total", "Runs not opened because somebody was faster.", ["what"])
TURNS = counter("regente_dispatch_turns_total", "Turns at opening runs: taken, or spared by another's.", ["what"])

log = get_logger(__name__)


class Dispatcher:
    """Opens runs."""

    def __init__(
        self, mongo: Mongo, hints: Hints, *, server_runs_max: int = 100, chance: random.Random | None = None,
        wanted: Callable[[], frozenset[str]] = frozenset,
    ) -> None:  # fmt: skip
        """wanted: robots that are left to one-off runs (once.py)."""
        self._mongo = mongo
        self._server_runs_max = server_runs_max
        self._queue = QueueStore(mongo)
        self._workers = WorkerStore(mongo)
        self._versions = Versions(self._queue)
        self._keys = Keys(mongo, hints, self._versions)
        self._openings = Openings(mongo)
        self._hints = hints
        self._wanted = wanted
        self._chance = chance or random.Random()
        self._batches = Batches(self._queue, TaskStore(mongo), hints)
        self._returns = Returns(mongo, hints, self._versions)
        self._standby = Standby(
            mongo, hints, self._versions, self._openings, self._batches, server_runs_max=server_runs_max
        )
        self._turn = Turn(mongo)
        self._conflicts = 0

    async def close(self) -> None:
        """Give back what is held at the database."""
        await self._turn.close()

    async def run_turn(self) -> int:
        """One pass when it is this scheduler's turn; the number of runs opened.

        Whoever waits for the turn of another needs no turn of its own once a pass that began after that has been made:
        it saw all that made this one look.
        """
        if not await self._any_work():
            return 0
        free, seen = await self._turn.look()
        while not (free and await self._turn.take(self._chance.choice(free))):
            await asyncio.sleep(TURN_PAUSE_S * self._chance.uniform(0.5, 1.5))
            free, passes = await self._turn.look()
            if passes > seen:
                TURNS.labels("spared").inc()
                return 0
        TURNS.labels("taken").inc()
        try:
            return await self._pass()
        finally:
            await self._turn.give_back()

    async def _any_work(self) -> bool:
        """Whether a look at the queue may come to anything."""
        if await self._workers.any_free() and (await self._queue.any_waits() or await self._returns.any_wants()):
            return True
        return await self._queue.any_waits_for_no_robot() or await self._standby.any_work()

    async def _pass(self) -> int:
        """Serve runs that want a robot again and those that stand ready, then every free robot once, and the server as
        often as there is something for it; the number of runs opened or given tasks."""
        session, self._conflicts = self._turn.session, 0
        robots, opened = await self._returns.serve(await self._free_robots(), session)
        await self._standby.read(robots)
        opened += await self._standby.give_tasks(session)
        board = Board(self._mongo, self._queue, self._versions, now(), now_us())
        await board.read()
        for robot in robots:
            if board.empty and not robot.get("exclusive"):
                continue
            if not self._turn.mine or self._conflicts >= CONFLICTS_MAX:
                break
            opened += await self._serve_server(board, robot)
            opened += await self._stand_by(robot, board) or await self._serve(robot, board)
        opened += await self._serve_server(board)
        await self._standby.make_room(board)
        return opened

    async def _stand_by(self, robot: dict[str, Any], board: Board) -> bool:
        """Open a run that is to be kept warm on an exclusive robot, rather than what it would do next."""
        if not robot.get("exclusive"):
            return False
        pick, _ = await self._pick(robot, board)
        return await self._standby.open(robot, None if pick is None else pick.head.group, board, self._turn.session)

    async def _serve_server(self, board: Board, robot: dict[str, Any] | None = None) -> int:
        """Open the runs that need no robot; the number of runs opened.

        robot: only those whose tasks go before the one that this robot is to take: what they share (limits, groups)
        goes to who is first in the order of work.
        """
        opened = 0
        while board.serves_server and board.held(SERVER_LOCK) < self._server_runs_max and self._turn.mine:
            if robot is not None:
                mine, (its, _) = await board.pick(SERVER), await self._pick(robot, board)
                if mine is None or (its is not None and not board.before(mine.head, its.head)):
                    break
            if not await self._serve(SERVER, board):
                break
            opened += 1
        return opened

    async def _free_robots(self) -> list[dict[str, Any]]:
        """Robots that take work now: those that go on with a group first, then those that may run little."""
        robots = await self._workers.free()
        scheduled = [(robot.get("account") or "", robot["schedule"]) for robot in robots if robot.get("schedule")]
        calendars = await Calendars.read(self._mongo, scheduled)
        at, wanted = now(), self._wanted()

        def free(robot: Mapping[str, Any]) -> bool:
            if robot["_id"] in wanted:
                return False
            schedule = robot.get("schedule")
            calendar = calendars.of(robot.get("account") or "", schedule) if schedule else None
            return away(robot, at, calendar) is None

        def place(robot: Mapping[str, Any]) -> tuple[Any, ...]:
            return (0 if _follows(robot) else 1, breadth(robot), self._chance.random())

        return sorted(filter(free, robots), key=place)

    async def _serve(self, robot: dict[str, Any], board: Board) -> bool:
        """Open a run on one robot, if there is work for it."""
        in_vain: Counter[str] = Counter()
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
                self._conflicts += 1
                if self._conflicts >= CONFLICTS_MAX:
                    return False
                await asyncio.sleep(CONFLICT_PAUSE_S * self._chance.random())
            in_vain[pick.workflow.id] += missed is Missed.TASKS
            if in_vain[pick.workflow.id] >= IN_VAIN_MAX:
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
        lists = board.lists(workflow.id) or [str(pick.head.key)]
        tasks = await self._batches.first(lists, key, workflow.rules, limit)
        tasks = await self._batches.fitting(tasks, check, plan.version)
        if not tasks:
            return Missed.TASKS
        opening = draft(
            robot, workflow, plan, number, key=pick.head.group, values=shared_values(scenario, tasks[0]), tasks=tasks,
            done=done, server_runs_max=self._server_runs_max,
        )  # fmt: skip
        run = await self._openings.open(opening, self._turn.session)
        if isinstance(run, Missed):
            return run
        OPENED.inc()
        with taken(run, tasks):
            self._hints.run_opened(run["_id"])
            log.info(
                "run_opened", run=run["_id"], worker=robot["_id"], account=run["account"], workflow=run["workflow"],
                scenario=run["scenario"], epoch=run["epoch"], tasks=len(run["tasks"]), task=run["tasks"][0]["task"],
            )  # fmt: skip
        await board.took(workflow, run["locks"], len(run["tasks"]))
        return None


def _follows(robot: Mapping[str, Any]) -> bool:
    """Whether a robot has just served a group, and is to go on with the group's other scenarios."""
    at = (robot.get("follow") or {}).get("at")
    return at is not None and now() - at < timedelta(seconds=FOLLOW_S)
