"""Gathers the facts from which shared.domain makes the sentence why a task waits, and the forecast when it starts.

Called by: collector (GET of a task), console (queue/why). Reads only; every count has a limit, and each query is an
index range, so asking costs the same however long the queue is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.domain.calendar import Calendar
from shared.domain.forecast import Inputs, forecast
from shared.domain.gates import (
    SERVER_LOCK,
    SETUP_AGAIN_FAILS,
    Gate,
    GateReason,
    Rules,
    group_lock,
    scenario_gate,
    warm_lock,
)
from shared.domain.priority import ListKey, aged_level, level, rank_reaching
from shared.domain.scenario import layout, needs_robot, task_key
from shared.domain.task_state import TaskState
from shared.domain.warm import PARKED_QUERY
from shared.domain.why_parked import wants_robot, why_parked
from shared.domain.why_waiting import AHEAD_COUNTED_MAX, WARM_BUSY, WARM_READY, Facts, Fleet, facts_view, fleet_of
from shared.domain.why_waiting import why_waiting as sentence
from shared.domain.worker_state import Authorisation
from shared.mongo import Mongo
from shared.mongo.gates import Calendars, Situation, WorkflowGate, read_situation
from shared.mongo.once import why_once
from shared.obs.clock import now as clock_now
from shared.obs.clock import now_us as clock_now_us

LISTS_COMPARED_MAX = 1400
AHEAD_FORECAST_MAX = 50_000
"""Tasks in front that a forecast counts."""
WORKERS_COUNTED_MAX = 5000
TASK_S_UNKNOWN = 60.0
"""What a task in front counts with when nothing was measured for its workflow."""
ROBOT_FIELDS = {
    "account": 1, "workflows": 1, "exclusive": 1, "tags": 1, "schedule": 1, "quarantine": 1, "drain": 1,
    "authorisation": 1, "connected": 1, "status": 1, "mode": 1, "run": 1,
}  # fmt: skip
RUN_FIELDS = {
    "account": 1, "workflow": 1, "version": 1, "scenario": 1, "state": 1, "wait": 1, "wants_robot": 1, "worker": 1,
}  # fmt: skip
WAITS_FOR_A_PERSON = frozenset({GateReason.HELD, GateReason.UNPUBLISHED})


@dataclass(frozen=True)
class Explanation:
    """Why a task is not running, and when it may."""

    why: str
    """One sentence."""
    facts: dict[str, Any]
    """What the sentence is made from, ready for JSON but for its times."""
    forecast: dict[str, Any] | None
    """{starts_at, ends_at, deadline_kept, text}; none when it does not wait in the queue."""


@dataclass(frozen=True)
class _Ahead:
    """Tasks that go first, by workflow id."""

    counts: Mapping[str, int]

    @property
    def total(self) -> int:
        return sum(self.counts.values())


async def why_waiting(mongo: Mongo, task: Mapping[str, Any]) -> str:
    """Why the task of this document is not running, in one sentence.

    task: the document from `tasks`, whole. For several tasks at once make one `Waiting`.
    """
    return await Waiting(mongo).why(task)


async def explain(mongo: Mongo, task: Mapping[str, Any]) -> Explanation:
    """Why the task of this document is not running, the facts behind it, and when it may start."""
    return await Waiting(mongo).explain(task)


class Waiting:
    """Answers for tasks at one moment; what several of them have in common is read once."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self._at = clock_now()
        self._heads: dict[str, list[ListKey]] = {}
        self._robots: dict[str, list[tuple[Mapping[str, Any], Calendar | None]]] = {}
        self._situations: dict[frozenset[str], Situation] = {}
        self._scenarios: dict[str, Sequence[Mapping[str, Any]]] = {}

    async def why(self, task: Mapping[str, Any]) -> str:
        """Why a task is not running, in one sentence."""
        if _is_once(task):
            return await why_once(self._mongo, task, self._at)
        facts, _, _ = await self._gather(task, AHEAD_COUNTED_MAX + 1)
        return sentence(facts)

    async def explain(self, task: Mapping[str, Any]) -> Explanation:
        """Why a task is not running, the facts behind it, and when it may start."""
        if _is_once(task):
            return Explanation(await why_once(self._mongo, task, self._at), {"once": dict(task["once"])}, None)
        facts, ahead, workflow = await self._gather(task, AHEAD_FORECAST_MAX)
        said = None
        if facts.state is TaskState.QUEUED and workflow is not None:
            said = await _forecast(self._mongo, task, facts, ahead, workflow)
        return Explanation(sentence(facts), facts_view(facts), said)

    async def _gather(self, task: Mapping[str, Any], ahead_max: int) -> tuple[Facts, _Ahead, WorkflowGate | None]:
        """Everything that is known about why a task waits."""
        id, state = f"{task['account']}/{task['workflow']}", TaskState(task["state"])
        queued = state is TaskState.QUEUED
        place = task.get("queue") if queued else None
        heads = await self._lists(task["account"]) if place else []
        ids = frozenset({id, *(f"{key.account}/{key.workflow}" for key in heads)})
        situation = await self._situation(ids) if queued else Situation(self._at, {})
        workflow = situation.gates.get(id)
        await self._read_scenarios([one for one in situation.gates.values() if one is workflow or one.gate.open])
        scenario = self._scenario(task, workflow) if workflow is not None else {}
        ahead = _Ahead({})
        if place and workflow:
            lanes = {
                one.id: _lane(self._scenarios.get(_version(one), ()), one, scenario) for one in situation.gates.values()
            }
            ahead = await _ahead(self._mongo, task, place, heads, situation, lanes, ahead_max)
        on_robot = needs_robot(scenario)
        hold = task.get("hold") or {}
        facts = Facts(
            state=state,
            now=self._at,
            workflow=task["workflow"],
            not_before=task.get("not_before"),
            deadline=task.get("deadline"),
            in_queue=place is not None,
            hold_reason=hold.get("reason"),
            hold_text=hold.get("text") or "",
            run=(task.get("held_by") or {}).get("run"),
            run_waits=await self._run_waits(task) if state is TaskState.RUNNING else None,
            ahead=ahead.total,
            fleet=await self._fleet(task, workflow, scenario) if queued and on_robot else Fleet(),
            warm=await self._warm(task, workflow, scenario, situation) if queued and workflow is not None else None,
            needs_robot=on_robot,
            server_runs=situation.held[SERVER_LOCK],
            server_runs_max=None if on_robot else await _server_runs_max(self._mongo),
            group_runs=_group_runs(task, workflow, situation),
            group_fields=tuple(scenario.get("group_by") or ()),
            gate=_gate(task, workflow, scenario) if queued else Gate(),
        )
        return facts, ahead, workflow

    async def _lists(self, account: str) -> list[ListKey]:
        if account not in self._heads:
            self._heads[account] = await _heads(self._mongo, account)
        return self._heads[account]

    async def _situation(self, ids: frozenset[str]) -> Situation:
        if ids not in self._situations:
            self._situations[ids] = await read_situation(self._mongo, ids, self._at)
        return self._situations[ids]

    async def _read_scenarios(self, workflows: Sequence[WorkflowGate]) -> None:
        """The scenarios of the current versions of these workflows, those that are not known yet."""
        wanted = sorted({_version(one) for one in workflows} - self._scenarios.keys())
        if wanted:
            self._scenarios.update(dict.fromkeys(wanted, ()))
            async for found in self._mongo["versions"].find({"_id": {"$in": wanted}}, {"scenarios": 1}):
                self._scenarios[found["_id"]] = found.get("scenarios") or ()

    def _scenario(self, task: Mapping[str, Any], workflow: WorkflowGate) -> Mapping[str, Any]:
        """The scenario that takes the task under the current version; empty when none does."""
        scenarios = self._scenarios[_version(workflow)]
        number = task_key(scenarios, task["input"]).scenario if scenarios else None
        return {} if number is None else scenarios[number]

    async def _warm(
        self, task: Mapping[str, Any], workflow: WorkflowGate, scenario: Mapping[str, Any], situation: Situation
    ) -> str | None:
        """Whether a run that is kept warm for the task's scenario and group stands ready, or is at work."""
        if not scenario.get("warm"):
            return None
        digest = str(task.get("group") or "").rpartition(".")[2]
        lock = warm_lock(task["account"], task["workflow"], str(scenario["name"]), digest)
        if not situation.held[lock]:
            return None
        ready = {**PARKED_QUERY, "locks": lock, "version": _version(workflow)}
        return WARM_READY if await self._mongo["runs"].find_one(ready, {"_id": 1}) is not None else WARM_BUSY

    async def why_parked(self, run: Mapping[str, Any]) -> str | None:
        """Why a live run makes no progress, as a clause; none: it is at work. run: its document."""
        if not wants_robot(run):
            return why_parked(run, Fleet())
        id = f"{run['account']}/{run['workflow']}"
        workflow = (await self._situation(frozenset({id}))).gates.get(id)
        version = await self._mongo["versions"].find_one({"_id": run["version"]}, {"scenarios": 1})
        scenarios = (version or {}).get("scenarios") or ()
        scenario: Mapping[str, Any] = next((one for one in scenarios if one["name"] == run["scenario"]), {})
        return why_parked(run, await self._fleet(run, workflow, scenario), _setup_gate(workflow, run["scenario"]))

    async def _run_waits(self, task: Mapping[str, Any]) -> str | None:
        """What the run that holds a task waits for."""
        held = (task.get("held_by") or {}).get("run")
        run = await self._mongo["runs"].find_one({"_id": held}, RUN_FIELDS) if held else None
        return await self.why_parked(run) if run is not None else None

    async def _fleet(
        self, task: Mapping[str, Any], workflow: WorkflowGate | None, scenario: Mapping[str, Any]
    ) -> Fleet:
        """The robots that may run the task: its account's own and the shared ones."""
        account = task["account"]
        if account not in self._robots:
            self._robots[account] = await _robots(self._mongo, account)
        rules = workflow.rules if workflow is not None else Rules()
        return fleet_of(
            self._robots[account],
            account=account,
            workflow=task["workflow"],
            tags=rules.tags | frozenset(scenario.get("tags") or ()),
            now=self._at,
        )


