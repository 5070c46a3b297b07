"""The course of one run: setup, each task from the state that setup left, teardown, end.

Called by: recovery.py (one asyncio task per run in hand). Survives a crash: the journal. `RunJob.work` begins by
reading where the run stands, so it is the same code for a new run and for one taken over: an outcome that was stored
but not applied is applied, a phase in hand goes on at its last instruction, and what was never begun begins. Change
also: core/journal.py, ARCHITECTURE.md (hand-offs)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from services.executor.core.ending import EndKind, PhaseEnd, TaskOutcome, given_back, returned_outcome, task_outcome
from services.executor.core.journal import Kind, Phase, Position, asked_in_task, may_have_acted, read_position
from services.executor.evidence import EvidenceStore
from services.executor.interpreter import FORMAT, Interpreter, Session, SnapshotUnreadable
from services.executor.journal import Journal
from services.executor.phase import STOP_CODES, PhaseRunner, Signals
from services.executor.replay import ReplayDiverged, replay
from services.executor.robots import Robots
from services.executor.store import ExecutorStore, StateTooLarge
from shared.contracts.messages import RunFinished, TaskFinished, TaskReturned
from shared.domain.events import EventKind, Severity, event_document
from shared.domain.retry import InDoubtPolicy, RetryPolicy, RetryPosition
from shared.domain.run_state import RunEnd, RunState
from shared.domain.task_state import LOGIN_REJECTED, ReturnReason, TaskState
from shared.mongo.events import raise_event
from shared.obs.clock import now
from shared.obs.logs import get_logger
from shared.obs.metrics import counter
from shared.runtime import commands

log = get_logger("executor.run")
OUTCOMES = counter("regente_task_attempts_total", "Attempts at tasks by how they ended.", ["outcome"])

Hint = Callable[[str, Any], Awaitable[None]]


@dataclass(frozen=True)
class Tools:
    """What every run of this executor uses."""

    store: ExecutorStore
    evidence: EvidenceStore
    interpreter: Interpreter
    robots: Robots
    hint: Hint
    """Sends a hint by routing key; a failure is not an error."""
    executor: str
    instructions_max: int


class RunJob:
    """One run in hand."""

    def __init__(self, tools: Tools, run: dict[str, Any], before: str | None) -> None:
        self.run = run
        self.signals = Signals(stop=asyncio.get_running_loop().create_future())
        self._tools = tools
        self._before = before
        self._version: dict[str, Any] = {}
        self._settings: Mapping[str, Any] = {}
        self._base: bytes | None = None
        self._log = log.bind(run=run["_id"], worker=run["worker"], account=run["account"])

    def stop(self, stop: dict[str, Any]) -> None:
        """Have the run stop at its next host call, or cut the instruction in flight; the first reason counts."""
        if stop["kind"] == "after_task":
            self.signals.after_task = stop
        elif not self.signals.stop.done():
            self.signals.stop.set_result(stop)

    async def work(self) -> None:
        """Bring the run to its end.

        Raises: Superseded when another executor goes on with it.
        """
        store = self._tools.store
        entries = await store.steps(self.run["_id"])
        position = read_position(entries)
        version = await store.version(self.run["version"])
        workflow = await store.workflow(self.run["account"], self.run["workflow"])
        if version is None:
            text = f"version {self.run['version']} does not exist"
            await self._close(RunState.ABORTED, RunEnd.SCRIPT_BROKEN, text, self.run["tasks"])
            return
        self._version, self._settings = version, (workflow or {}).get("settings", {})
        self.journal = Journal(store, self._tools.evidence, self.run, version, entries, executor=self._tools.executor)
        self.phases = PhaseRunner(
            self.journal, self._tools.robots, self.signals,
            instruction_s=version["timeouts"]["instruction_s"], instructions_max=self._tools.instructions_max,
        )  # fmt: skip
        if self.run.get("abort"):
            self.stop(self.run["abort"])
        if entries and not position.ended:
            await self.journal.add_takeover(self._before)
            self._log.info("run taken over", before=self._before, seq=position.seq, waiting=position.waiting)
        await self._course(position)

    async def _course(self, position: Position) -> None:
        """Setup, tasks, teardown, from wherever the run stands."""
        if position.outcome is not None and position.outcome["phase"] == Phase.TASK:
            await self._apply(position.outcome)
        if position.ended:
            await self._finish(self._last_end())
            return
        if position.aborted is not None:
            self.stop(dict(position.aborted))
        lost, end, text, code = position.robot_lost, RunEnd.COMPLETED, "", ""
        if position.setup_ok is None and not lost:
            result = await self._setup(position)
            lost, text, code = result.robot_lost, result.message, result.code
            position = replace(position, phase=None, waiting=None, setup_ok=result.kind is EndKind.RETURNED)
        if not position.setup_ok:
            end = RunEnd.SETUP_FAILED
            text, code = (text, code) if code else self._setup_failure()
        elif not lost and not position.torn_down and position.phase is not Phase.TEARDOWN:
            lost, text, code = await self._tasks(position)
            end = RunEnd.STOPPED if code and self._not_begun() else end
        if not lost and not position.torn_down:
            lost = await self._teardown(position)
        await self._wind_up(end, text, code, lost=lost)

    async def _wind_up(self, end: RunEnd, text: str, code: str, *, lost: bool) -> None:
        """Say why the run ends, and close it."""
        stop = self.signals.stop.result() if self.signals.stop.done() else None
        if lost and (stop is None or stop["kind"] != "person"):
            end = RunEnd.ROBOT_LOST
        elif stop is not None:
            end = RunEnd.ABORTED
        elif self.signals.after_task is not None and self._not_begun():
            end = RunEnd.STOPPED
        early = end in (RunEnd.ROBOT_LOST, RunEnd.ABORTED)
        await self._close(
            RunState.ABORTED if early else RunState.FINISHED,
            end,
            str(stop["reason"]) if stop else text,
            self._not_begun(),
            code="" if stop else code,
        )

    def _not_begun(self) -> list[dict[str, Any]]:
        done = {
            entry["task"]
            for entry in self.journal.entries
            if entry["kind"] == Kind.OUTCOME and entry["phase"] == Phase.TASK
        }
        return [item for item in self.run["tasks"] if item["task"] not in done]

    # phases

    async def _setup(self, position: Position) -> PhaseEnd:
        await self._move(RunState.SETUP)
        resumed = position if position.phase is Phase.SETUP else None
        result = await self._phase(Phase.SETUP, self._group(), None, None, resumed)
        session = self._base if result.kind is EndKind.RETURNED else None
        try:
            await self.journal.add_outcome(_phase_outcome(result), session, robot_lost=result.robot_lost)
        except StateTooLarge as error:
            result = PhaseEnd(EndKind.SYSTEM, code="SCRIPT_LIMIT", message=str(error))
            await self.journal.add_outcome(_phase_outcome(result))
        if result.kind is not EndKind.RETURNED:
            self._log.warning("setup failed", code=result.code, message=result.message, line=result.line)
        return result

    def _setup_failure(self) -> tuple[str, str]:
        """Why setup failed, as the journal has it: text and code."""
        for entry in reversed(self.journal.entries):
            if entry["kind"] == Kind.OUTCOME and entry["phase"] == Phase.SETUP:
                error = entry["outcome"].get("error") or {}
                return str(error.get("message") or ""), str(error.get("code") or "")
        return "", ""

    async def _tasks(self, position: Position) -> tuple[bool, str, str]:
        """Every task that has no outcome yet; (robot lost, why the run stops early, code of that)."""
        await self._move(RunState.EXECUTING)
        for item in self.run["tasks"]:
            if item["task"] in position.done:
                continue
            if self.signals.stop.done():
                stop = self.signals.stop.result()
                return stop["kind"] == "robot_lost", str(stop["reason"]), ""
            if self.signals.after_task is not None:
                return False, str(self.signals.after_task["reason"]), ""
            resumed = position if position.phase is Phase.TASK and position.task == item["task"] else None
            result = await self._task(item, resumed)
            if result is not None and result.robot_lost:
                return True, result.message, ""
            if result is not None and result.code == LOGIN_REJECTED:
                return False, result.message, result.code  # the next task would try the same log-in
        return False, "", ""

    async def _task(self, item: Mapping[str, Any], position: Position | None) -> PhaseEnd | None:
        """One attempt at one task; None when the run holds the task no more."""
        task, attempt = item["task"], item["attempt"]
        held_by = {"run": self.run["_id"], "attempt": attempt}
        document = await self._tools.store.start_task(task, held_by, self.journal.seq + 1)
        if document is None:
            self._log.warning("task is no longer held by this run", task=task)
            return None
        if document.get("cancel"):
            self.signals.cancelled[task] = document["cancel"]["command"]
        await self._tools.store.note_task(self.run, task, "running", None)
        timer = self._timer(position.elapsed_s if position else 0.0)
        try:
            result = await self._phase(Phase.TASK, document["input"], task, attempt, position)
        finally:
            timer.cancel()
        asked = asked_in_task([*self.journal.entries, self._noted(task, attempt)], task, attempt)
        outcome = task_outcome(result, policy=self._policy(), attempt=attempt, may_have_acted=may_have_acted(asked))
        if result.robot_lost and all(one.answered == "refused" for one in asked):
            outcome = returned_outcome(f"robot lost before it began: {result.message}")
        if result.code == STOP_CODES["task_timeout"]:
            await self._tell_timeout(task, attempt, result.message)
        if outcome.error is not None:
            outcome.error["recent"] = self.journal.recent()
        entry = await self.journal.add_outcome(outcome, robot_lost=result.robot_lost)
        await self._apply(entry)
        self._log.info("task ended", task=task, state=outcome.state, code=result.code, message=result.message[:200])
        return result

    async def _tell_timeout(self, task: str, attempt: int, text: str) -> None:
        event = event_document(
            EventKind.TASK_TIMED_OUT, service="executor", severity=Severity.WARNING, target=task, text=text,
            account=self.run["account"], id=f"task_timed_out/{task}/{attempt}", at=now(),
            facts={"run": self.run["_id"], "workflow": self.run["workflow"], "worker": self.run["worker"]},
        )  # fmt: skip
        await raise_event(self._tools.store.mongo, event)

    async def _teardown(self, position: Position) -> bool:
        """Close what setup opened; true when the robot was lost. A failure here changes no task's outcome."""
        await self._move(RunState.TEARDOWN)
        if self.signals.stop.done():
            self.phases = PhaseRunner(
                self.journal, self._tools.robots, Signals(stop=asyncio.get_running_loop().create_future()),
                instruction_s=self._version["timeouts"]["instruction_s"], instructions_max=self._tools.instructions_max,
            )  # fmt: skip
        resumed = position if position.phase is Phase.TEARDOWN else None
        result = await self._phase(Phase.TEARDOWN, self._group(), None, None, resumed)
        await self.journal.add_outcome(_phase_outcome(result), robot_lost=result.robot_lost)
        if result.kind is not EndKind.RETURNED:
            self._log.warning("teardown failed", code=result.code, message=result.message, line=result.line)
        return result.robot_lost

    async def _phase(
        self, phase: Phase, argument: dict[str, Any], task: str | None, attempt: int | None, position: Position | None
    ) -> PhaseEnd:
        """Run a phase from its beginning, or from the instruction that `position` waits for."""
        script = self._script()
        opened = self._tools.interpreter.session(
            script=script,
            source=self._version["files"][script],
            objects=self._version["objects"],
            seed=self.run["seed"],
        )
        waiting = position.waiting if position else None
        async with opened as session:
            if waiting is None:
                if position is None:
                    await self.journal.begin(phase, task, attempt)
                else:
                    self.journal.enter(phase, task, attempt, elapsed_s=position.elapsed_s)
                result = await self._begin(session, phase, argument)
            else:
                assert position is not None
                self.journal.enter(phase, task, attempt, elapsed_s=position.elapsed_s)
                result = await self._go_on(session, phase, argument, waiting)
            if phase is Phase.SETUP and result.kind is EndKind.RETURNED:
                self._base = await session.dump_state()
        return result

    async def _begin(self, session: Session, phase: Phase, argument: dict[str, Any]) -> PhaseEnd:
        broken = await self._prepare(session, phase)
        if broken is not None:
            return broken
        return await self.phases.drive(session, await session.call(*_call(phase), argument))

    async def _go_on(self, session: Session, phase: Phase, argument: dict[str, Any], waiting: int) -> PhaseEnd:
        """Back to the stop at the instruction that waits; by its snapshot, or by playing the phase again."""
        entry = next(entry for entry in self.journal.entries if entry["seq"] == waiting)
        try:
            dump = await self._tools.store.dump(self.run["_id"], waiting, "snapshot")
            if dump is None or entry.get("format") != FORMAT:
                raise SnapshotUnreadable("missing, not authentic, or of another interpreter")
            await session.load_stop(dump)
        except SnapshotUnreadable as error:
            self._log.warning("snapshot unreadable, replaying the phase", seq=waiting, reason=str(error))
            broken = await self._replay(session, phase, argument)
            if broken is not None:
                return broken
        return await self.phases.go_on(session, entry)

    async def _replay(self, session: Session, phase: Phase, argument: dict[str, Any]) -> PhaseEnd | None:
        broken = await self._prepare(session, phase)
        if broken is not None:
            return broken
        entries = self.journal.entries
        first = max(i for i, entry in enumerate(entries) if entry["kind"] == Kind.PHASE)
        try:
            await replay(
                session,
                await session.call(*_call(phase), argument),
                entries[first:],
                self._version["timeouts"]["instruction_s"],
            )
        except ReplayDiverged as error:
            return PhaseEnd(EndKind.SYSTEM, code="REPLAY_DIVERGED", message=str(error))
        return None

    async def _prepare(self, session: Session, phase: Phase) -> PhaseEnd | None:
        """Load the script for setup, or the state that setup left for everything after it."""
        if phase is not Phase.SETUP and self._base is None:
            self._base = await self._stored_base()
        if phase is not Phase.SETUP and self._base is not None:
            try:
                await session.load_state(self._base)
                return None
            except SnapshotUnreadable as error:
                return PhaseEnd(EndKind.SYSTEM, code="SESSION_UNREADABLE", message=str(error))
        failed = await session.load_source()
        if failed is None:
            return None
        return PhaseEnd(
            EndKind.SYSTEM, code=failed.code, message=failed.message, line=failed.line, traceback=failed.traceback
        )

    async def _stored_base(self) -> bytes | None:
        for entry in reversed(self.journal.entries):
            if entry["kind"] == Kind.OUTCOME and entry["phase"] == Phase.SETUP:
                return await self._tools.store.dump(self.run["_id"], entry["seq"], "session")
        return None

    # what is written besides the journal

    async def _apply(self, entry: Mapping[str, Any]) -> None:
        """Bring a stored outcome to its task, once, and tell whoever goes on with it."""
        outcome = TaskOutcome(**entry["outcome"])
        task = entry["task"]
        begun = [e["seq"] for e in self.journal.entries if e["kind"] == Kind.PHASE and e["task"] == task]
        evidence = await self._tools.evidence.of_task(self.run["_id"], task, begun[-1] if begun else 0)
        held_by = {"run": self.run["_id"], "attempt": entry["attempt"]}
        applied = await self._tools.store.end_task(task, held_by, entry["seq"], outcome, evidence)
        if applied:
            OUTCOMES.labels(str(outcome.state)).inc()
            await self._cancelled(task, str(outcome.state))
        returned = outcome.state == ReturnReason.NOT_STARTED
        failure = outcome.error if outcome.state != TaskState.SUCCEEDED and not returned else None
        await self._tools.store.note_task(
            self.run, task, "returned" if returned else "ended", str(outcome.state), failure=failure
        )
        await self._tell(task, str(outcome.state))

    async def _cancelled(self, task: str, state: str) -> None:
        """Tell whoever asked for a cancellation what came of it."""
        command = self.signals.cancelled.pop(task, None)
        if command is None:
            return
        if state == TaskState.CANCELLED:
            await commands.finish(self._tools.store.mongo, command, "done")
        elif state not in tuple(ReturnReason):
            await commands.finish(self._tools.store.mongo, command, "refused", f"the task ended first: {state}")

    async def _tell(self, task: str, state: str) -> None:
        if state in tuple(ReturnReason):
            await self._tools.hint("task.returned", TaskReturned(task=task, run=self.run["_id"]))
        else:
            await self._tools.hint("task.finished", TaskFinished(task=task, event=state))

    async def _close(
        self, state: RunState, end: RunEnd, text: str, left: list[dict[str, Any]], *, code: str = ""
    ) -> None:
        """Give back the tasks that were not begun, end the journal, and hand the run to the scheduler."""
        ended = {"state": state, "reason": end, "text": text[:1000], "code": code}
        await self._give_back(end, text, left)
        if hasattr(self, "journal"):
            if self.signals.stop.done():
                await self.journal.add_abort(self.signals.stop.result())
            await self.journal.add_end(ended)
        await self._finish(ended)

    async def _give_back(self, end: RunEnd, text: str, left: list[dict[str, Any]]) -> None:
        """The tasks that were not begun go back as they were; after repeated failures of setup a person looks at
        them."""
        tasks = await self._tools.store.tasks([item["task"] for item in left])
        for item in left:
            failures = int(tasks.get(item["task"], {}).get("setup_failures", 0))
            outcome = given_back(end, text, setup_failures=failures)
            held_by = {"run": self.run["_id"], "attempt": item["attempt"]}
            if await self._tools.store.end_task(item["task"], held_by, 0, outcome, []):
                await self._tools.store.note_task(self.run, item["task"], "returned", str(outcome.state))
                await self._tell(item["task"], str(outcome.state))

    async def _finish(self, ended: Mapping[str, Any]) -> None:
        pending = {"to": "scheduler", "what": "finished", "since": now(), "due_at": now(), "claims": 0}
        fields = {
            "end": {key: ended.get(key, "") for key in ("reason", "text", "code")}, "finished_at": now(),
            "pending": pending, "executor": None, "trim": True,
            "last_seq": self.journal.seq if hasattr(self, "journal") else 0,
        }  # fmt: skip
        await self._tools.store.move_run(self.run, self.run["token"], RunState(ended["state"]), fields)
        self._log.info("run ended", state=str(ended["state"]), reason=str(ended["reason"]), text=ended["text"])
        await self._tools.robots.run_ended(self.run)
        await self._tools.hint("run.finished", RunFinished(run=self.run["_id"], worker=self.run["worker"]))
        await self._tools.store.trim(self.run["_id"])

    async def _move(self, state: RunState) -> None:
        if self.run["state"] == state:
            return
        fields = {"started_at": now()} if state is RunState.SETUP else {}
        await self._tools.store.move_run(self.run, self.run["token"], state, fields)
        self.run["state"] = state

    # small things

    def _timer(self, elapsed_s: float) -> asyncio.TimerHandle:
        """Stops the run when the task in hand has had its time."""
        limit = float(self._version["timeouts"]["task_s"])
        stop = {"kind": "task_timeout", "reason": f"the task took longer than {limit:.0f} s", "by": "executor"}
        return asyncio.get_running_loop().call_later(max(0.0, limit - elapsed_s), self.stop, stop)

    def _policy(self) -> RetryPolicy:
        retry = self._settings.get("retry") or {}
        return RetryPolicy(
            attempts=int(retry.get("attempts", 1)),
            position=RetryPosition(retry.get("position", "end")),
            delay_s=float(retry.get("delay_s", 60.0)),
            in_doubt=InDoubtPolicy(retry.get("in_doubt", "hold")),
        )

    def _script(self) -> str:
        """The file of the run's scenario."""
        scenarios = self._version["scenarios"]
        named = [one for one in scenarios if one["name"] == self.run["scenario"]]
        return str((named or scenarios)[0]["script"])

    def _group(self) -> dict[str, Any]:
        """What setup and teardown see: the values that the run's tasks share, never those of one task."""
        return dict(self.run.get("group") or {})

    def _noted(self, task: str, attempt: int) -> dict[str, Any]:
        """The reply that has not been stored yet, as if it were an entry."""
        return {"kind": "noted", "task": task, "attempt": attempt, "reply": self.journal.noted_reply}

    def _last_end(self) -> Mapping[str, Any]:
        end: Mapping[str, Any] = self.journal.entries[-1]["end"]
        return end


def _call(phase: Phase) -> tuple[str, str]:
    """Function and name of its argument."""
    return ("execute", "task") if phase is Phase.TASK else (phase.value, "group")


def _phase_outcome(result: PhaseEnd) -> TaskOutcome:
    """Outcome of setup or teardown, in the shape that a task's has."""
    if result.kind is EndKind.RETURNED:
        return TaskOutcome("succeeded")
    error = {
        "kind": result.kind,
        "code": result.code,
        "message": result.message,
        "line": result.line,
        "traceback": result.traceback,
    }
    return TaskOutcome("failed", error=error)
