"""One request for many tasks: hold, release, move, cancel or re-prioritise all that match a filter.

Called by: requests.py (the route). It works in slices, in the order of ids, and keeps where it stands on the request
itself, so a scheduler that dies leaves it to the next one (whose figures then lack what the dead one did in its last
slice). Each task is changed by the same code as a request about it
alone, with an operation id that the request and the task determine: twice is once, and each has its audit entry. Tasks
that came after the request are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from services.scheduler.hints import Hints
from services.scheduler.requests import DONE, Answer, Elsewhere, InHand, Later, Outcome, Work, refused
from services.scheduler.store.requests import RequestStore
from services.scheduler.store.tasks import TaskStore
from services.scheduler.task_requests import TaskRequests
from shared.domain.task_state import FINAL, TaskState
from shared.errors import ErrorCode
from shared.mongo import Mongo
from shared.mongo.audit import audit
from shared.obs.clock import monotonic_s
from shared.obs.logs import get_logger

SLICE = 200
IN_HAND_S = 15.0
"""How long a slice may take before another scheduler goes on instead of one that died."""
WORK_S = 2.0
"""How long one look at a request works on it, before others get a turn."""
REFERENCES_MAX = 1000
_START = {"done": 0, "refused": 0, "last": "", "holder": "", "finished": False}
STATES = {
    "hold": (TaskState.QUEUED,),
    "release": (TaskState.HELD,),
    "front": (TaskState.QUEUED,),
    "priority": (TaskState.QUEUED, TaskState.HELD),
    "cancel": (TaskState.QUEUED, TaskState.HELD, TaskState.RUNNING),
}
"""States whose tasks an action is for; others are not even looked at."""
FIELDS = frozenset({"account", "workflow", "state", "batch", "priority", "references", "created_before"})

log = get_logger(__name__)


class Bulk:
    """Works requests for many tasks."""

    def __init__(self, mongo: Mongo, hints: Hints, tasks: TaskRequests) -> None:
        self._mongo = mongo
        self._hints = hints
        self._store = TaskStore(mongo)
        self._requests = RequestStore(mongo)
        self._works: dict[str, Work] = {
            "hold": tasks.hold, "release": tasks.release, "front": tasks.front, "priority": tasks.priority,
            "cancel": tasks.cancel,
        }  # fmt: skip

    def routes(self) -> dict[str, Work]:
        """What is done for each kind of request."""
        return {"queue.bulk": self.work}

    async def work(self, command: Mapping[str, Any]) -> Outcome:
        """Go on with a request for some time; done when no task is left."""
        action, query = command["args"].get("action"), command["args"].get("filter") or {}
        if action not in self._works:
            return refused(ErrorCode.INVALID_INPUT, f"an action is one of {', '.join(sorted(self._works))}")
        problem = _problem(query)
        if problem is not None:
            return refused(ErrorCode.INVALID_INPUT, problem)
        progress = await self._requests.take_in_hand(command, _START, IN_HAND_S)
        if progress is None:
            return InHand()
        until_s = monotonic_s() + WORK_S
        # to the front: the last one first, so that the order among them stays as it was
        backwards = action == "front"
        while monotonic_s() < until_s:
            tasks = await self._store.matching(
                query, STATES[action], last=progress["last"], before=command["created_at"], limit=SLICE, down=backwards
            )
            for task in tasks:
                outcome = await self._works[action](_single(command, action, task["_id"]))
                await self._count(outcome, command, task["_id"], progress)
                progress["last"] = task["_id"]
            progress["finished"] = len(tasks) < SLICE
            if not await self._requests.progress(command["_id"], progress, IN_HAND_S):
                return InHand()  # it took too long, and somebody else goes on with it
            if progress["finished"]:
                return await self._end(command, action, progress)
        await self._requests.lay_down(command["_id"], progress)
        return InHand()

    async def _count(self, outcome: Outcome, command: Mapping[str, Any], task: str, progress: dict[str, Any]) -> None:
        """Note how it went for one task; a running one that is to be cancelled is its executor's."""
        match outcome:
            case Answer(done=True):
                progress["done"] += 1
            case Answer():
                progress["refused"] += 1
            case Elsewhere():
                id = f"{command['_id']}_{task}"
                if await self._requests.ask(
                    id, kind="task.cancel", to="executor", target=task, args={}, by=str(command["by"])
                ):
                    self._hints.command(id, "executor")
                progress["done"] += 1
            case Later():
                id = f"{command['_id']}_{task}"
                kind = f"task.{command['args']['action']}"
                await self._requests.ask(
                    id, kind=kind, to="scheduler", target=task, args=_args(command), by=str(command["by"])
                )
                progress["done"] += 1

    async def _end(self, command: Mapping[str, Any], action: str, progress: Mapping[str, Any]) -> Outcome:
        counts = {key: progress[key] for key in ("done", "refused")}
        log.info("bulk_request_ended", command=command["_id"], action=action, **counts)
        details = {"command": command["_id"], "filter": _plain(command["args"]["filter"]), **counts}
        await audit(
            self._mongo, by=str(command["by"]), action=f"queue.{action}", target=command["target"],
            account=command["args"]["filter"]["account"], details=details,
        )  # fmt: skip
        return DONE


def _problem(query: Mapping[str, Any]) -> str | None:
    """Why a filter can't be used, or none."""
    if not isinstance(query.get("account"), str):
        return "a filter names its account"
    unknown = sorted(set(query) - FIELDS)
    if unknown:
        return f"a filter has no {unknown[0]}; it has {', '.join(sorted(FIELDS))}"
    references = query.get("references")
    if references is not None and (not isinstance(references, list) or len(references) > REFERENCES_MAX):
        return f"references: a list of at most {REFERENCES_MAX}"
    if query.get("state") is not None and query["state"] not in set(TaskState) - FINAL:
        return "state: queued, held or running"
    return None


def _single(command: Mapping[str, Any], action: str, task: str) -> dict[str, Any]:
    """The request about one task that a bulk request stands for; its id is the operation's."""
    return {
        **command, "_id": f"{command['_id']}_{task}", "kind": f"task.{action}", "target": task, "args": _args(command),
        "bulk": command["_id"],
    }  # fmt: skip


def _args(command: Mapping[str, Any]) -> dict[str, Any]:
    return {key: command["args"][key] for key in ("text", "priority") if key in command["args"]}


def _plain(query: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in query.items()}