async def _robots(mongo: Mongo, account: str) -> list[tuple[Mapping[str, Any], Calendar | None]]:
    """The authorised robots of an account and the shared ones, each with the calendar of its schedule."""
    query = {"authorisation": Authorisation.AUTHORISED.value, "account": {"$in": [account, None]}}
    robots = await mongo["workers"].find(query, ROBOT_FIELDS).limit(WORKERS_COUNTED_MAX).to_list(None)
    scheduled = [(one.get("account") or "", one["schedule"]) for one in robots if one.get("schedule")]
    calendars = await Calendars.read(mongo, scheduled)
    return [
        (one, calendars.of(one.get("account") or "", one["schedule"]) if one.get("schedule") else None)
        for one in robots
    ]


def _gate(task: Mapping[str, Any], workflow: WorkflowGate | None, scenario: Mapping[str, Any]) -> Gate:
    """The gate of its workflow, or that its scenario is held: what only a person ends counts for more."""
    if workflow is None:
        return Gate(GateReason.UNPUBLISHED, f"its workflow {task['workflow']} has no published version")
    if workflow.gate.reason in WAITS_FOR_A_PERSON:
        return workflow.gate
    return scenario_gate(workflow.standing, scenario.get("name")) or workflow.gate


def _setup_gate(workflow: WorkflowGate | None, scenario: str) -> Gate | None:
    """What keeps a run from setting up anew: a refused log-in holds its workflow, or failed setups its scenario."""
    if workflow is None:
        return None
    if workflow.gate.reason is GateReason.HELD and workflow.gate.facts.get("reason") in SETUP_AGAIN_FAILS:
        return workflow.gate
    return scenario_gate(workflow.standing, scenario)


