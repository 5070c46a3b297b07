"""Figures that stand in the database and in the replica set, as plain counts for /metrics.

Called by: figures.py, by one instance at a time. Reads only: index ranges with a limit, never once per scrape. Change
also: tests/integration/alerts/test_figures.py, deploy/monitoring (what reads these figures).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pymongo.errors import OperationFailure

from services.alerts.reads.work import WorkReads
from shared.domain.delivery_state import DeliveryState
from shared.domain.run_state import LIVE
from shared.domain.task_state import HoldReason, TaskState
from shared.mongo import Mongo
from shared.mongo.gates import read_situation
from shared.obs.flow import WORKFLOWS_MAX
from shared.obs.metrics import OTHER

COUNTED_MAX = 10_000
"""So far one figure is counted: beyond it "very many" is all that anybody needs to know."""
ACCOUNTS_MAX = 1000
STANDING = (TaskState.QUEUED, TaskState.RUNNING, TaskState.HELD)
UNDELIVERED = (DeliveryState.PENDING, DeliveryState.RETRYING, DeliveryState.DEAD)
STATUS_TIMEOUT_S = 6.0
Labelled = dict[tuple[str, ...], float]


@dataclass(frozen=True)
class Replicas:
    """What the replica set says of itself; empty where this user may not ask."""

    states: Labelled = field(default_factory=dict)
    """How many members are in each state."""
    lags_s: Labelled = field(default_factory=dict)
    """By member: how far a secondary is behind the primary."""
    connections: Labelled = field(default_factory=dict)
    """Of the primary: current and available."""
    oplog_window_s: Labelled = field(default_factory=dict)
    """By member: from the oldest to the newest entry of its log of operations."""


class FigureReads:
    """Counts."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self._work = WorkReads(mongo)

    async def workflows(self) -> tuple[list[tuple[str, str]], bool]:
        """The published workflows that get figures of their own, in a fixed order; whether there are more."""
        query, fields = {"current": {"$ne": None}}, {"account": 1, "name": 1}
        cursor = self._mongo["workflows"].find(query, fields).sort("_id", 1).limit(WORKFLOWS_MAX + 1)
        found = [(one["account"], one["name"]) async for one in cursor]
        return found[:WORKFLOWS_MAX], len(found) > WORKFLOWS_MAX

    async def tasks(self, workflows: list[tuple[str, str]], *, more: bool) -> Labelled:
        """Tasks in each state that is not final, by account, workflow and state; the rest of the workflows as other."""
        counts: Labelled = {}
        for account, workflow in workflows:
            for state in STANDING:
                counts[account, workflow, state.value] = await self._tasks(
                    {"account": account, "workflow": workflow, "state": state}, "workflow_state"
                )
        if more:
            listed: Counter[str] = Counter()
            for (_, _, state_name), count in counts.items():
                listed[state_name] += int(count)
            accounts = self._mongo["accounts"].find({}, {"_id": 1}).limit(ACCOUNTS_MAX)
            ids = [one["_id"] async for one in accounts]
            for state in STANDING:
                whole = sum([await self._tasks({"account": id, "state": state}, "account_state") for id in ids])
                counts[OTHER, OTHER, state.value] = max(0, whole - listed[state.value])
        return counts

    async def _tasks(self, query: Mapping[str, Any], index: str) -> int:
        """A count by the keys of an index alone; the planner might fetch documents by another."""
        return int(await self._mongo["tasks"].count_documents(query, limit=COUNTED_MAX, hint=index))

    async def oldest(self, workflows: list[tuple[str, str]], at: datetime) -> Labelled:
        """Seconds that the task waits which waits longest of those that are next in their lists; 0 where none does."""
        heads, ages = await self._work.heads(), Counter[tuple[str, str]]()
        known = set(workflows)
        for key, (since, _) in heads.items():
            labels = key if key in known else (OTHER, OTHER)
            ages[labels] = max(ages[labels], int((at - since).total_seconds()))
        return {key: float(ages[key]) for key in {*workflows, *ages}}

    async def limits(self, workflows: list[tuple[str, str]], at: datetime) -> tuple[Labelled, Labelled]:
        """Used and allowed in the current period, by account, workflow (`*`: the account's own limit) and period."""
        ids = [f"{account}/{name}" for account, name in workflows]
        used: Labelled = {}
        most: Labelled = {}
        for one in (await read_situation(self._mongo, ids, at, held=Counter())).gates.values():
            account, name = str(one.document["account"]), str(one.document["name"])
            for limit in one.standing.used:
                labels = (account, "*" if limit.of_account else name, limit.limit.per)
                used[labels], most[labels] = limit.used, limit.limit.max
        return used, most

    async def runs(self) -> Labelled:
        """Runs in each state that is not final."""
        runs = self._mongo["runs"]
        return {
            (state.value,): await runs.count_documents({"state": state}, limit=COUNTED_MAX, hint="live")
            for state in sorted(LIVE)
        }

    async def deliveries(self) -> Labelled:
        """Deliveries that have not arrived."""
        deliveries = self._mongo["deliveries"]
        return {
            (state.value,): await deliveries.count_documents({"state": state}, limit=COUNTED_MAX, hint="state")
            for state in UNDELIVERED
        }

    async def questions(self) -> Labelled:
        """What waits for people: open decisions, and tasks in doubt."""
        doubt = {"state": "held", "hold.reason": HoldReason.IN_DOUBT.value}
        in_doubt = await self._mongo["tasks"].count_documents(doubt, hint="in_doubt", limit=COUNTED_MAX)
        decisions = await self._mongo["decisions"].count_documents({"state": "open"}, limit=COUNTED_MAX, hint="due")
        return {("decision",): decisions, ("in_doubt",): in_doubt}

    async def replicas(self) -> Replicas:
        """The state of the replica set, as far as this user may ask."""
        states: Counter[tuple[str, ...]] = Counter()
        lags: Labelled = {}
        window: Labelled = {}
        status = await self._ask("replSetGetStatus")
        members = list((status or {}).get("members") or ())
        primary = next((one for one in members if one.get("stateStr") == "PRIMARY"), None)
        for one in members:
            state = str(one.get("stateStr"))
            states["unreachable" if state.startswith("(") else state.lower(),] += 1
            if primary and one.get("stateStr") == "SECONDARY" and one.get("optimeDate"):
                lags[one["name"],] = max(0.0, (primary["optimeDate"] - one["optimeDate"]).total_seconds())
        if primary:
            lags[primary["name"],] = 0.0
            window_s = await self._oplog_window_s()
            window |= {} if window_s is None else {(primary["name"],): window_s}
        said = (await self._ask("serverStatus") or {}).get("connections") or {}
        connections: Labelled = {(name,): float(said[name]) for name in ("current", "available") if name in said}
        return Replicas(dict(states), lags, connections, window)

    async def _ask(self, command: str) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(STATUS_TIMEOUT_S):
                found: dict[str, Any] = await self._mongo.client.admin.command(command)
                return found
        except OperationFailure:
            return None  # this user may not ask

    async def _oplog_window_s(self) -> float | None:
        oplog = self._mongo.client["local"]["oplog.rs"]
        try:
            first, last = [await oplog.find_one({}, {"ts": 1}, sort=[("$natural", direction)]) for direction in (1, -1)]
        except OperationFailure:
            return None  # this user may not look
        return float(last["ts"].time - first["ts"].time) if first and last else None
