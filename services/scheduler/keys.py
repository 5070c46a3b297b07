"""Keeps the keys of waiting tasks in step with their workflow's current version.

Called by: dispatch.py (a head whose key is of another making), main.py (sweep). A task's key names its scenario and
group; a new version with other conditions or groupings makes the keys of all waiting tasks stale. They are made anew in
slices, each write guarded by the old key, so that several schedulers may do it at once. A task that no scenario takes
any more is held, with the reason. Survives a crash: what is still stale is found by a range of the index.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.scheduler.core.order import Plan
from services.scheduler.core.tasks import misfit
from services.scheduler.hints import Hints
from services.scheduler.store.queue import QueueStore
from services.scheduler.store.tasks import TaskStore
from services.scheduler.versions import Versions
from shared.domain.scenario import task_key
from shared.mongo import Mongo
from shared.obs.clock import monotonic_s, now
from shared.obs.ids import new_id
from shared.obs.logs import get_logger
from shared.obs.metrics import counter

SLICE = 500
SLICES_PER_SWEEP = 20
LOOK_AGAIN_S = 60.0
"""A workflow without stale keys is looked at again after this time: a push may have been checked against the version
before. Stale heads are met by the dispatcher in any case."""
RENEWED = counter("regente_task_keys_renewed_total", "Waiting tasks matched anew with the scenarios of a version.", [])

log = get_logger(__name__)


class Keys:
    """Makes stale keys anew."""

    def __init__(self, mongo: Mongo, hints: Hints, versions: Versions) -> None:
        self._queue = QueueStore(mongo)
        self._tasks = TaskStore(mongo)
        self._hints = hints
        self._versions = versions
        self._clean: dict[str, tuple[str, float]] = {}
        """Layout and time at which a workflow had no stale key."""

    async def sweep(self) -> None:
        """Look at every list that holds tasks, where the scenarios may have changed; a slice at a time of what is
        stale."""
        places = await self._queue.heads()
        ids = sorted({place["queue"]["list"].rpartition("/")[0] for place in places})
        for workflow in await self._queue.workflows(ids):
            plan = (
                await self._versions.plan(f"{workflow['_id']}/{workflow['current']}")
                if workflow.get("current")
                else None
            )
            if plan is None:
                continue
            layout, at_s = self._clean.get(workflow["_id"], ("", 0.0))
            if layout == plan.layout and monotonic_s() - at_s < LOOK_AGAIN_S:
                continue
            for _ in range(SLICES_PER_SWEEP):
                if await self.renew(workflow["_id"], plan) < SLICE:
                    self._clean[workflow["_id"]] = (plan.layout, monotonic_s())
                    break

    async def renew(self, workflow: str, plan: Plan) -> int:
        """Make up to SLICE stale keys of a workflow anew; how many were found."""
        account, _, name = workflow.partition("/")
        found = 0
        for place in await self._queue.heads(account, name):
            if found >= SLICE:
                break
            stale = await self._queue.stale(place["queue"]["list"], plan.layout, SLICE - found)
            stale += await self._nobodys(place["queue"]["list"], plan, SLICE - found - len(stale))
            found += len(stale)
            await self._renew(stale, plan)
        return found

    async def _nobodys(self, list_: str, plan: Plan, limit: int) -> list[dict[str, Any]]:
        """Tasks that came in just as the version changed, matched with its scenarios, and taken by none."""
        return await self._queue.of_key(list_, f"{plan.layout}.--.", limit) if limit > 0 else []

    async def _renew(self, tasks: list[dict[str, Any]], plan: Plan) -> None:
        changes: list[tuple[Mapping[str, Any], str]] = []
        for task in tasks:
            key = task_key(plan.scenarios, task["input"])
            if key.scenario is None:
                await self._hold(task, plan)
            else:
                changes.append((task, str(key)))
        RENEWED.inc(await self._queue.rekey(changes))

    async def renew_ahead(self, list_: str, plan: Plan) -> None:
        """Make the stale keys among the first places of a list anew: those that the dispatcher meets next."""
        first = await self._queue.first(list_, SLICE)
        await self._renew([task for task in first if plan.scenario(task["queue"].get("key")) is None], plan)

    async def _hold(self, task: Mapping[str, Any], plan: Plan) -> None:
        if not await self._queue.is_current(plan.version):
            return  # another version was published meanwhile: it may take the task
        at, text = now(), "no scenario of its workflow's current version takes its input"
        expect = {"pending": None, "queue.list": task["queue"]["list"]}
        change = misfit(task, text, at)
        done = await self._tasks.apply(task, change, op=new_id("op_"), now=at, expect=expect)
        if done.applied and change.event:
            self._hints.task_finished(task["_id"], change.event)
            log.warning("task_misfit", task=task["_id"], account=task.get("account"), reason=text)