def _version(workflow: WorkflowGate) -> str:
    return f"{workflow.id}/{workflow.document.get('current')}"


def _lane(
    scenarios: Sequence[Mapping[str, Any]], workflow: WorkflowGate, scenario: Mapping[str, Any]
) -> Sequence[str] | None:
    """The beginnings of the keys of tasks that may be in the way of a task of `scenario`; none: all of the workflow's.

    In nobody's way are tasks of held scenarios, and those that need a robot in the way of those that need none.
    """
    on_robot, held = needs_robot(scenario), workflow.standing.scenarios
    alike = [needs_robot(one) == on_robot and one["name"] not in held for one in scenarios]
    if all(alike):
        return None
    return [f"{layout(scenarios)}.{number:02d}" for number, is_alike in enumerate(alike) if is_alike]


def _group_runs(task: Mapping[str, Any], workflow: WorkflowGate | None, situation: Situation) -> int:
    """Runs at work with the task's group values, when no further one is allowed."""
    if workflow is None or workflow.rules.group_max is None:
        return 0
    digest = str(task.get("group") or "").rpartition(".")[2]
    lock = group_lock(task["account"], task["workflow"], digest, of_workflow=workflow.rules.group_of_workflow)
    runs = situation.held[lock] if lock is not None else 0
    return runs if runs >= workflow.rules.group_max else 0


