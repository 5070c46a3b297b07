"""Requests about one task: cancel, hold, release, to the front, another priority.

Called by: requests.py (the routes), bulk.py (the same for many). Survives a crash: every write carries the request's id
as its operation, so doing it twice is the same as once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.scheduler.core.once import NOT_REPEATED
from services.scheduler.core.tasks import Change, cancelled, held_by_person, released, to_front, with_priority
from services.scheduler.hints import Hints
from services.scheduler.requests import DONE, TRIES, Elsewhere, Later, Outcome, Work, refused
from services.scheduler.store.queue import QueueStore
from services.scheduler.store.tasks import TaskStore
from shared.domain.priority import Priority
from shared.domain.task_state import FINAL, HoldReason, TaskState
from shared.errors import ErrorCode
from shared.mongo import Mongo
from shared.mongo.audit import audit
from shared.obs.clock import now
from shared.obs.flow import came_out

PLACED = frozenset({TaskState.QUEUED, TaskState.HELD})


class TaskRequests:
    """What people and partners ask for about one task."""

    def __init__(self, mongo: Mongo, hints: Hints, *, kick: Callable[[], None]) -> None:
        self._mongo = mongo
        self._tasks = TaskStore(mongo)
        self._queue = QueueStore(mongo)
        self._hints = hints
        self._kick = kick

    def routes(self) -> dict[str, Work]:
        """What is done for each kind of request."""
        return {
            "task.cancel": self.cancel,
            "task.requeue": self.release,
            "task.release": self.release,
            "task.hold": self.hold,
            "task.front": self.front,
            "task.priority": self.priority,
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

        def change(task: Mapping[str, Any]) -> Change | str:
            if task["state"] != TaskState.HELD:
                return f"the task is not held, it is {task['state']}"
            if command.get("bulk") and (task.get("hold") or {}).get("reason") == HoldReason.IN_DOUBT:
                return "the task is held in doubt: a person says for each one what became of it"
            return released(task, command["by"], now())

        return await self._change(command, change)

    async def hold(self, command: Mapping[str, Any]) -> Outcome:
        """A person holds a queued task back."""
        text = str(command["args"].get("text") or command["args"].get("note") or "")

        def change(task: Mapping[str, Any]) -> Change | str:
            if task["state"] != TaskState.QUEUED:
                return f"only a queued task can be held, this one is {task['state']}"
            return held_by_person(task, command["by"], text, now())

        return await self._change(command, change)

    async def front(self, command: Mapping[str, Any]) -> Outcome:
        """A person wants a queued task to go before all others of its level in its account."""
        task = await self._tasks.task(command["target"])
        front = None if task is None else await self._queue.front_of_level(task)

        def change(task: Mapping[str, Any]) -> Change | str:
            if task["state"] != TaskState.QUEUED:
                return f"only a queued task can be moved, this one is {task['state']}"
            if not task.get("queue"):
                return "the task is delayed and stands in no list yet; it can be moved once its time has come"
            return to_front(task, command["by"], front, now())

        return await self._change(command, change)

    async def priority(self, command: Mapping[str, Any]) -> Outcome:
        """A person gives a task another priority; none: its workflow's."""
        wanted = command["args"].get("priority")
        if wanted is not None and (isinstance(wanted, bool) or wanted not in tuple(Priority)):
            return refused(ErrorCode.INVALID_INPUT, "a priority is a whole number from 0 to 5, or none to inherit")

        def change(task: Mapping[str, Any]) -> Change | str:
            if task["state"] not in PLACED:
                return f"only a queued or held task takes another priority, this one is {task['state']}"
            return with_priority(task, wanted, command["by"])

        return await self._change(command, change)

    async def _change(self, command: Mapping[str, Any], decide: Callable[[Mapping[str, Any]], Change | str]) -> Outcome:
        """Apply what `decide` makes of the task as it is now; a text from it refuses the request."""
        for _ in range(TRIES):
            task = await self._tasks.task(command["target"])
            if task is None:
                return _unknown(command)
            if task.get("op") == command["_id"]:
                return DONE
            if task.get("once"):
                return refused(ErrorCode.CONFLICT, NOT_REPEATED)
            change = decide(task)
            if isinstance(change, str):
                return refused(ErrorCode.CONFLICT, change)
            if task.get("pending"):
                return Later()
            if await self._apply(task, change, command):
                return DONE
        return Later()

    async def _apply(self, task: Mapping[str, Any], change: Change, command: Mapping[str, Any]) -> bool:
        """Apply a change if the task is as it was read, with the hints and the audit entry that belong to it."""
        expect = {"pending": None, "op": task.get("op"), "queue.list": (task.get("queue") or {}).get("list")}
        done = await self._tasks.apply(task, change, op=command["_id"], now=now(), expect=expect, by=command["by"])
        if not done.applied:
            return False
        if change.event is not None:
            came_out(task, change.event)
            self._hints.task_finished(task["_id"], change.event)
        if change.place is not None:
            self._kick()
        await audit(
            self._mongo, by=command["by"], action=command["kind"], target=task["_id"], account=task["account"],
            details={"command": command.get("bulk") or command["_id"], "state": change.after.value, **command["args"]},
        )  # fmt: skip
        return True


def _unknown(command: Mapping[str, Any]) -> Outcome:
    return refused(ErrorCode.NOT_FOUND, f"there is no task {command['target']}")
