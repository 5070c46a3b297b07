"""The course of one run: setup, each task from the state that setup left, teardown, end.

Called by: recovery.py (one asyncio task per run in hand). Survives a crash: the journal. `RunJob.work` begins by
reading where the run stands, so it is the same code for a new run, for one taken over, and for one that was parked: an
outcome that was stored but not applied is applied, a phase in hand goes on at its last instruction, and what was never
begun begins. Change also: core/journal.py, ARCHITECTURE.md (hand-offs)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from services.executor.core.ending import (
    EndKind,
    PhaseEnd,
    RunClose,
    aborted_by_its_canceller,
    outcome_of_phase,
    returned_outcome,
    task_outcome,
)
from services.executor.core.failing import failure
from services.executor.core.journal import InHand, Phase, Standing, attempt_of, desk_of
from services.executor.core.warm import WARM_TASKS_MAX, warm_wait
from services.executor.journal import Journal
from services.executor.outcomes import Outcomes
from services.executor.performing import Performer, stopped_end
from services.executor.phase import PhaseRunner
from services.executor.scripts import Scripts
from services.executor.signals import DEFECT, PHASE_TIMEOUT, STOP_CODES, Signals
from services.executor.spans import RunSpans
from services.executor.store import StateTooLarge, Superseded
from services.executor.tools import Tools
from services.executor.waiting import Park, Waiting
from shared.domain.retry import InDoubtPolicy, RetryPolicy, RetryPosition
from shared.domain.run_state import RunEnd, RunState
from shared.domain.task_state import LOGIN_REJECTED
from shared.obs.clock import now
from shared.obs.logs import get_logger

FAILURE_STEPS = 50
"""Entries of the journal in which the instruction that failed is looked for."""
log = get_logger("executor.run")
DEFECTS_MAX = 5
"""Failures of the executor itself at one place of a run; then the run is stopped."""


class RunJob:
    """One run in hand."""

    def __init__(self, tools: Tools, run: dict[str, Any], before: str | None) -> None:
        self.run = run
        self.signals = Signals(stop=asyncio.get_running_loop().create_future())
        self._tools = tools
        self._before = before
        self._version: Mapping[str, Any] = {}
        self._settings: Mapping[str, Any] = {}
        self.spans = RunSpans(tools.store, run)
        self._outcomes = Outcomes(tools, run, self.signals, self.spans)
        self._log = log.bind(run=run["_id"], worker=run["worker"], account=run["account"])

    def stop(self, stop: dict[str, Any]) -> None:
        """Have the run stop at its next host call, or cut the instruction in flight; the first reason counts."""
        if stop["kind"] == "after_task":
            self.signals.after_task = stop
        else:
            self.signals.end(stop)

    async def work(self) -> None:
        """Bring the run to its end, or to where it has to wait.

        Raises: Superseded when another executor goes on with it.
        """
        store = self._tools.store
        standing = await store.standing(self.run["_id"])
        if standing.token > self.run["token"]:
            raise Superseded(f"run {self.run['_id']}: its journal went on under token {standing.token}")
        version = await store.version(self.run["version"])
        workflow = await store.workflow(self.run["account"], self.run["workflow"])
        if version is None:
            text = f"version {self.run['version']} does not exist"
            broken = RunClose(RunState.ABORTED, RunEnd.SCRIPT_BROKEN, text)
            await self._outcomes.close(broken, self.run["tasks"], None)
            return
        self._version, self._settings = version, (workflow or {}).get("settings", {})
        self.journal = Journal(store, self._tools.evidence, self.run, version, standing, executor=self._tools.executor)
        self._scripts = Scripts(self._tools.interpreter, store, self.journal, version)
        if self.run.get("abort"):
            self.stop(self.run["abort"])
        if await self._is_hopeless(standing):
            return
        if standing.seq and standing.end is None:
            if self._before is not None:
                await self.spans.taken_over(standing.seq)
            await self.journal.add_takeover(self._before)
            self._log.info("run goes on", before=self._before, seq=standing.seq, state=self.run["state"])
        await self._tools.pacing.ready(self.run["account"], self.run["workflow"])
        try:
            await self._course(standing)
        except Park as parked:
            await self._outcomes.park(parked.wait, self._not_begun())

    @property
    def mark(self) -> str:
        """How far the run has come; the same after another try means that the try brought nothing."""
        return self.journal.standing.mark if hasattr(self, "journal") else ""

    async def _is_hopeless(self, standing: Standing) -> bool:
        """Whether the executor failed so often at the same place that the run was ended as it is; before that, it is
        to stop. The scheduler judges the tasks of a run that ended so by its journal."""
        trouble = self.run.get("trouble") or {}
        if trouble.get("mark") != standing.mark or trouble["times"] < DEFECTS_MAX:
            return False
        text = f"the executor failed {trouble['times']} times at the same place: {trouble['text']}"
        self.stop({"kind": DEFECT, "reason": text, "by": "executor"})
        if trouble["times"] < 2 * DEFECTS_MAX or standing.end is not None:
            return False
        await self._outcomes.finish(RunClose(RunState.ABORTED, RunEnd.SCRIPT_BROKEN, text), standing.seq)
        return True

    async def _course(self, standing: Standing) -> None:
        """Setup, tasks, teardown, from wherever the run stands."""
        outcome = standing.outcome
        if outcome is not None and outcome["phase"] == Phase.TASK:
            await self._outcomes.apply(outcome, standing.begun.get(attempt_of(outcome), 0))
        if standing.end is not None:
            await self._outcomes.finish(RunClose.from_document(standing.end), standing.seq)
            return
        if standing.aborted is not None:
            self.stop(dict(standing.aborted))
        lost, text, code = standing.robot_lost, "", ""
        if self._gave_back and self.run["state"] == RunState.OPENED:  # it only ends, without another robot
            await self._outcomes.move(RunState.SETUP)
        if self._needs_setup(standing) and not lost:
            result = await self._setup(standing)
            lost, text, code = result.robot_lost, result.message, result.code
        if not standing.setup_ok:
            error = standing.setup_error
            text, code = text or str(error.get("message") or ""), code or str(error.get("code") or "")
            await self._end_task_aside(standing, text)
            end = RunEnd.SETUP_FAILED
        else:
            end = RunEnd.COMPLETED
            leaving = self.run["state"] == RunState.TEARDOWN  # decided before, though nothing of it may stand yet
            if not lost and not standing.torn_down and not leaving:
                lost, text, code = await self._work_off(standing)
                end = RunEnd.STOPPED if code and self._not_begun() else end
        if not lost and not standing.torn_down:
            lost = await self._teardown(standing) if self._has_desk(standing) else await self._nothing_to_tear_down()
        await self._wind_up(end, text, code, lost=lost)

    def _needs_setup(self, standing: Standing) -> bool:
        """Whether setup was never made, or was made for a robot that the run has given back since."""
        if _is_in(standing, Phase.SETUP) or standing.setup_ok is None:
            return True
        return not self._gave_back and standing.setup_desk != desk_of(self.run)

    @property
    def _gave_back(self) -> bool:
        """Whether it gave its robot back, and has no other one."""
        return self.run.get("worker") is None and self.run["epoch"] != 0

    async def _nothing_to_tear_down(self) -> bool:
        """Its robot was given back, or never set up: it only ends. False: no robot was lost."""
        await self._outcomes.move(RunState.TEARDOWN)
        return False

    def _has_desk(self, standing: Standing) -> bool:
        """Whether there is something that teardown could close: not where the robot was given back."""
        if self.run.get("worker") is None:
            return self.run["epoch"] == 0
        return standing.setup_desk == desk_of(self.run)

    async def _wind_up(self, end: RunEnd, text: str, code: str, *, lost: bool) -> None:
        """Say why the run ends, and close it."""
        stop = self.signals.stop.result() if self.signals.stop.done() else None
        if stop is not None and stop["kind"] == PHASE_TIMEOUT:
            stop = None
        if lost and (stop is None or stop["kind"] != "person"):
            end = RunEnd.ROBOT_LOST
        elif stop is not None:
            end = RunEnd.ABORTED
        elif self.signals.after_task is not None and (self._not_begun() or self.run.get("warm")):
            end = RunEnd.STOPPED
        elif self.journal.standing.warm_lost and end is RunEnd.COMPLETED:
            end = RunEnd.WARM_LOST
        early = end in (RunEnd.ROBOT_LOST, RunEnd.ABORTED)
        state = RunState.ABORTED if early else RunState.FINISHED
        closed = RunClose(state, end, str(stop["reason"]) if stop else text, "" if stop else code)
        await self._outcomes.close(closed, self._not_begun(), self.journal)

    def _not_begun(self) -> list[dict[str, Any]]:
        """Tasks without an outcome, but for the one in hand."""
        standing = self.journal.standing
        hands = [(hand.task, hand.attempt) for hand in (standing.hand, standing.aside) if hand is not None]
        gone = {*standing.done, *hands}
        return [item for item in self.run["tasks"] if attempt_of(item) not in gone]

    # phases

    async def _setup(self, standing: Standing) -> PhaseEnd:
        await self._outcomes.move(RunState.SETUP)
        hand = standing.hand if _is_in(standing, Phase.SETUP) else None
        result = await self._timed(Phase.SETUP, self.signals, hand)
        again = standing.aside is not None
        session = self._scripts.base if result.kind is EndKind.RETURNED and not again else None
        outcome = outcome_of_phase(result)
        if outcome.error is not None:
            outcome.error.update(await self._failure(outcome.error, standing.phase_seq), recent=self.journal.recent())
        try:
            await self.journal.add_outcome(outcome, session, robot_lost=result.robot_lost)
        except StateTooLarge as error:
            result = PhaseEnd(EndKind.SYSTEM, code="SCRIPT_LIMIT", message=str(error))
            await self.journal.add_outcome(outcome_of_phase(result))
        if result.kind is not EndKind.RETURNED:
            self._log.warning("setup failed", code=result.code, message=result.message, line=result.line)
        return result

    async def _work_off(self, standing: Standing) -> tuple[bool, str, str]:
        """Every task that has no outcome yet, then, in a warm run, a wait for more.

        Returns: whether the robot was lost, why the run stops early, code of that. Raises: Park.
        """
        if _is_in(standing, Phase.KEEPALIVE) or self._keep_alive_is_due():
            lost = await self._keep_alive(standing)
            if lost or standing.warm_lost:
                return lost, "the session could not be kept alive", ""
        result = await self._tasks(standing)
        stops = self.signals.stop.done() or self.signals.after_task is not None
        if self.run.get("warm") and not any(result) and not stops and len(standing.done) < WARM_TASKS_MAX:
            raise Park(warm_wait(self._scripts.scenario, standing.seq, now()))
        return result

    async def _tasks(self, standing: Standing) -> tuple[bool, str, str]:
        await self._outcomes.move(RunState.EXECUTING, wait=None)
        for item in self.run["tasks"]:
            if attempt_of(item) in standing.done:
                continue
            in_hand = standing.hand is not None and (standing.hand.task, standing.hand.attempt) == attempt_of(item)
            if standing.login_rejected is not None and not in_hand:
                break  # the next task would try the same log-in
            if self.signals.stop.done() and not in_hand:
                stop = self.signals.stop.result()
                return stop["kind"] == "robot_lost", str(stop["reason"]), ""
            if self.signals.after_task is not None and not in_hand:
                return False, str(self.signals.after_task["reason"]), ""
            result = await self._task(item, standing.hand if in_hand else None)
            if result is not None and result.robot_lost:
                return True, result.message, ""
        if standing.login_rejected is not None:
            return False, standing.login_rejected, LOGIN_REJECTED
        return False, "", ""

    async def _task(self, item: Mapping[str, Any], hand: InHand | None) -> PhaseEnd | None:
        """One attempt at one task; None when the run holds the task no more. Raises: Park."""
        task, attempt = item["task"], item["attempt"]
        held_by = {"run": self.run["_id"], "attempt": attempt}
        document = await self._tools.store.start_task(task, held_by, self.journal.seq + 1)
        if document is None:
            self._log.warning("task is no longer held by this run", task=task)
            return None
        if document.get("cancel"):
            self.signals.cancelled[task] = document["cancel"]["command"]
        await self._tools.store.note_task(self.run, task, "running", None, attempt=attempt)
        timer = self._timer(hand.elapsed_s if hand else 0.0)
        with self.spans.of_attempt(document, attempt):
            try:
                result = await self._scripts.run(
                    self._phases(self.signals), Phase.TASK, document["input"], task=task, attempt=attempt, hand=hand
                )
            finally:
                timer.cancel()
            await self._end_task(task, attempt, result)
        return result

    async def _end_task(self, task: str, attempt: int, result: PhaseEnd) -> None:
        """Store what became of the task in hand, then bring it to the task."""
        standing, noted = self.journal.standing, self.journal.noted_reply
        acted = standing.may_have_acted(noted)
        ended = aborted_by_its_canceller(result, cancelled=task in self.signals.cancelled, may_have_acted=acted)
        outcome = task_outcome(ended, policy=self._policy(), attempt=attempt, may_have_acted=acted)
        if result.robot_lost and standing.refused_only(noted):
            outcome = returned_outcome(f"robot lost before it began: {result.message}")
        if result.code == STOP_CODES["task_timeout"]:
            await self._outcomes.tell_timeout(task, attempt, result.message)
        begun = standing.begun.get((task, attempt), 0)
        if outcome.error is not None:
            outcome.error.update(await self._failure(outcome.error, begun), recent=self.journal.recent())
        entry = await self.journal.add_outcome(outcome, robot_lost=result.robot_lost)
        await self._outcomes.apply(entry, begun)
        self._log.info("task ended", task=task, state=outcome.state, code=result.code, message=result.message[:200])

    async def _failure(self, error: Mapping[str, Any], first: int) -> dict[str, Any]:
        """What is kept with a failure besides its text: which instruction failed, and what the robot saw.

        first: seq at which the phase began.
        """
        since = max(first, self.journal.seq - FAILURE_STEPS)
        entries = await self._tools.store.steps_since(self.run["_id"], since)
        return failure(error, entries, self.journal.noted_reply)

    async def _end_task_aside(self, standing: Standing, text: str) -> None:
        """The task that gave its robot back can't go on: the new robot could not be set up for it."""
        hand = standing.hand
        if hand is None or hand.phase is not Phase.TASK or hand.task is None or hand.attempt is None:
            return
        self.journal.enter(Phase.TASK, hand.task, hand.attempt, elapsed_s=hand.elapsed_s)
        failed = PhaseEnd(EndKind.SYSTEM, code="SETUP_FAILED", message=f"setup failed on its new robot: {text}")
        if self.signals.stop.done():
            failed = stopped_end(self.signals)
        await self._end_task(hand.task, hand.attempt, failed)

    async def _keep_alive(self, standing: Standing) -> bool:
        """Have the script keep its session alive; true when the robot was lost."""
        await self._outcomes.move(RunState.EXECUTING, wait=None)
        hand = standing.hand if _is_in(standing, Phase.KEEPALIVE) else None
        result = await self._timed(Phase.KEEPALIVE, self.signals, hand)
        await self.journal.add_outcome(outcome_of_phase(result), robot_lost=result.robot_lost)
        if result.kind is not EndKind.RETURNED:
            self._log.warning("keep-alive failed", code=result.code, message=result.message, line=result.line)
        return result.robot_lost

    def _keep_alive_is_due(self) -> bool:
        wait = self.run.get("wait") or {}
        stops = self.signals.stop.done() or self.signals.after_task is not None
        return wait.get("kind") == "warm" and wait["due_at"] <= now() and not stops

    async def _teardown(self, standing: Standing) -> bool:
        """Close what setup opened; true when the robot was lost. A failure here changes no task's outcome."""
        await self._outcomes.move(RunState.TEARDOWN)
        signals = self.signals
        if signals.stop.done():
            signals = Signals(stop=asyncio.get_running_loop().create_future())
        hand = standing.hand if _is_in(standing, Phase.TEARDOWN) else None
        result = await self._timed(Phase.TEARDOWN, signals, hand)
        await self.journal.add_outcome(outcome_of_phase(result), robot_lost=result.robot_lost)
        if result.kind is not EndKind.RETURNED:
            self._log.warning("teardown failed", code=result.code, message=result.message, line=result.line)
        return result.robot_lost

    # small things

    async def _timed(self, phase: Phase, signals: Signals, hand: InHand | None) -> PhaseEnd:
        """Run setup, a keep-alive or teardown, for as long as a task may take. Raises: Park, Superseded."""
        limit_s = float(self._version["timeouts"]["task_s"])
        stop = {"kind": PHASE_TIMEOUT, "reason": f"{phase} took longer than {limit_s:.0f} s", "by": "executor"}
        left_s = max(0.0, limit_s - (hand.elapsed_s if hand else 0.0))
        timer = asyncio.get_running_loop().call_later(left_s, signals.end, stop)
        begun = self.journal.standing.phase_seq if hand is not None else self.journal.seq + 1
        try:
            with self.spans.of_phase(begun):
                result = await self._scripts.run(self._phases(signals), phase, self._group(), hand=hand)
        finally:
            timer.cancel()
        await self.spans.phase_ended(begun, str(phase), "" if result.kind is EndKind.RETURNED else result.code)
        return result

    def _phases(self, signals: Signals) -> PhaseRunner:
        """What drives a phase. signals: the run's own; teardown has others once the run was stopped."""
        tools = self._tools
        waiting = Waiting(self.journal, tools.waits, tools.hint)
        performer = Performer(self.journal, waiting, tools, self.spans)
        return PhaseRunner(
            self.journal, performer, signals,
            instruction_s=float(self._version["timeouts"]["instruction_s"]),
            limits=self._tools.limits,
        )  # fmt: skip

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

    def _group(self) -> dict[str, Any]:
        """What setup and teardown see: the values that the run's tasks share, never those of one task."""
        return dict(self.run.get("group") or {})


def _is_in(standing: Standing, phase: Phase) -> bool:
    return standing.hand is not None and standing.hand.phase is phase