async def _heads(mongo: Mongo, account: str) -> list[ListKey]:
    """The lists of an account that hold tasks. Other accounts are left out: how much they have waiting is none of this
    account's business."""
    pipeline: list[dict[str, Any]] = [
        {"$match": {"queue.list": {"$gt": f"{account}/", "$lt": f"{account}0"}}},
        {"$sort": {"queue.list": 1, "queue.rank": 1, "_id": 1}},
        {"$group": {"_id": "$queue.list", "rank": {"$first": "$queue.rank"}}},
        {"$limit": LISTS_COMPARED_MAX},
    ]
    found = await mongo["tasks"].aggregate(pipeline)
    return [ListKey(*parts) async for one in found if len(parts := one["_id"].split("/")) == 3]


async def _ahead(
    mongo: Mongo, task: Mapping[str, Any], place: Mapping[str, Any], heads: Sequence[ListKey], situation: Situation,
    lanes: Mapping[str, Sequence[str] | None], limit: int,
) -> _Ahead:  # fmt: skip
    """How many tasks of the account go first, counted up to `limit`: higher levels, then older ones.

    Tasks of workflows that take none now are in nobody's way. lanes: which of a workflow's tasks count (`_lane`).
    """
    mine = _my_level(task, place, situation)
    counts: dict[str, int] = {}
    by_workflow: dict[str, list[ListKey]] = {}
    for key in heads:
        by_workflow.setdefault(f"{key.account}/{key.workflow}", []).append(key)
    for id, keys in by_workflow.items():
        workflow, left = situation.gates.get(id), limit - sum(counts.values())
        if workflow is None or not workflow.gate.open or left <= 0:
            continue
        found = [one for key in keys if (one := _range_ahead(key, workflow.rules, mine, place)) is not None]
        ranges = [narrowed for one in found for narrowed in _within(one, lanes.get(id))]
        if ranges:
            counts[id] = int(await mongo["tasks"].count_documents({"$or": ranges}, limit=left))
    return _Ahead(counts)


def _my_level(task: Mapping[str, Any], place: Mapping[str, Any], situation: Situation) -> int:
    key = ListKey(*place["list"].split("/"))
    workflow = situation.gates[f"{task['account']}/{task['workflow']}"]
    base = level(key, workflow.rules.priority)
    return aged_level(base, int(place["rank"]), now_us=clock_now_us(), every_us=workflow.rules.every_us)


