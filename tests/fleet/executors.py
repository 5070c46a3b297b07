"""Simulated executors: they find runs, claim them, work on their tasks and hand them back, by the real store's writes.

Only the work itself is simulated (a pause of a few milliseconds, and a drawn outcome); every write is the one that
services/executor/runner.py makes, in its order. Some hints are lost and some are sent twice, as a broker may do.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from typing import Any

from services.executor.core.ending import EndKind, PhaseEnd, TaskOutcome, given_back, task_outcome
from services.executor.store import ExecutorStore
from shared.broker import Broker, Consumer, Delivery
from shared.contracts.messages import CommandIssued, RunFinished, RunOpened, TaskReturned
from shared.contracts.topology import EXECUTOR_HANDOFFS, HANDOFFS
from shared.domain.run_state import RunEnd, RunState
from shared.domain.task_state import FINAL, ReturnReason
from shared.errors import RegenteError
from shared.obs.clock import monotonic_s, now
from shared.runtime import commands
from tests.fleet.cutting import cut_off
from tests.fleet.ledger import Ledger, Span
from tests.fleet.robots import Robots
from tests.fleet.scene import Workflow

SWEEP_S = 1.0
RUNS_PER_SWEEP = 100
AT_ONCE = 32
WORK_S = (0.001, 0.006)
HINT_LOST, HINT_TWICE = 0.02, 0.02
ENDS = ((RunEnd.COMPLETED, 90.0), (RunEnd.STOPPED, 5.0), (RunEnd.ABORTED, 2.0), (RunEnd.SETUP_FAILED, 0.5))
FORGETS = 0.02
"""Of the runs that end early: says nothing of the tasks it has not begun, as after a crash."""
OUTCOMES = ((EndKind.RETURNED, 90.0), (EndKind.BUSINESS, 5.0), (EndKind.SYSTEM, 5.0))


class Executor:
    """One of several, in the test's process."""

    def __init__(
        self, name: str, store: ExecutorStore, broker: Broker, *, workflows: Mapping[str, Workflow], robots: Robots,
        ledger: Ledger, seed: int,
    ) -> None:  # fmt: skip
        self.name = name
        self._store = store
        self._broker = broker
        self._workflows = workflows
        self._robots = robots
        self._ledger = ledger
        self._draw = random.Random(f"{seed}/{name}")
        self._works: dict[str, asyncio.Task[None]] = {}
        self._taken: set[str] = set()
        self._sweeper: asyncio.Task[None] | None = None
        self._consumer: Consumer | None = None

    async def start(self) -> None:
        """Begin to take runs."""
        self._consumer = await self._broker.consume(EXECUTOR_HANDOFFS, self._on_handoff, prefetch=AT_ONCE)
        self._sweeper = asyncio.create_task(self._sweep())

    async def stop(self) -> None:
        """Take no more; what is in hand ends. Raises what went wrong in a run or in the sweep."""
        if self._consumer is not None:
            await self._consumer.cancel()
        await cut_off(self._sweeper)
        await asyncio.gather(*self._works.values())

    async def _on_handoff(self, message: Any, delivery: Delivery) -> None:
        if isinstance(message, RunOpened):
            run = await self._store.run(message.run)
            if run is not None and (run.get("pending") or {}).get("to") == "executor":
                await self._take(run)
        elif isinstance(message, CommandIssued):
            await self._command(message.command)

    async def _command(self, id: str) -> None:
        """Nobody asks for anything here, and every robot beats: a command is a false alarm."""
        found = await self._store.mongo["commands"].find_one({"_id": id})
        if found is not None and await commands.finish(self._store.mongo, id, "done"):
            self._ledger.complain(f"executors were told {found['kind']} of {found['target']}: {found['args']}")

    async def _sweep(self) -> None:
        """Find runs that no hint told of."""
        while True:
            await asyncio.sleep(SWEEP_S * self._draw.uniform(0.8, 1.2))
            try:
                for run in await self._store.runs_waiting(RUNS_PER_SWEEP):
                    await self._take(run)
            except RegenteError as error:
                self._ledger.hints[f"sweep failed: {error}"] += 1

    async def _take(self, run: dict[str, Any]) -> None:
        if run["_id"] in self._taken:
            return  # its hint and the sweep at once: a claim repeated by the same executor is answered with yes
        self._taken.add(run["_id"])
        claimed = await self._store.claim(run, self.name)
        if claimed is None:
            return
        self._robots.claimed(claimed)
        work = asyncio.create_task(self._work(claimed))
        self._works[claimed["_id"]] = work
        work.add_done_callback(lambda done: self._done(claimed["_id"], done))

    def _done(self, run: str, work: asyncio.Task[None]) -> None:
        self._works.pop(run, None)
        if not work.cancelled() and work.exception() is not None:
            self._ledger.complain(f"{self.name} could not end run {run}: {work.exception()!r}")

    # the course of a run, as services/executor/runner.py has it

    async def _work(self, run: dict[str, Any]) -> None:
        start_s = monotonic_s()
        end = _drawn(self._draw, ENDS)
        await self._move(run, RunState.SETUP, {"started_at": now()})
        tasks: Sequence[Mapping[str, Any]] = run["tasks"]
        turns = 0 if end is RunEnd.SETUP_FAILED else len(tasks)
        if end in (RunEnd.STOPPED, RunEnd.ABORTED):
            turns = self._draw.randrange(len(tasks) + 1)
        if end is not RunEnd.SETUP_FAILED:
            await self._move(run, RunState.EXECUTING, {})
            for item in tasks[:turns]:
                await self._task(run, item)
        if end is not RunEnd.ABORTED:
            await self._move(run, RunState.TEARDOWN, {})
        left = tasks[turns:]
        if left and self._draw.random() < FORGETS:
            self._ledger.runs["forgets what is left"] += 1
        else:
            await self._give_back(run, end, left)
        await self._finish(run, end, start_s)

    async def _task(self, run: Mapping[str, Any], item: Mapping[str, Any]) -> None:
        """One attempt at one task."""
        task, attempt = item["task"], int(item["attempt"])
        held_by = {"run": run["_id"], "attempt": attempt}
        seq = attempt * 1000
        document = await self._store.start_task(task, held_by, seq)
        if document is None:
            self._ledger.complain(f"run {run['_id']} lost task {task} although nobody took it away")
            return
        start_s = monotonic_s()
        await asyncio.sleep(self._draw.uniform(*WORK_S))
        kind = _drawn(self._draw, OUTCOMES)
        policy = self._workflows[f"{run['account']}/{run['workflow']}"].retry
        end = PhaseEnd(kind, output={"n": document["input"]["n"]}, code=kind.upper(), message="drawn")
        outcome = task_outcome(end, policy=policy, attempt=attempt, may_have_acted=False)
        self._ledger.work[task].append(Span(start_s, monotonic_s(), run["_id"], str(attempt)))
        await self._end(run, task, held_by, seq + 1, outcome)

    async def _end(
        self, run: Mapping[str, Any], task: str, held_by: Mapping[str, Any], seq: int, outcome: TaskOutcome
    ) -> None:
        if not await self._store.end_task(task, held_by, seq, outcome, []):
            self._ledger.complain(f"run {run['_id']} could not end task {task} that it held")
            return
        self._ledger.outcomes[str(outcome.state)] += 1
        self._ledger.ended += outcome.state in FINAL
        returned = outcome.state == ReturnReason.NOT_STARTED
        await self._store.note_task(run, task, "returned" if returned else "ended", str(outcome.state))
        if outcome.state in tuple(ReturnReason):
            await self._hint("task.returned", TaskReturned(task=task, run=run["_id"]))

    async def _give_back(self, run: Mapping[str, Any], end: RunEnd, left: Sequence[Mapping[str, Any]]) -> None:
        for item in left:
            held_by = {"run": run["_id"], "attempt": int(item["attempt"])}
            # as if setup had not failed before: a person would be asked in the end, and none is here
            outcome = given_back(end, "drawn", setup_failures=0)
            await self._end(run, item["task"], held_by, 0, outcome)

    async def _finish(self, run: Mapping[str, Any], end: RunEnd, start_s: float) -> None:
        state = RunState.ABORTED if end is RunEnd.ABORTED else RunState.FINISHED
        pending = {"to": "scheduler", "what": "finished", "since": now(), "due_at": now(), "claims": 0}
        fields = {
            "end": {"reason": end, "text": "drawn", "code": ""}, "finished_at": now(), "pending": pending,
            "executor": None, "last_seq": 0,
        }  # fmt: skip
        self._ledger.runs[str(end)] += 1
        self._ledger.robots[run["worker"]].append(Span(start_s, monotonic_s(), run["_id"], str(run["epoch"])))
        self._robots.ended(run)
        await self._move(run, state, fields)
        await self._hint("run.finished", RunFinished(run=run["_id"], worker=run["worker"]))

    async def _move(self, run: Mapping[str, Any], state: RunState, fields: Mapping[str, Any]) -> None:
        await self._store.move_run(run, run["token"], state, fields)

    async def _hint(self, key: str, message: Any) -> None:
        """Send a hint, or lose it, or send it twice."""
        fate = self._draw.random()
        times = 0 if fate < HINT_LOST else 2 if fate < HINT_LOST + HINT_TWICE else 1
        self._ledger.hints[("lost", "sent", "sent twice")[times]] += 1
        for _ in range(times):
            try:
                await self._broker.send(HANDOFFS, key, message)
            except RegenteError:
                self._ledger.hints["refused"] += 1


def _drawn(draw: random.Random, weighted: Sequence[tuple[Any, float]]) -> Any:
    return draw.choices([one for one, _ in weighted], [weight for _, weight in weighted])[0]
