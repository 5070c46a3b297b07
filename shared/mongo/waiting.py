"""Gathers the facts from which shared.domain.why_waiting makes its sentence.

Called by: collector (GET of a task), console (queue/why). Reads only; every count has a limit, and each query is an
index range, so asking costs the same however long the queue is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.domain.priority import Priority, level, list_keys
from shared.domain.task_state import TaskState
from shared.domain.why_waiting import AHEAD_COUNTED_MAX, Facts, Fleet
from shared.domain.why_waiting import why_waiting as sentence
from shared.domain.worker_state import Authorisation, WorkerMode, WorkerStatus
from shared.mongo import Mongo
from shared.obs.clock import now

WORKFLOWS_COMPARED_MAX = 200
WORKERS_COUNTED_MAX = 5000


async def why_waiting(mongo: Mongo, task: Mapping[str, Any]) -> str:
    """Why the task of this document is not running, in one sentence.

    task: the document from `tasks`, whole.
    """
    state = TaskState(task["state"])
    workflow = await mongo["workflows"].find_one(
        {"_id": f"{task['account']}/{task['workflow']}"}, {"current": 1, "settings.priority": 1}
    )
    hold = task.get("hold") or {}
    queued = state is TaskState.QUEUED
    place = task.get("queue") if queued else None
    return sentence(
        Facts(
            state=state,
            now=now(),
            workflow=task["workflow"],
            published=bool(workflow and workflow.get("current") is not None),
            not_before=task.get("not_before"),
            deadline=task.get("deadline"),
            in_queue=place is not None,
            hold_reason=hold.get("reason"),
            hold_text=hold.get("text") or "",
            run=(task.get("held_by") or {}).get("run"),
            ahead=await _ahead(mongo, task, place) if place else 0,
            fleet=await _fleet(mongo, task["account"]) if queued else Fleet(),
        )
    )


async def _fleet(mongo: Mongo, account: str) -> Fleet:
    """The robots that may run tasks of this account: its own and the shared ones."""
    query = {"authorisation": Authorisation.AUTHORISED.value, "account": {"$in": [account, None]}}
    fields = {"connected": 1, "mode": 1, "status": 1, "run": 1}
    authorised = await mongo["workers"].find(query, fields).limit(WORKERS_COUNTED_MAX).to_list(None)
    connected = [worker for worker in authorised if worker["connected"]]
    taking = [worker for worker in connected if worker["mode"] == WorkerMode.RUN]
    free = [worker for worker in taking if worker["status"] == WorkerStatus.WAITING and worker.get("run") is None]
    return Fleet(len(authorised), len(connected), len(taking), len(free))


async def _ahead(mongo: Mongo, task: Mapping[str, Any], place: Mapping[str, Any]) -> int:
    """How many tasks of the account go first, counted up to one more than the limit: higher levels, then older ones.

    Tasks of other accounts are left out: how much they have waiting is none of this account's business.
    """
    query = {"account": task["account"], "current": {"$ne": None}}
    levels: dict[str, int] = {}
    async for workflow in (
        mongo["workflows"].find(query, {"name": 1, "settings.priority": 1}).limit(WORKFLOWS_COMPARED_MAX)
    ):
        priority = int((workflow.get("settings") or {}).get("priority", Priority.NORMAL))
        levels.update({str(key): level(key, priority) for key in list_keys(task["account"], workflow["name"])})
    mine = levels.get(place["list"], int(Priority.NORMAL))
    higher = [key for key, one in levels.items() if one > mine]
    same = [key for key, one in levels.items() if one == mine]
    limit = AHEAD_COUNTED_MAX + 1
    first = await mongo["tasks"].count_documents({"queue.list": {"$in": higher}}, limit=limit) if higher else 0
    if first >= limit:
        return limit
    older = {"queue.list": {"$in": same}, "queue.rank": {"$lt": place["rank"]}}
    return int(first + await mongo["tasks"].count_documents(older, limit=limit - first))
