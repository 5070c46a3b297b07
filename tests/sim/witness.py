"""What must hold at every moment: follows each committed change of tasks, runs, robots and journals.

Called by: the data's store, for every change in its order. It asks nothing of the services; it knows the edge tables
and the promises. So two runs that hold a task for a millisecond are seen as well.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

from shared.domain.run_state import FINAL as RUN_FINAL
from shared.domain.run_state import RUN, RunState
from shared.domain.task_state import EVENTS, FINAL, TASK, TaskState
from tests.sim.values import Document


class Witness:
    """Collects what is wrong."""

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.handed: Counter[tuple[str, str]] = Counter()
        """How often delivery was handed each (task, event)."""
        self.runs_of: dict[str, list[str]] = {}
        """Runs that a task was given to, in order."""
        self.released: dict[str, int] = {}
        """By task: to how many runs it had been given when a person last let it go on."""
        self._runs: dict[str, Document] = {}
        self._steps: dict[str, tuple[int, int]] = {}
        self._ended: set[str] = set()

    def see(self, name: str, before: Document | None, after: Document | None) -> None:
        """A committed change."""
        if after is None:
            if name in ("tasks", "runs", "workers", "steps", "commands", "evidence"):
                self._say(f"a document of {name} was deleted: {before and before['_id']}")
        elif name == "tasks":
            self._task(before, after)
        elif name == "runs":
            self._run(before, after)
        elif name == "workers":
            self._worker(before, after)
        elif name == "steps":
            self._step(before, after)
        elif name == "commands":
            self._command(before, after)

    def _command(self, before: Document | None, after: Document) -> None:
        if before is not None and before["state"] not in ("pending", after["state"]):
            self._say(f"command {after['_id']} ended as {before['state']} and then as {after['state']}")

    def _task(self, before: Document | None, after: Document) -> None:
        if before is None:
            return
        id, was, now = after["_id"], before["state"], after["state"]
        if was != now:
            if (was, now) not in TASK.edges and not self._two_edges(was, now):
                self._say(f"task {id} went from {was} to {now}")
            if now in EVENTS:
                pending = after.get("pending") or {}
                if (pending.get("to"), pending.get("what")) != ("delivery", now):
                    self._say(f"task {id} became {now} and delivery was not told: {pending}")
            if was == TaskState.HELD and now == TaskState.QUEUED:
                self.released[id] = len(self.runs_of.get(id, ()))
        self._pending(id, before.get("pending"), after.get("pending"))
        self._holder(id, before.get("held_by") or {}, after.get("held_by") or {}, after)

    @staticmethod
    def _two_edges(was: str, now: str) -> bool:
        """Cancelled on its way back to the queue: two edges in one write."""
        return (was, now) == (TaskState.RUNNING, TaskState.CANCELLED)

    def _pending(self, id: str, was: Any, now: Any) -> None:
        was_to = (was or {}).get("to")
        if was_to == "delivery" and now is not None and now.get("to") != "delivery":
            self._say(f"task {id}: what was handed to delivery was overwritten by {now}")
        if now is not None and now.get("to") == "delivery":
            if was_to == "delivery" and was.get("what") != now.get("what"):
                self._say(f"task {id}: {was.get('what')} was handed to delivery and overwritten by {now.get('what')}")
            if was_to != "delivery":
                self.handed[id, now["what"]] += 1

    def _holder(self, id: str, was: Document, now: Document, task: Document) -> None:
        one, two = was.get("run"), now.get("run")
        if one == two:
            if one is not None and was.get("attempt") != now.get("attempt"):
                self._say(f"task {id}: run {one} holds it as attempt {was.get('attempt')}, then {now.get('attempt')}")
            return
        if one is not None and two is not None:
            self._say(f"task {id} was held by run {one} when run {two} took it")
        if two is not None:
            self.runs_of.setdefault(id, []).append(two)
            if task["state"] != TaskState.RUNNING or task.get("queue"):
                self._say(f"task {id} was taken by run {two} and is {task['state']}, queue {task.get('queue')}")

    def _run(self, before: Document | None, after: Document) -> None:
        id, now = after["_id"], after["state"]
        self._runs[id] = after
        if before is None:
            return
        was = before["state"]
        if was != now and (RunState(was), RunState(now)) not in RUN.edges:
            self._say(f"run {id} went from {was} to {now}")
        if after["token"] < before["token"]:
            self._say(f"run {id}: its token went from {before['token']} to {after['token']}")
        taken = after.get("executor") is not None and after.get("executor") != before.get("executor")
        if taken and after["token"] <= before["token"]:
            self._say(f"run {id} was taken by {after['executor']} without a higher token")
        if was in RUN_FINAL and after.get("executor") is not None:
            self._say(f"run {id} is {now} and was taken by {after['executor']}")

    def _worker(self, before: Document | None, after: Document) -> None:
        if before is None:
            return
        id, one, two = after["_id"], before.get("run"), after.get("run")
        if after["epoch"] < before["epoch"]:
            self._say(f"robot {id} went from epoch {before['epoch']} to {after['epoch']}")
        if one == two:
            return
        if one is not None and two is not None:
            self._say(f"robot {id} had run {one} when run {two} was opened on it")
        if two is not None and after["epoch"] <= before["epoch"]:
            self._say(f"robot {id} was reserved under epoch {after['epoch']} after {before['epoch']}")
        run = self._runs.get(one or "") or {}
        gave_back = run.get("state") == RunState.WAITING and (run.get("wait") or {}).get("release")
        # a robot that is lost before an executor began on it is taken back, and the run wants another one
        gave_back = gave_back or (run.get("state") == RunState.OPENED and run.get("wants_robot"))
        if two is None and run.get("state") not in RUN_FINAL and not gave_back:
            self._say(f"robot {id} was freed while its run {one} is {run.get('state')}")

    def _step(self, before: Document | None, after: Document) -> None:
        if before is not None:
            changed = {key for key in {*before, *after} if before.get(key) != after.get(key)}
            if changed - {"snapshot", "session"}:
                self._say(f"step {after['_id']} was changed: {sorted(changed)}")
            return
        run, seq, token = after["run"], after["seq"], after["token"]
        last_seq, last_token = self._steps.get(run, (0, 0))
        if seq != last_seq + 1:
            self._say(f"run {run}: entry {seq} came after entry {last_seq}")
        if token < last_token:
            self._say(f"run {run}: entry {seq} was written under token {token} after {last_token}")
        if run in self._ended:
            self._say(f"run {run}: entry {seq} ({after['kind']}) came after its end")
        if after["kind"] == "end":
            self._ended.add(run)
        self._steps[run] = (seq, token)

    def _say(self, text: str) -> None:
        if len(self.wrong) < 20:
            self.wrong.append(text)


__all__ = ["EVENTS", "FINAL", "Witness"]