def _range_ahead(key: ListKey, rules: Rules, mine: int, place: Mapping[str, Any]) -> dict[str, Any] | None:
    """The part of a list that goes before a task of level `mine`: always its beginning, because within a list older
    tasks never stand lower."""
    base, now_us, rank = level(key, rules.priority), clock_now_us(), int(place["rank"])
    if base > mine:
        return {"queue.list": str(key)}
    higher = rank_reaching(base, mine + 1, now_us=now_us, every_us=rules.every_us)
    equal = rank_reaching(base, mine, now_us=now_us, every_us=rules.every_us)
    bounds = [one for one in (higher, None if equal is None else min(equal, rank - 1)) if one is not None]
    return {"queue.list": str(key), "queue.rank": {"$lte": max(bounds)}} if bounds else None


async def _server_runs_max(mongo: Mongo) -> int | None:
    """How many runs without a robot may be at work; a scheduler writes it down when it opens the first one."""
    found = await mongo["slots"].find_one({"_id": SERVER_LOCK}, {"max": 1})
    return (found or {}).get("max")


def _within(query: dict[str, Any], lane: Sequence[str] | None) -> list[dict[str, Any]]:
    """The parts of a range of a list that belong to some scenarios: each a range of the index by key."""
    if lane is None:
        return [query]
    return [{**query, "queue.key": {"$gte": f"{prefix}.", "$lt": f"{prefix}/"}} for prefix in lane]


async def _forecast(
    mongo: Mongo, task: Mapping[str, Any], facts: Facts, ahead: _Ahead, workflow: WorkflowGate
) -> dict[str, Any]:
    """When it may start, from measured handling times, robots, windows and limits."""
    ids = sorted({workflow.id, *ahead.counts})
    paces = {one["_id"]: one async for one in mongo["paces"].find({"_id": {"$in": ids}})}
    mine = paces.get(workflow.id) or {}
    work_s = sum(n * float(paces.get(id, {}).get("task_s", TASK_S_UNKNOWN)) for id, n in ahead.counts.items())
    free = facts.fleet.free > 0 if facts.needs_robot else not facts.server_full
    if facts.warm == WARM_READY:  # nothing stands between it and its robot
        free, ahead, work_s, mine = True, _Ahead({}), 0.0, {**mine, "overhead_s": 0.0}
    at = facts.now if facts.not_before is None else max(facts.now, facts.not_before)
    said = forecast(
        Inputs(
            now=at,
            calendar=workflow.standing.calendar,
            ahead_work_s=work_s,
            ahead_own=ahead.counts.get(workflow.id, 0),
            robots=1
            if facts.warm == WARM_READY
            else facts.fleet.taking
            if facts.needs_robot
            else facts.server_runs_max or 1,
            busy_until_s=0.0 if free else float(mine.get("task_s", TASK_S_UNKNOWN)),
            task_s=mine.get("task_s"),
            overhead_s=mine.get("overhead_s"),
            limits=tuple((one.limit, one.used) for one in workflow.standing.used if not one.of_account),
            zone=workflow.rules.zone,
            account_limits=tuple((one.limit, one.used) for one in workflow.standing.used if one.of_account),
            account_zone=workflow.account.zone,
            runs_max=workflow.rules.runs_max,
            deadline=task.get("deadline"),
            held=facts.gate.reason in WAITS_FOR_A_PERSON,
        )
    )
    return {
        "starts_at": said.starts_at, "ends_at": said.ends_at, "deadline_kept": said.deadline_kept, "text": said.text,
    }  # fmt: skip


def _is_once(task: Mapping[str, Any]) -> bool:
    """Whether a task waits for one robot and for nothing else."""
    return bool(task.get("once")) and task["state"] == TaskState.QUEUED
