"""Durable requests to the scheduler: about tasks (here) and robots (robots.py).

Called by: handlers.py (hints), main.py (sweep). Survives a crash: a request stays `pending` until it is ended; doing it
twice is the same as once, because every write carries the request's id as its operation.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from services.scheduler.core.tasks import Change, cancelled, held_by_person, released
from services.scheduler.hints import Hints
from services.scheduler.store.requests import RequestStore
from services.scheduler.store.tasks import TaskStore
from shared.domain.task_state import FINAL, TaskState
from shared.errors import ErrorCode
from shared.mongo import Mongo
from shared.mongo.audit import audit
from shared.obs.clock import now
from shared.obs.logs import get_logger
from shared.runtime.commands import finish

TRIES = 5
LATER_S = 0.5
SOON_CLAIMS_MAX = 4
"""Tries that come soon after one another; later ones come ever more rarely, as every request's do."""

log = get_logger(__name__)


@dataclass(frozen=True)
class Answer:
    """How a request ended."""

    done: bool
    reason: str | None = None


@dataclass(frozen=True)
class Later:
    """It can't be done right now; look again after `delay_s`."""

    delay_s: float = LATER_S


@dataclass(frozen=True)
class Elsewhere:
    """Another service owns the edge: the request goes there, still pending."""

    to: str


Outcome = Answer | Later | Elsewhere
Work = Callable[[Mapping[str, Any]], Awaitable[Outcome]]
DONE = Answer(done=True)


def refused(code: ErrorCode, text: str) -> Answer:
    """The answer to a request that can't be granted."""
    return Answer(done=False, reason=f"{code}: {text}")


class Requests:
    """Works requests and stores how they ended."""

    def __init__(self, mongo: Mongo, hints: Hints, routes: Mapping[str, Work]) -> None:
        self._mongo = mongo
        self._hints = hints
        self._routes = routes
        self._store = RequestStore(mongo)

    async def work(self, id: str) -> None:
        """Work one request, if it still waits for the scheduler."""
        command = await self._store.command(id)
        if command is None or command["state"] != "pending" or command["to"] != "scheduler":
            return
        route = self._routes.get(command["kind"])
        if route is None:
            outcome: Outcome = refused(ErrorCode.UNKNOWN_COMMAND, f"the scheduler knows no {command['kind']}")
        else:
            outcome = await route(command)
        match outcome:
            case Answer():
                await finish(self._mongo, id, "done" if outcome.done else "refused", outcome.reason)
                log.info("request_ended", command=id, kind=command["kind"], target=command["target"], done=outcome.done,
                         reason=outcome.reason)  # fmt: skip
            case Later():
                if command["claims"] < SOON_CLAIMS_MAX:
                    await self._store.put_off(id, outcome.delay_s)
            case Elsewhere():
                if await self._store.readdress(id, outcome.to):
                    self._hints.command(id, outcome.to)


class TaskRequests:
    """Requests about tasks: cancel, requeue, hold, release."""

    def __init__(self, mongo: Mongo, hints: Hints, *, kick: Callable[[], None]) -> None:
        self._mongo = mongo
        self._tasks = TaskStore(mongo)
        self._hints = hints
        self._kick = kick

    def routes(self) -> dict[str, Work]:
        """What is done for each kind of request."""
        return {
            "task.cancel": self.cancel,
            "task.requeue": self.release,
            "task.release": self.release,
            "task.hold": self.hold,
        }

    async def cancel(self, command: Mapping[str, Any]) -> Outcome:
        """Call a task off: here while it waits or is held, at its executor while it runs."""
        for _ in range(TRIES):
            task = await self._tasks.task(command["target"])
            if task is None:
                return _unknown(command)
            state = TaskState(task["state"])
            if state in FINAL:
                mine = (task.get("cancel") or {}).get("command") == command["_id"]
                return DONE if mine else refused(ErrorCode.FINAL, f"the task is {state} already")
            if (task.get("pending") or {}).get("to") not in (None, "executor"):
                return Later()
            if state is TaskState.RUNNING:
                return Elsewhere("executor")
            if await self._apply(task, cancelled(state, command["by"], command["_id"], now()), command):
                return DONE
        return Later()

    async def release(self, command: Mapping[str, Any]) -> Outcome:
        """A person lets a held task go on."""
        for _ in range(TRIES):
            task = await self._tasks.task(command["target"])
            if task is None:
                return _unknown(command)
            if task.get("op") == command["_id"]:
                return DONE
            if task["state"] != TaskState.HELD:
                return refused(ErrorCode.CONFLICT, f"the task is not held, it is {task['state']}")
            if task.get("pending"):
                return Later()
            if await self._apply(task, released(task, command["by"], now()), command):
                return DONE
        return Later()

    async def hold(self, command: Mapping[str, Any]) -> Outcome:
        """A person holds a queued task back."""
        for _ in range(TRIES):
            task = await self._tasks.task(command["target"])
            if task is None:
                return _unknown(command)
            if task.get("op") == command["_id"]:
                return DONE
            if task["state"] != TaskState.QUEUED:
                return refused(ErrorCode.CONFLICT, f"only a queued task can be held, this one is {task['state']}")
            if task.get("pending"):
                return Later()
            text = str(command["args"].get("text") or command["args"].get("note") or "")
            if await self._apply(task, held_by_person(task, command["by"], text, now()), command):
                return DONE
        return Later()

    async def _apply(self, task: Mapping[str, Any], change: Change, command: Mapping[str, Any]) -> bool:
        """Apply a change if the task is as it was read, with the hints and the audit entry that belong to it."""
        done = await self._tasks.apply(
            task, change, op=command["_id"], now=now(), expect={"pending": None, "op": task.get("op")}, by=command["by"]
        )
        if not done.applied:
            return False
        if change.event is not None:
            self._hints.task_finished(task["_id"], change.event)
        if change.place is not None:
            self._kick()
        await audit(
            self._mongo, by=command["by"], action=command["kind"], target=task["_id"], account=task["account"],
            details={"command": command["_id"], "state": change.after.value},
        )  # fmt: skip
        return True


def _unknown(command: Mapping[str, Any]) -> Answer:
    return refused(ErrorCode.NOT_FOUND, f"there is no task {command['target']}")
