"""What a run writes besides its journal: outcomes to tasks, the run's own state, hand-overs and hints.

Called by: runner.py. Survives a crash: an outcome is in the journal before it is on the task, and every write here is
guarded, so whoever takes the run over repeats it without harm. Change also: ARCHITECTURE.md (hand-offs)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from services.executor.core.ending import RunClose, TaskOutcome, given_back
from services.executor.journal import Journal
from services.executor.signals import Signals
from services.executor.spans import RunSpans
from services.executor.tools import Tools
from shared.contracts.messages import RunFinished, TaskFinished, TaskReturned
from shared.domain.events import EventKind, Severity, event_document
from shared.domain.run_state import RunState
from shared.domain.task_state import ReturnReason, TaskState
from shared.mongo.events import raise_event
from shared.obs.clock import now
from shared.obs.logs import get_logger
from shared.obs.metrics import counter
from shared.runtime import commands

log = get_logger("executor.run")
OUTCOMES = counter("regente_task_attempts_total", "Attempts at tasks by how they ended.", ["outcome"])


class Outcomes:
    """The writes of one run."""

    def __init__(self, tools: Tools, run: dict[str, Any], signals: Signals, spans: RunSpans) -> None:
        self._tools = tools
        self._run = run
        self._signals = signals
        self._spans = spans
        self._log = log.bind(run=run["_id"], worker=run["worker"], account=run["account"])

    async def move(self, state: RunState, **fields: Any) -> None:
        """Show on the run where it stands.

        Raises: Superseded.
        """
        if self._run["state"] == state and all(self._run.get(key) == value for key, value in fields.items()):
            return
        if state is RunState.SETUP and not self._run.get("started_at"):
            fields["started_at"] = now()
        await self._tools.store.move_run(self._run, self._run["token"], state, fields)
        self._run.update(state=state, **fields)

    async def apply(self, entry: Mapping[str, Any], begun: int) -> None:
        """Bring a stored outcome to its task, once, and tell whoever goes on with it.

        begun: seq at which the task began.
        """
        outcome, task = TaskOutcome(**entry["outcome"]), str(entry["task"])
        evidence = await self._tools.evidence.of_task(self._run["_id"], task, begun)
        held_by = {"run": self._run["_id"], "attempt": entry["attempt"]}
        if await self._tools.store.end_task(task, held_by, entry["seq"], outcome, evidence):
            OUTCOMES.labels(str(outcome.state)).inc()
            await self._cancelled(task, str(outcome.state))
        returned = outcome.state == ReturnReason.NOT_STARTED
        failure = outcome.error if outcome.state != TaskState.SUCCEEDED and not returned else None
        await self._tools.store.note_task(
            self._run, task, "returned" if returned else "ended", str(outcome.state), failure=failure,
            attempt=int(entry["attempt"]),
        )  # fmt: skip
        await self._tell(task, str(outcome.state))
        failed = outcome.state != TaskState.SUCCEEDED
        code = str((outcome.error or {}).get("code") or outcome.state) if failed else ""
        await self._spans.attempt_ended(entry, begun, code)

    async def give_back(self, end: RunClose, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Tasks that were not begun go back as they were."""
        known = await self._tools.store.tasks([item["task"] for item in tasks])
        for item in tasks:
            failures = int(known.get(item["task"], {}).get("setup_failures", 0))
            outcome = given_back(end.reason, end.text, setup_failures=failures)
            held_by = {"run": self._run["_id"], "attempt": item["attempt"]}
            if await self._tools.store.end_task(item["task"], held_by, 0, outcome, []):
                await self._tools.store.note_task(
                    self._run, item["task"], "returned", str(outcome.state), attempt=int(item["attempt"])
                )
                await self._tell(item["task"], str(outcome.state))

    async def close(self, end: RunClose, left: Sequence[Mapping[str, Any]], journal: Journal | None) -> None:
        """Give back what was not begun, end the journal, and hand the run to the scheduler.

        journal: none for a run that has none, because its version is missing.
        """
        await self.give_back(end, left)
        if journal is not None:
            if self._signals.stop.done():
                await journal.add_abort(self._signals.stop.result())
            await journal.add_end(end.as_document())
        await self.finish(end, journal.seq if journal is not None else 0)

    async def finish(self, end: RunClose, last_seq: int) -> None:
        """Hand an ended run to the scheduler, and let go of what it kept."""
        pending = {"to": "scheduler", "what": "finished", "since": now(), "due_at": now(), "claims": 0}
        fields = {
            "end": {"reason": end.reason, "text": end.text, "code": end.code}, "finished_at": now(), "wait": None,
            "pending": pending, "executor": None, "trim": True, "last_seq": last_seq, "wants_robot": False,
        }  # fmt: skip
        self._spans.run_ended(end)  # after the write nobody would do it any more if this process died
        await self._tools.store.move_run(self._run, self._run["token"], RunState(end.state), fields)
        self._log.info("run ended", state=str(end.state), reason=str(end.reason), text=end.text)
        await self._tools.waits.withdraw(self._run["_id"])
        await self.leave_robot()
        await self._tools.hint("run.finished", RunFinished(run=self._run["_id"], worker=self._run["worker"] or ""))
        await self._tools.store.trim(self._run["_id"])

    async def leave_robot(self) -> None:
        """Tell the robot that the run needs it no more; a lost message costs some disk there."""
        if self._run.get("worker"):
            await self._tools.robots.run_ended(self._run)

    async def park(self, wait: Mapping[str, Any], left: Sequence[Mapping[str, Any]]) -> None:
        """Put the run away until its wait is over; without its robot, the tasks that were not begun go back.

        Raises: Superseded.
        """
        wait = {**wait, "release": bool(wait["release"] and self._run.get("worker"))}
        if wait["release"]:
            await self.give_back(RunClose.parked(), left)
            await self.leave_robot()
        await self._tools.waits.park(self._run, wait)
        self._log.info("run parked", what=wait["kind"], seq=wait["seq"], until=str(wait["due_at"] or ""))
        if wait["release"] or wait["kind"] == "warm":  # its robot is free, or ready for more
            await self._tools.hint("run.finished", RunFinished(run=self._run["_id"], worker=self._run["worker"]))
        if wait.get("decision") is not None:
            await self._wake_if_over(wait)

    async def _wake_if_over(self, wait: Mapping[str, Any]) -> None:
        """An answer may have come between asking and parking."""
        decision = await self._tools.waits.decision(wait["decision"])
        if decision is not None and decision["state"] != "open":
            await self._tools.waits.wake(self._run["_id"], int(wait["seq"]))

    async def tell_timeout(self, task: str, attempt: int, text: str) -> None:
        """A task took longer than it may: an event."""
        event = event_document(
            EventKind.TASK_TIMED_OUT, service="executor", severity=Severity.WARNING, target=task, text=text,
            account=self._run["account"], id=f"task_timed_out/{task}/{attempt}", at=now(),
            facts={"run": self._run["_id"], "workflow": self._run["workflow"], "worker": self._run["worker"]},
        )  # fmt: skip
        await raise_event(self._tools.store.mongo, event)

    async def _cancelled(self, task: str, state: str) -> None:
        """Tell whoever asked for a cancellation what came of it."""
        command = self._signals.cancelled.pop(task, None)
        if command is None:
            return
        if state == TaskState.CANCELLED:
            await commands.finish(self._tools.store.mongo, command, "done")
        elif state == TaskState.HELD and self._signals.stop.done():  # aborted as was wanted; what it did is in doubt
            await commands.finish(self._tools.store.mongo, command, "done", "held: its last act may have been done")
        elif state not in tuple(ReturnReason):
            await commands.finish(self._tools.store.mongo, command, "refused", f"the task ended first: {state}")

    async def _tell(self, task: str, state: str) -> None:
        if state in tuple(ReturnReason):
            await self._tools.hint("task.returned", TaskReturned(task=task, run=self._run["_id"]))
        else:
            await self._tools.hint("task.finished", TaskFinished(task=task, event=state))
