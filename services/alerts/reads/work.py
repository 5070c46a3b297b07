"""What rules about tasks, runs and workflows look at.

Called by: evaluation.py, by the table in reads/table.py. Reads only; each query is an index range with a limit. Change
also: shared/mongo/indexes.py (rate, in_doubt of tasks; workflow of batches), tests/integration/alerts/test_plans.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from services.alerts.core.findings import Observation, Observed
from services.alerts.evaluation import Ask
from shared.domain.gates import GateReason
from shared.domain.task_state import HoldReason, TaskState
from shared.mongo import Mongo
from shared.mongo.waiting import Waiting

WORKFLOWS_MAX = 2000
LISTS_MAX = 14_000
RUNS_MAX = 2000
TASKS_MAX = 1000
EXPLAINED_MAX = 100
FORECAST_MAX = 200
FORECAST_PER_WORKFLOW_MAX = 5
BATCHES_MAX = 20
AT_WORK = ("setup", "executing", "teardown")
FAILED = TaskState.FAILED.value
QUIET = frozenset({GateReason.CLOSED, GateReason.LIMIT})
"""While a workflow is closed, or its limit is used up, its tasks wait because it was so set up."""


class WorkReads:
    """Reads of tasks, runs, workflows."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo

    async def _workflows(self) -> list[tuple[str, str]]:
        found = await self._mongo["workflows"].find({}, {"account": 1, "name": 1}).limit(WORKFLOWS_MAX).to_list(None)
        return [(one["account"], one["name"]) for one in found]

    async def workflow_idle(self, ask: Ask) -> Observed:
        """The newest batch of each workflow that brought something."""
        first = ask.now - timedelta(seconds=max(ask.each("forget_s")))
        items = []
        for account, name in await self._workflows():
            query = {"account": account, "workflow": name, "created_at": {"$gte": first}}
            fields = {"created_at": 1, "count": 1, "duplicates": 1, "rejected": 1}
            newest = self._mongo["batches"].find(query, fields).sort("created_at", -1).limit(BATCHES_MAX)
            async for batch in newest:
                if batch.get("count", 0) > (batch.get("duplicates") or 0) + (batch.get("rejected") or 0):
                    text = f"workflow {account}/{name} got no new task"
                    items.append(_of_workflow(account, name, text, since=batch["created_at"]))
                    break
        return Observed(items)

    async def heads(self) -> dict[tuple[str, str], tuple[datetime, dict[str, Any]]]:
        """Of the first of each list of the queue: of each account's workflow the one that waits longest, and since
        when."""
        heads = await self._mongo["tasks"].aggregate(
            [
                {"$match": {"queue.list": {"$gt": ""}}},
                {"$sort": {"queue.list": 1, "queue.rank": 1, "_id": 1}},
                {"$group": {"_id": "$queue.list", "task": {"$first": "$_id"}}},
                {"$limit": LISTS_MAX},
            ]
        )
        ids = [head["task"] async for head in heads]
        oldest: dict[tuple[str, str], tuple[datetime, dict[str, Any]]] = {}
        async for task in self._mongo["tasks"].find({"_id": {"$in": ids}, "state": "queued"}):
            key, since = (task["account"], task["workflow"]), _waits_since(task)
            if key not in oldest or since < oldest[key][0]:
                oldest[key] = (since, task)
        return oldest

    async def task_waiting(self, ask: Ask) -> Observed:
        """The first of each list of the queue; of each workflow the one that waits longest."""
        oldest = await self.heads()
        last = ask.now - timedelta(seconds=min(ask.each("still_s")))
        late = sorted((one for one in oldest.values() if one[0] <= last), key=lambda one: one[0])
        waiting = Waiting(self._mongo)
        items, left_out = [], late[EXPLAINED_MAX:]
        for since, task in late[:EXPLAINED_MAX]:
            said = await waiting.explain(task)
            if (said.facts.get("gate") or {}).get("reason") in QUIET:
                continue
            text = f"task {task['_id']} of workflow {task['account']}/{task['workflow']} waits ({said.why})"
            items.append(_of_workflow(task["account"], task["workflow"], text, since=since, task=task["_id"]))
        asked = ask.targets - {f"workflow/{task['account']}/{task['workflow']}" for _, task in left_out}
        return Observed(items, complete=not left_out, asked=asked)

    async def task_running(self, ask: Ask) -> Observed:
        """The tasks that live runs have in hand."""
        query = {"state": {"$in": list(AT_WORK)}}
        fields = {"tasks.task": 1, "tasks.state": 1, "worker": 1}
        runs = await self._mongo["runs"].find(query, fields).limit(RUNS_MAX).to_list(None)
        workers = {one["task"]: run["worker"] for run in runs for one in run["tasks"] if one["state"] == "running"}
        fields = {"account": 1, "workflow": 1, "started_at": 1, "held_by": 1, "state": 1}
        items = []
        async for task in self._mongo["tasks"].find({"_id": {"$in": list(workers)}}, fields):
            if task["state"] == TaskState.RUNNING and task.get("started_at"):
                worker = workers[task["_id"]]
                text = f"task {task['_id']} of workflow {task['account']}/{task['workflow']} runs"
                facts = {"task": task["_id"], "run": (task.get("held_by") or {}).get("run")}
                items.append(_of_task(task, text, task["started_at"], facts, worker))
        return Observed(items, complete=len(runs) < RUNS_MAX)

    async def deadline_danger(self, ask: Ask) -> Observed:
        """Forecasts of the queued tasks whose deadlines come next, a few of each workflow."""
        until = ask.now + timedelta(seconds=max(ask.each("within_s")))
        query = {"state": "queued", "deadline": {"$lte": until, "$exists": True, "$gt": ask.now}}
        tasks = await self._mongo["tasks"].find(query).sort("deadline", 1).limit(FORECAST_MAX).to_list(None)
        waiting, found = Waiting(self._mongo), dict[tuple[str, str], list[tuple[Any, ...]]]()
        for task in tasks:
            mine = found.setdefault((task["account"], task["workflow"]), [])
            if len(mine) < FORECAST_PER_WORKFLOW_MAX:
                said = (await waiting.explain(task)).forecast or {}
                mine.append((task["_id"], task["deadline"], said.get("ends_at"), said.get("deadline_kept")))
        items = [
            _of_workflow(account, name, f"workflow {account}/{name}", measures={"tasks": mine})
            for (account, name), mine in found.items()
        ]
        return Observed(items, complete=len(tasks) < FORECAST_MAX)

    async def failure_rate(self, ask: Ask) -> Observed:
        """The newest tasks of each workflow that ended: index entries alone."""
        first, sample = ask.now - timedelta(seconds=max(ask.each("window_s"))), max(ask.each("sample"))
        items = []
        for account, name in await self._workflows():
            query = {"account": account, "workflow": name, "finished_at": {"$gte": first, "$type": "date"}}
            fields = {"_id": 0, "finished_at": 1, "state": 1}
            newest = self._mongo["tasks"].find(query, fields).hint("rate").sort("finished_at", -1).limit(sample)
            ended = [(one["finished_at"], one["state"] == FAILED) async for one in newest]
            if ended:
                text = f"workflow {account}/{name}"
                items.append(_of_workflow(account, name, text, measures={"ended": ended}))
        return Observed(items)

    async def run_stuck(self, ask: Ask) -> Observed:
        """Runs at work that moved long ago."""
        last = ask.now - timedelta(seconds=min(ask.each("still_s")))
        query = {"state": {"$in": list(AT_WORK)}, "progressed_at": {"$lte": last}}
        fields = {"account": 1, "workflow": 1, "worker": 1, "progressed_at": 1, "state": 1, "executor": 1}
        runs = await self._mongo["runs"].find(query, fields).sort("progressed_at", 1).limit(RUNS_MAX).to_list(None)
        items = [
            Observation(
                f"run/{run['_id']}",
                f"run {run['_id']} of workflow {run['account']}/{run['workflow']} makes no progress in {run['state']}",
                run["account"],
                run["progressed_at"],
                {"run": run["_id"], "executor": run.get("executor")},
                {"workflow": run["workflow"], **({"worker": run["worker"]} if run.get("worker") else {})},
            )
            for run in runs
        ]
        return Observed(items, complete=len(runs) < RUNS_MAX)

    async def decision_waiting(self, ask: Ask) -> Observed:
        """Open questions."""
        fields = {
            "account": 1, "workflow": 1, "question": 1, "asked_at": 1, "due_at": 1, "task": 1, "run": 1, "worker": 1,
            "image": 1, "state": 1,
        }  # fmt: skip
        decisions = self._mongo["decisions"]
        found = await decisions.find({"state": "open"}, fields).sort("due_at", 1).limit(TASKS_MAX).to_list(None)
        complete = len(found) < TASKS_MAX
        if not complete:
            found += await _others(decisions, ask, found, "decision/", {"state": "open"}, fields)
        items = []
        for one in found:
            text = f"workflow {one['account']}/{one['workflow']} asks, and nobody answers: {str(one['question'])[:200]}"
            facts = {"decision": one["_id"], "run": one.get("run"), "due_at": one.get("due_at")}
            facts |= {"task": one["task"]} if one.get("task") else {}
            facts |= {"evidence": [one["image"]]} if one.get("image") else {}
            items.append(
                Observation(
                    f"decision/{one['_id']}", text, one["account"], one["asked_at"], facts, _scope(one["workflow"], one)
                )
            )
        return Observed(items, complete=complete, asked=ask.targets)

    async def task_in_doubt(self, ask: Ask) -> Observed:
        """Tasks held in doubt, the oldest first."""
        query = {"state": "held", "hold.reason": HoldReason.IN_DOUBT.value}
        fields = {"account": 1, "workflow": 1, "hold": 1, "reference": 1, "error": 1, "evidence": {"$slice": -1}}
        tasks = self._mongo["tasks"]
        found = await tasks.find(query, fields).hint("in_doubt").sort("hold.at", 1).limit(TASKS_MAX).to_list(None)
        complete = len(found) < TASKS_MAX
        if not complete:
            found += await _others(tasks, ask, found, "task/", query, fields)
        items = []
        for task in found:
            hold = task["hold"]
            where = f"workflow {task['account']}/{task['workflow']}"
            text = f"task {task['_id']} ({task.get('reference')}) of {where} is in doubt"
            text += f": {hold['text']}" if hold.get("text") else ""
            facts = {"task": task["_id"], "reference": task.get("reference"), "run": hold.get("run")}
            picture = ((task.get("error") or {}).get("failed") or {}).get("picture")
            facts |= {"evidence": [picture]} if picture else {}
            items.append(_of_task(task, text, hold.get("at"), facts))
        return Observed(items, complete=complete, asked=ask.targets)

    async def workflow_held(self, ask: Ask) -> Observed:
        """Open circuits of workflows."""
        return await self._circuits(of_scenarios=False)

    async def scenario_held(self, ask: Ask) -> Observed:
        """Open circuits of scenarios."""
        return await self._circuits(of_scenarios=True)

    async def _circuits(self, *, of_scenarios: bool) -> Observed:
        found = await self._mongo["circuits"].find({"state": "open"}).limit(TASKS_MAX).to_list(None)
        items = []
        for one in found:
            if bool(one.get("scenario")) is not of_scenarios:
                continue
            name, scenario = f"{one['account']}/{one['workflow']}", one.get("scenario")
            what = f"scenario {scenario} of workflow {name}" if scenario else f"workflow {name}"
            by = f" by {one['by']}" if one.get("reason") == "person" and one.get("by") else ""
            text = f"{what} is held{by}: {one.get('text') or 'no reason was given'}"
            target = f"workflow/{name}" + (f"/{scenario}" if scenario else "")
            facts = {"reason": one.get("reason"), "run": one.get("run"), "scenario": scenario}
            measures = {"by_person": one.get("reason") == "person"}
            scope = {"workflow": one["workflow"]}
            items.append(Observation(target, text, one["account"], one.get("at"), facts, scope, measures))
        return Observed(items, complete=len(found) < TASKS_MAX)


