"""The tasks that go into one run: the first of a key over all lists of a workflow, if their inputs still fit.

Called by: dispatch.py, standby.py. Owns nothing; whoever opens the run checks that the tasks are still there. A task
that no longer fits its workflow's current version is held here, and its partner told. Survives a crash: each hold is
one guarded write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from services.scheduler.core.order import merge
from services.scheduler.core.tasks import misfit
from services.scheduler.hints import Hints
from services.scheduler.store.queue import QueueStore
from services.scheduler.store.tasks import TaskStore
from shared.domain.gates import Rules
from shared.obs.clock import now, now_us
from shared.obs.ids import new_id
from shared.obs.logs import get_logger
from shared.obs.metrics import counter
from shared.script.inputs import InputCheck

INPUTS_AT_ONCE = 50
"""Inputs checked before other work of this process goes on."""

MISFITS = counter("regente_tasks_misfit_total", "Queued tasks held because they no longer fit their workflow.", [])

log = get_logger(__name__)


class Batches:
    """Gathers the tasks of a run."""

    def __init__(self, queue: QueueStore, tasks: TaskStore, hints: Hints) -> None:
        self._queue = queue
        self._tasks = tasks
        self._hints = hints

    async def first(self, lists: Sequence[str], key: str, rules: Rules, limit: int) -> list[Mapping[str, Any]]:
        """The first tasks of a scenario and group over these lists, in order."""
        found = await asyncio.gather(*(self._queue.of_key(one, key, limit) for one in lists))
        return merge((task for tasks in found for task in tasks), rules, now_us(), limit)

    async def fitting(
        self, tasks: Sequence[Mapping[str, Any]], check: InputCheck, version: str
    ) -> list[Mapping[str, Any]]:
        """Those whose input fits the version; the others are held, and their partners told."""
        fitting: list[Mapping[str, Any]] = []
        for n, task in enumerate(tasks):
            if n % INPUTS_AT_ONCE == INPUTS_AT_ONCE - 1:
                await asyncio.sleep(0)
            text = check.misfit(task["input"])
            if text is None:
                fitting.append(task)
            elif await self._queue.is_current(version):  # else a version published meanwhile may take it
                await self._hold(task, text)
        return fitting

    async def _hold(self, task: Mapping[str, Any], text: str) -> None:
        at = now()
        change = misfit(task, text, at)
        expect = {"pending": None, "queue.list": task["queue"]["list"]}
        done = await self._tasks.apply(task, change, op=new_id("op_"), now=at, expect=expect)
        if done.applied and change.event:
            MISFITS.inc()
            self._hints.task_finished(task["_id"], change.event)
            log.warning("task_misfit", task=task["_id"], account=task["account"], reason=text)
