"""Which runs this executor has in hand, and whose it takes over.

Owns: the jobs in hand, the claim of runs, the watch over the other executors' leases, the sweeps. Called by: main.py
(start, stop), handlers.py (hints). Survives a crash: `runs.executor` and `runs.token`. A run is claimed by a guarded
update that raises its token; so two executors that both think a third is dead are told apart by the database, and the
third, if it lives, by the first entry it tries to add.

An executor is dead when its lease's counter stood still for a short time and its presence queue is gone (its
connection was closed), or when the counter stood still for a long time whatever the broker says (it is frozen). Time
in which this process could not read the database does not count: the watch measures between its own successful reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from services.executor.config import ExecutorSettings
from services.executor.runner import RunJob
from services.executor.store import Superseded
from services.executor.tools import Tools
from shared.broker import Broker
from shared.contracts.messages import RunOpened
from shared.contracts.topology import presence_queue
from shared.errors import TemporaryError
from shared.mongo.lease import Watch
from shared.obs.logs import get_logger
from shared.obs.metrics import counter, gauge

log = get_logger("executor.recovery")
TAKEN_OVER = counter("regente_runs_taken_over_total", "Runs taken over from an executor that is gone.", [])
IN_HAND = gauge("regente_runs_in_hand", "Runs that this executor works on.", [])
BROKEN_PAUSE_S = 2.0
SUPERSEDED = "another executor goes on with the run"


class Crew:
    """The runs in hand."""

    def __init__(self, tools: Tools, broker: Broker, watch: Watch, settings: ExecutorSettings) -> None:
        self._tools = tools
        self._broker = broker
        self._watch = watch
        self._settings = settings
        self._jobs: dict[str, RunJob] = {}
        self._works: dict[str, asyncio.Task[None]] = {}
        self._claiming: set[str] = set()
        """Runs whose claim is under way: a hint may come twice, or together with a sweep."""
        self._leaving = False

    @property
    def room(self) -> int:
        """How many more runs may be taken."""
        return 0 if self._leaving else self._settings.runs_max - len(self._works) - len(self._claiming)

    def job(self, run: str) -> RunJob | None:
        """The job of a run in hand."""
        return self._jobs.get(run)

    async def take(self, run: Mapping[str, Any]) -> bool:
        """Claim a live run as it was read, and work on it; false when there is no room or somebody was faster."""
        if run["_id"] in self._works or run["_id"] in self._claiming or self.room <= 0:
            return False
        before = run.get("executor")
        self._claiming.add(run["_id"])
        try:
            claimed = await self._tools.store.claim(run, self._tools.executor)
        finally:
            self._claiming.discard(run["_id"])
        if claimed is None:
            return False
        self._begin(claimed, before)
        return True

    def _begin(self, run: dict[str, Any], before: str | None) -> None:
        job = RunJob(self._tools, run, before)
        self._jobs[run["_id"]] = job
        work = asyncio.create_task(self._work(job), name=f"run {run['_id']}")
        self._works[run["_id"]] = work
        IN_HAND.set(len(self._works))
        work.add_done_callback(lambda _: self._ended(run["_id"]))

    def _ended(self, run: str) -> None:
        self._jobs.pop(run, None)
        self._works.pop(run, None)
        IN_HAND.set(len(self._works))

    async def _work(self, job: RunJob) -> None:
        """Work on a run to its end. What fails for now is tried again from the journal, as after a crash; what fails
        for no reason of the world's is counted on the run, and ends it when it gets no further (runner.py)."""
        trouble = job.run.get("trouble")
        try:
            with job.spans.of_run():
                await job.work()
            return
        except Superseded as error:
            log.warning(SUPERSEDED, run=job.run["_id"], reason=str(error))
            return
        except TemporaryError as error:
            log.warning("run interrupted, goes on from its journal", run=job.run["_id"], reason=str(error))
        except Exception as error:
            log.exception("run interrupted by a defect, goes on from its journal", run=job.run["_id"])
            trouble = _trouble(job, error)
        await asyncio.sleep(BROKEN_PAUSE_S)
        await self._tools.store.park(job.run["_id"], self._tools.executor, job.run["token"], trouble)

    # periodic work

    async def sweep(self) -> None:
        """Find what no hint told of: waiting runs, stops, cancellations, runs of mine that nobody works on."""
        store = self._tools.store
        for run in await store.runs_waiting(max(0, self.room)):
            await self.take(run)
        for run in await store.runs_of(self._tools.executor):
            if run["_id"] not in self._works and self.room > 0:
                await self.take(run)
        for stopped in await store.stops_asked(self._tools.executor):
            job = self._jobs.get(stopped["_id"])
            if job is not None:
                job.stop(stopped["abort"])
        for task in await store.cancels_asked(list(self._jobs)):
            job = self._jobs.get(task["held_by"]["run"])
            if job is not None:
                job.signals.cancelled[task["_id"]] = task["cancel"]["command"]

    async def watch(self) -> None:
        """Take over the runs of executors that are gone."""
        holders = await self._tools.store.holders() - {self._tools.executor}
        if not holders:
            return
        leases = {lease.instance: lease for lease in await self._watch.observe()}
        for holder in sorted(holders):
            lease = leases.get(holder)
            if lease is None or await self._is_dead(holder, lease.still_for_s):
                await self._take_over(holder)

    async def _is_dead(self, executor: str, still_s: float) -> bool:
        if still_s >= self._settings.lease_still_s:
            return True
        if still_s < self._settings.lease_gone_s:
            return False
        try:
            return not await self._broker.exists(presence_queue(executor).name)
        except TemporaryError:
            return False

    async def _take_over(self, executor: str) -> None:
        for run in await self._tools.store.runs_of(executor):
            if await self.take(run):
                TAKEN_OVER.inc()
                log.warning("run taken over from an executor that is gone", run=run["_id"], before=executor)

    async def trim(self) -> None:
        """Remove what ended runs need no more, and evidence that never became any."""
        for run in await self._tools.store.untrimmed(100):
            await self._tools.store.trim(run)
        await self._tools.evidence.sweep()

    async def leave(self) -> None:
        """Park every run in hand where it stands, for the other executors."""
        self._leaving = True
        held = [(run, job.run["token"]) for run, job in self._jobs.items()]
        works = list(self._works.values())
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
        for run, token in held:
            if await self._tools.store.park(run, self._tools.executor, token):
                await self._tools.hint("run.opened", RunOpened(run=run))


def _trouble(job: RunJob, error: Exception) -> dict[str, Any]:
    """What a run keeps about a failure of this process: where it was, and how often it failed there."""
    before = job.run.get("trouble") or {}
    times = int(before.get("times") or 0) + 1 if before.get("mark") == job.mark else 1
    return {"mark": job.mark, "times": times, "text": f"{type(error).__name__}: {error}"[:300]}
