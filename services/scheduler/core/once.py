"""One-off tasks as data: how one is inserted, how its run is opened, and that it never goes back to a queue.

Called by: once.py, recovery.py, task_requests.py. Pure. Change also: shared/domain/once.py, ARCHITECTURE.md (tasks).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from services.scheduler.core.opening import Fence, Opening
from services.scheduler.core.order import Plan, shared_values
from services.scheduler.core.tasks import OWNER, Change, pending
from shared.domain.gates import Rules, group_lock
from shared.domain.once import WAIT_HOURS_MAX, task_of
from shared.domain.scenario import group_digest, layout
from shared.domain.task_state import TASK, FailureKind, TaskState

NOT_REPEATED = "a one-off run stands in no queue and is not repeated: cancel it, or start another one"


def task_document(command: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """The task of a request `run.once`: of no partner and no batch, with a place in no list."""
    args, id = command["args"], task_of(str(command["_id"]))
    once = {"worker": command["target"], "version": args["version"], "scenario": args["scenario"], "by": command["by"]}
    said = f"{command['by']} asked for a one-off run on {command['target']}"
    return {
        "_id": id, "schema_version": 1, "account": args["account"], "partner": None, "workflow": args["workflow"],
        "batch": None, "reference": f"once-{id}", "input": args["input"], "priority": None,
        "state": TaskState.QUEUED.value, "attempts": 0, "created_at": now, "updated_at": now, "finished_at": None,
        "not_before": None, "deadline": now + timedelta(hours=WAIT_HOURS_MAX), "held_by": None, "hold": None,
        "result": None, "error": None, "evidence": [], "cancel": None, "pending": None, "events": {}, "counted": None,
        "history": [{"at": now, "state": TaskState.QUEUED.value, "reason": said, "by": OWNER, "run": None}],
        "op": str(command["_id"]), "traceparent": None, "once": once,
    }  # fmt: skip


def opening(
    task: Mapping[str, Any], worker: Mapping[str, Any], plan: Plan, number: int, rules: Rules, *, run: str, seed: int,
    at: datetime,
) -> Opening:  # fmt: skip
    """How a one-off run is opened: it counts in no limit and asks no gate, but two runs never share a group's values.

    number: of its scenario in the version's plan. rules: of its workflow, if that is published.
    """
    account, workflow = str(task["account"]), str(task["workflow"])
    scenario = plan.scenarios[number]
    values = shared_values(scenario, task)
    digest = group_digest(values)
    lock = group_lock(account, workflow, digest, of_workflow=rules.group_of_workflow)
    return Opening(
        run=run, account=account, workflow=workflow, version=plan.version, scenario=str(scenario["name"]),
        worker=str(worker["_id"]), epoch_before=int(worker["epoch"]), tasks=[str(task["_id"])], seed=seed, at=at,
        traceparent=task.get("traceparent"), group=values,
        group_key=f"{layout(plan.scenarios)}.{number:02d}.{digest}", locks=[lock] if lock is not None else [],
        fences=[Fence(lock, rules.group_max)] if lock is not None and rules.group_max is not None else [],
        environment=rules.environment, once={"task": task["_id"], "by": task["once"]["by"]},
    )  # fmt: skip


def not_repeated(task: Mapping[str, Any], change: Change, now: datetime) -> Change:
    """A change that would put a one-off task back into the queue ends it instead; every other change stays as it is."""
    if not task.get("once") or change.after is not TaskState.QUEUED:
        return change
    TASK.check(TaskState.RUNNING, TaskState.FAILED, owner=OWNER)
    unknown = {"kind": FailureKind.SYSTEM.value, "code": "RUN_ENDED", "message": change.reason}
    error = {"line": None, "traceback": None, **(task.get("last_error") or unknown)}
    fields = {
        "error": error, "held_by": None, "pending": pending("delivery", TaskState.FAILED.value, now),
        "finished_at": now,
    }  # fmt: skip
    return Change(change.before, TaskState.FAILED, str(error.get("message") or change.reason)[:500], fields)
