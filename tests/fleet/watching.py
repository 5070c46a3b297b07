"""The witness: reads every change of tasks, runs and robots in the order of the database's journal, and holds it
against what may happen.

Owns: a model of the queue and of who holds what, built from the change stream alone; it asks nothing of the services
under test and reads no document. So two runs that hold one task for a millisecond between two sweeps are seen as well.
The changes of one transaction come together, the run's insert last: at that moment an opening is judged as a whole.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from shared.domain.run_state import FINAL as RUN_FINAL
from shared.domain.task_state import FINAL, TASK, TaskState
from shared.mongo import Mongo
from shared.obs.ids import new_id
from tests.fleet.cutting import cut_off
from tests.fleet.order import Line, Lines, Place
from tests.fleet.scene import Robot, Workflow

MARKS = "fleet_marks"
COMPLAINTS_MAX = 50
_CHANGED = "updateDescription.updatedFields"
_SEEN = ("state", "held_by", "queue", "epoch", "run")
_MADE = ("account", "workflow", "priority", "tasks.task", "worker", "locks")
PIPELINE: list[dict[str, Any]] = [
    {
        "$match": {
            "ns.coll": {"$in": ["tasks", "runs", "workers", MARKS]},
            "$or": [
                {"operationType": {"$ne": "update"}},
                {"updateDescription.removedFields": "queue"},
                *({f"{_CHANGED}.{name}": {"$exists": True}} for name in _SEEN),
            ],
        }
    },
    {
        "$project": {
            "operationType": 1, "ns.coll": 1, "documentKey": 1, "updateDescription.removedFields": 1,
            **{f"{_CHANGED}.{name}": 1 for name in _SEEN},
            **{f"fullDocument.{name}": 1 for name in (*_MADE, *_SEEN)},
        }
    },
]  # fmt: skip


class Witness:
    """Follows one database."""

    def __init__(self, workflows: Mapping[str, Workflow], robots: Sequence[Robot]) -> None:
        self.lines = Lines()
        self.wrong: list[str] = []
        self.finals: Counter[str] = Counter()
        self.openings = 0
        self.held_most: Counter[str] = Counter()
        """By lock (of an account, a workflow, a group): the most runs that held it at once."""
        self._workflows = workflows
        self._robots = {robot.id: robot for robot in robots}
        self._states: dict[str, str] = {}
        self._of: dict[str, tuple[str, str, int | None]] = {}
        self._held: dict[str, str] = {}
        self._taking: dict[str, list[str]] = defaultdict(list)
        self._live: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._on_robot: dict[str, str] = {}
        self._reserved: dict[str, str] = {}
        self._epochs: dict[str, int] = {}
        self._locks: Counter[str] = Counter()
        self._reached: asyncio.Queue[str] = asyncio.Queue()
        self._following: asyncio.Task[None] | None = None

    async def start(self, mongo: Mongo) -> None:
        """Follow from now on."""
        stream = await mongo.db.watch(PIPELINE, batch_size=1000)
        self._following = asyncio.create_task(self._follow(stream))

    async def caught_up(self, mongo: Mongo, within_s: float) -> None:
        """Wait until all that was written before this call has been seen."""
        assert self._following is not None
        mark = new_id("mark_")
        await mongo[MARKS].insert_one({"_id": mark})
        async with asyncio.timeout(within_s):
            reached = ""
            while reached != mark:
                assert not self._following.done(), f"the witness stopped: {self._following.exception()!r}"
                try:
                    reached = await asyncio.wait_for(self._reached.get(), 1.0)
                except TimeoutError:
                    continue

    async def stop(self) -> None:
        """Follow no more."""
        await cut_off(self._following)

    def unfinished(self) -> list[str]:
        """Tasks that are in no final state."""
        return [task for task, state in self._states.items() if state not in FINAL]

    def state_counts(self) -> Counter[str]:
        """How many tasks are in each state."""
        return Counter(self._states.values())

    async def _follow(self, stream: Any) -> None:
        async with stream:
            async for event in stream:
                self._see(event)

    def _see(self, event: Mapping[str, Any]) -> None:
        kind, id, what = event["ns"]["coll"], event["documentKey"]["_id"], event["operationType"]
        if kind == MARKS:
            self._reached.put_nowait(id)
            return
        if what not in ("insert", "update"):
            self._complain(f"{kind} {id} was changed by {what}")
            return
        new = what == "insert"
        fields = event["fullDocument"] if new else event["updateDescription"].get("updatedFields") or {}
        gone = () if new else event["updateDescription"].get("removedFields") or ()
        if kind == "tasks":
            self._task(id, fields, gone, new=new)
        elif kind == "runs":
            self._opened(id, fields) if new else self._run(id, fields)
        else:
            self._robot(id, fields, new=new)

    # tasks

    def _task(self, id: str, fields: Mapping[str, Any], gone: Sequence[str], *, new: bool) -> None:
        if new:
            self._of[id] = (fields["account"], fields["workflow"], fields["priority"])
            self._states[id] = TaskState.QUEUED
        elif "state" in fields:
            self._moved(id, fields["state"])
        if "held_by" in fields:
            self._holder(id, fields["held_by"])
        if "queue" in fields and fields["queue"] is not None:
            self.lines.join(id, *self._place(id, fields["queue"]))
        elif "queue" in gone and id not in self._held:
            self.lines.leave(id)

    def _moved(self, id: str, after: str) -> None:
        before = self._states[id]
        if (before, after) not in TASK.edges:
            self._complain(f"task {id} went from {before} to {after}")
        self._states[id] = after
        self.finals[id] += after in FINAL

    def _holder(self, id: str, held_by: Mapping[str, Any] | None) -> None:
        before = self._held.pop(id, None)
        if held_by is None:
            return
        run = held_by["run"]
        if before is not None:
            self._complain(f"task {id} was held by run {before} when run {run} took it")
        self._held[id] = run
        self._taking[run].append(id)

    def _place(self, id: str, queue: Mapping[str, Any]) -> tuple[Line, Place]:
        account, name, own = self._of[id]
        level = own if own is not None else self._workflows[f"{account}/{name}"].priority
        return (account, name, str(queue.get("key") or "")), (-level, int(queue["rank"]), id)

    # runs

    def _opened(self, id: str, run: Mapping[str, Any]) -> None:
        """The last change of an opening's transaction."""
        self.openings += 1
        tasks, worker = [item["task"] for item in run["tasks"]], run["worker"]
        taken = self._taking.pop(id, [])
        if sorted(taken) != sorted(tasks):
            self._complain(f"run {id} lists {len(tasks)} tasks and took {len(taken)}")
        missing = self.lines.take(tasks)
        if missing:
            self._complain(f"run {id} took {missing}, which stood nowhere")
        workflow = self._workflows[f"{run['account']}/{run['workflow']}"]
        if len(tasks) > workflow.max_tasks:
            self._complain(f"run {id} took {len(tasks)} tasks; at most {workflow.max_tasks}")
        if not self._robots[worker].may_run(workflow):
            self._complain(f"run {id} of {workflow.id} was opened on robot {worker}, which may not run it")
        if worker in self._on_robot:
            self._complain(f"robot {worker} had live run {self._on_robot[worker]} when {id} was opened on it")
        if self._epochs.get(worker) != run["epoch"]:
            self._complain(f"run {id} has epoch {run['epoch']}, its robot {self._epochs.get(worker)}")
        self._on_robot[worker] = id
        locks = tuple(run.get("locks") or ())
        self._live[id] = (worker, locks)
        for lock in locks:
            self._locks[lock] += 1
            self.held_most[lock] = max(self.held_most[lock], self._locks[lock])

    def _run(self, id: str, fields: Mapping[str, Any]) -> None:
        if fields.get("state") not in RUN_FINAL:
            return
        if id not in self._live:
            self._complain(f"run {id} ended twice")
            return
        worker, locks = self._live.pop(id)
        self._locks.subtract(locks)
        if self._on_robot.get(worker) == id:
            del self._on_robot[worker]

    # robots

    def _robot(self, id: str, fields: Mapping[str, Any], *, new: bool) -> None:
        if "epoch" in fields:
            if not new and fields["epoch"] <= self._epochs[id]:
                self._complain(f"robot {id} went from epoch {self._epochs[id]} to {fields['epoch']}")
            self._epochs[id] = fields["epoch"]
        if "run" not in fields:
            return
        before = self._reserved.pop(id, None)
        if fields["run"] is None:
            if before is not None and before in self._live:
                self._complain(f"robot {id} was freed while its run {before} was live")
            return
        if before is not None:
            self._complain(f"robot {id} was reserved by {before} when {fields['run']} reserved it")
        self._reserved[id] = fields["run"]

    def _complain(self, text: str) -> None:
        if len(self.wrong) < COMPLAINTS_MAX:
            self.wrong.append(text)