async def _others(
    collection: Any,
    ask: Ask,
    found: list[dict[str, Any]],
    prefix: str,
    query: Mapping[str, Any],
    fields: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Those of open alerts that were not among the first: looked at by their ids."""
    ids = {target.removeprefix(prefix) for target in ask.targets} - {one["_id"] for one in found}
    more: list[dict[str, Any]] = await collection.find({"_id": {"$in": sorted(ids)}, **query}, fields).to_list(None)
    return more


def _waits_since(task: Mapping[str, Any]) -> datetime:
    """Since when a task could run: it came, its time came, or it came back."""
    back = [one["at"] for one in task.get("history") or () if one.get("state") == TaskState.QUEUED]
    times = [task["created_at"], task.get("eligible_at"), *back[-1:]]
    return max(at for at in times if at is not None)


def _scope(workflow: str, found: Mapping[str, Any]) -> dict[str, str]:
    return {"workflow": workflow, **({"worker": found["worker"]} if found.get("worker") else {})}


def _of_workflow(
    account: str, name: str, text: str, *, since: datetime | None = None, measures: Mapping[str, Any] | None = None,
    **facts: Any,
) -> Observation:  # fmt: skip
    return Observation(f"workflow/{account}/{name}", text, account, since, facts, {"workflow": name}, measures or {})


def _of_task(
    task: Mapping[str, Any], text: str, since: datetime | None, facts: Mapping[str, Any], worker: str | None = None
) -> Observation:
    scope = {"workflow": task["workflow"], **({"worker": worker} if worker else {})}
    return Observation(f"task/{task['_id']}", text, task["account"], since, facts, scope)
