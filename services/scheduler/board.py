"""The queue during one pass: the heads of all lists, the gates of their workflows, and what a robot may take of it.

Called by: dispatch.py, which makes a new one for each pass. Owns nothing; everything is read again at the next pass,
and what was read is checked again by the transaction that opens a run. Survives a crash: nothing.

Looking past a head that this robot may not take (its scenario is held, or the robot lacks its tags; a group that is in
use) is bounded: first AHEAD_MAX places of the list in their order, then the heads of up to KEYS_MAX further groups. So
a thousand tasks of a certificate that is in use do not keep the next certificate waiting.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from services.scheduler.core.order import Plan, fitting_scenarios, head_of, held_scenarios, lock_of_key, robot_class
from services.scheduler.store.queue import QueueStore
from services.scheduler.versions import Versions
from shared.domain.gates import account_lock, gate
from shared.domain.priority import Head, fair_order
from shared.domain.scenario import needs_robot
from shared.mongo import Mongo
from shared.mongo.gates import Situation, WorkflowGate, live_locks, read_situation

AHEAD_MAX = 500
KEYS_MAX = 64


@dataclass(frozen=True)
class Pick:
    """The task that goes next on a robot, and what is known about its workflow."""

    head: Head
    workflow: WorkflowGate
    plan: Plan


class Board:
    """What one pass sees."""

    def __init__(self, mongo: Mongo, queue: QueueStore, versions: Versions, now: datetime, now_us: int) -> None:
        self._mongo = mongo
        self._queue = queue
        self._versions = versions
        self._now = now
        self._now_us = now_us
        self._situation = Situation(now, {})
        self._plans: dict[str, Plan] = {}
        self._heads: dict[str, Head] = {}
        self._order: list[Head] | None = None
        self._ahead: dict[str, list[Head]] = {}
        self._fits: dict[tuple[Any, ...], frozenset[int]] = {}
        self._walked: dict[tuple[str, frozenset[int]], list[Head]] = {}
        self._idle: set[tuple[Any, ...]] = set()
        """Classes of robots that found nothing since the last change."""

    @property
    def empty(self) -> bool:
        """Whether nothing waits that anybody could take."""
        return not self._heads

    async def read(self) -> None:
        """Look at every list and every gate."""
        places = await self._queue.heads()
        if places:
            held = await live_locks(self._mongo)
            ids = {place["queue"]["list"].rpartition("/")[0] for place in places}
            self._situation = await read_situation(self._mongo, ids, self._now, held=held)
            await self._enter(places)

    async def refresh(self, workflow: str) -> None:
        """Look again at a workflow (its id) after something about it changed: lists, gate, runs at work."""
        self.drop(workflow)
        account, _, name = workflow.partition("/")
        held = await live_locks(self._mongo)
        fresh = await read_situation(self._mongo, [workflow], self._now, held=held)
        gates = {**self._situation.gates, **fresh.gates}
        self._situation = Situation(self._now, gates, held)
        await self._enter(await self._queue.heads(account, name))

    async def took(self, workflow: WorkflowGate, locks: Sequence[str], tasks: int) -> None:
        """A run was opened in this pass: count it, and look again at the lists that it took tasks from."""
        self._situation.held.update(locks)
        standing = workflow.standing
        counted = replace(
            standing, runs=standing.runs + 1, account_runs=standing.account_runs + 1,
            used=[replace(one, used=one.used + tasks) for one in standing.used],
        )  # fmt: skip
        now_open = gate(workflow.rules, workflow.account, counted, self._now)
        fresh = replace(workflow, standing=counted, gate=now_open)
        self._situation = replace(self._situation, gates={**self._situation.gates, workflow.id: fresh})
        self.drop(workflow.id)
        if now_open.open:
            await self._enter(await self._queue.heads(workflow.document["account"], workflow.document["name"]))

    def drop(self, workflow: str) -> None:
        """Leave a workflow out for the rest of this pass."""
        prefix = f"{workflow}/"
        self._heads = {key: head for key, head in self._heads.items() if not key.startswith(prefix)}
        self._ahead = {key: heads for key, heads in self._ahead.items() if not key.startswith(prefix)}
        self._walked = {kept: heads for kept, heads in self._walked.items() if not kept[0].startswith(prefix)}
        self._order = None
        self._idle.clear()

    @property
    def serves_server(self) -> bool:
        """Whether a workflow with waiting tasks has a scenario that needs no robot."""
        return any(not needs_robot(scenario) for plan in self._plans.values() for scenario in plan.scenarios)

    def held(self, lock: str) -> int:
        """How many runs hold a lock."""
        return self._situation.held[lock]

    def workflow(self, id: str) -> WorkflowGate | None:
        """What is known about a workflow, if it has tasks waiting."""
        return self._situation.gates.get(id)

    def before(self, one: Head, other: Head) -> bool:
        """Whether a task goes before another, in the exact order of work."""
        shares = self._shares()
        return fair_order(one, shares) < fair_order(other, shares)

    async def pick(self, worker: Mapping[str, Any]) -> Pick | None:
        """The task that goes next on this robot: the first one that it may run, in the exact order of work."""
        kind = robot_class(worker)
        if kind in self._idle:
            return None
        shares = self._shares()
        best: Head | None = None
        for head in self._sorted(shares):
            if best is not None and fair_order(head, shares) >= fair_order(best, shares):
                break  # what stands behind a head comes after it: nothing better follows
            found = await self._first(head, worker)
            if found is not None and (best is None or fair_order(found, shares) < fair_order(best, shares)):
                best = found
        if best is None:
            self._idle.add(kind)
            return None
        id = f"{best.key.account}/{best.key.workflow}"
        return Pick(best, self._situation.gates[id], self._plans[id])

    async def follower(self, worker: Mapping[str, Any], id: str, keys: Iterable[tuple[int, str]]) -> Pick | None:
        """The first task of the first of these groups that has one: what comes next on the same robot."""
        workflow, plan = self._situation.gates.get(id), self._plans.get(id)
        if workflow is None or plan is None or not workflow.gate.open:
            return None
        for number, key in keys:
            if number not in self._fitting(worker, workflow, plan) or not self._group_free(workflow, key):
                continue
            heads = [head for list_ in self.lists(id) for head in await self._of_key(list_, key, workflow)]
            if heads:
                return Pick(min(heads, key=lambda head: fair_order(head, {})), workflow, plan)
        return None

    def lists(self, workflow: str) -> list[str]:
        """The lists of a workflow that hold tasks."""
        return sorted(key for key in self._heads if key.startswith(f"{workflow}/"))

    def plan(self, workflow: str) -> Plan | None:
        """The current version of a workflow that has tasks waiting behind an open gate."""
        return self._plans.get(workflow)

    async def _enter(self, places: Iterable[Mapping[str, Any]]) -> None:
        """Take heads whose workflows take tasks now."""
        self._order = None
        self._idle.clear()
        for place in places:
            id = place["queue"]["list"].rpartition("/")[0]
            workflow = self._situation.gates.get(id)
            if workflow is None or not workflow.gate.open:
                continue
            plan = await self._versions.plan(f"{id}/{workflow.document['current']}")
            head = head_of(place, workflow.rules, self._now_us) if plan is not None else None
            if head is not None and plan is not None:
                self._plans[id] = plan
                self._heads[str(head.key)] = head

    def _sorted(self, shares: Mapping[str, float]) -> list[Head]:
        if self._order is None:
            self._order = sorted(self._heads.values(), key=lambda head: fair_order(head, shares))
        return self._order

    def _shares(self) -> dict[str, float]:
        """Runs at work for its weight, by account; nothing when no account that waits has a weight."""
        gates = self._situation.gates.values()
        if all(one.account.weight is None for one in gates):
            return {}
        held = self._situation.held
        weights = {one.document["account"]: one.account.weight or 1 for one in gates}
        return {account: held[account_lock(account)] / weight for account, weight in weights.items()}

    async def _first(self, head: Head, worker: Mapping[str, Any]) -> Head | None:
        """The first task of a list that this robot may take."""
        id = f"{head.key.account}/{head.key.workflow}"
        workflow, plan = self._situation.gates[id], self._plans[id]
        fits = self._fitting(worker, workflow, plan)
        if not fits:
            return None

        def may(key: str) -> bool:
            if plan.stale(key):
                return True  # it is keyed anew before it is taken
            return plan.scenario(key) in fits and self._group_free(workflow, key)

        if may(head.group):
            return head
        window = await self._look_ahead(head, workflow)
        for one in window:
            if may(one.group):
                return one
        return None if len(window) < AHEAD_MAX else await self._walk(head, workflow, fits, may)

    async def _look_ahead(self, head: Head, workflow: WorkflowGate) -> list[Head]:
        """The first places of a list, read once in a pass."""
        list_ = str(head.key)
        if list_ not in self._ahead:
            places = await self._queue.ahead(list_, AHEAD_MAX)
            heads = (head_of(place, workflow.rules, self._now_us) for place in places)
            self._ahead[list_] = [one for one in heads if one is not None]
        return self._ahead[list_]

    async def _walk(
        self, head: Head, workflow: WorkflowGate, fits: frozenset[int], may: Callable[[str], bool]
    ) -> Head | None:
        """The oldest head of a group that may run, among KEYS_MAX groups of a list: from a random one on, and round.

        Scenarios that the robot may not run are jumped over as a whole. What was walked over is kept for the pass.
        """
        kept = (str(head.key), fits)
        if kept not in self._walked:
            plan = self._plans[workflow.id]
            self._walked[kept] = [
                one
                for place in await self._groups(str(head.key), plan, sorted(fits))
                if (one := head_of(place, workflow.rules, self._now_us)) is not None
            ]
        allowed = [one for one in self._walked[kept] if may(one.group)]
        return min(allowed, key=lambda one: fair_order(one, {}), default=None)

    async def _groups(self, list_: str, plan: Plan, scenarios: list[int]) -> list[Mapping[str, Any]]:
        """The first places of up to KEYS_MAX groups of these scenarios."""
        found: list[Mapping[str, Any]] = []
        share = max(1, KEYS_MAX // (2 * len(scenarios)))
        for number in scenarios:
            prefix = f"{plan.layout}.{number:02d}."
            start = f"{prefix}{secrets.token_hex(8)}"
            for after, end in ((start, f"{plan.layout}.{number:02d}/"), (prefix[:-1], start)):
                for _ in range(share):
                    place = await self._queue.next_key(list_, after, end)
                    if place is None:
                        break
                    after = str(place["queue"]["key"])
                    found.append(place)
        return found

    async def _of_key(self, list_: str, key: str, workflow: WorkflowGate) -> list[Head]:
        places = await self._queue.of_key(list_, key, 1)
        heads = (head_of(place, workflow.rules, self._now_us) for place in places)
        return [one for one in heads if one is not None]

    def _fitting(self, worker: Mapping[str, Any], workflow: WorkflowGate, plan: Plan) -> frozenset[int]:
        """Numbers of the scenarios that this robot may run now; those that are held nobody may."""
        kind = (robot_class(worker), plan.version)
        if kind not in self._fits:
            account, name = workflow.document["account"], workflow.document["name"]
            self._fits[kind] = fitting_scenarios(worker, account, name, workflow.rules, plan)
        return self._fits[kind] - held_scenarios(plan, workflow.standing)

    def _group_free(self, workflow: WorkflowGate, key: str) -> bool:
        """Whether one more run may have the group of this key."""
        if workflow.rules.group_max is None:
            return True
        lock = lock_of_key(workflow.document["account"], workflow.document["name"], workflow.rules, key)
        return lock is None or self._situation.held[lock] < workflow.rules.group_max
