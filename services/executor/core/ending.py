"""How a phase ends, and what that means for a task: its outcome as data, ready to be stored.

Called by: services/executor/runner.py. The rule of repetition stands in shared.domain.retry; here it is applied to
what the journal says was done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

from services.executor.core.calls import BusinessErrorCall, Call, LoginRejectedCall
from services.executor.core.plain import NotPlain, plain
from shared.domain.retry import RetryPolicy, Verdict, after_failure, backoff_s
from shared.domain.run_state import RunEnd, RunState
from shared.domain.task_state import LOGIN_REJECTED, FailureKind, HoldReason, ReturnReason, TaskState

OUTPUT_SIZE_BYTES_MAX = 256 * 1024
TRACEBACK_LINES_MAX = 50
SETUP_PAUSE_S = 5.0
SETUP_PAUSE_S_MAX = 600.0
ABORTED = "ABORTED"
"""Code of a phase that was cut because a person aborted its run."""


class EndKind(StrEnum):
    """How a phase of the script ended."""

    RETURNED = "returned"
    BUSINESS = "business"
    SYSTEM = "system"
    IN_DOUBT = "in_doubt"
    CANCELLED = "cancelled"


@dataclass(frozen=True)
class PhaseEnd:
    """How a phase ended."""

    kind: EndKind
    output: Any = None
    code: str = ""
    message: str = ""
    line: int | None = None
    traceback: list[dict[str, Any]] = field(default_factory=list)
    robot_lost: bool = False
    """The run can't go on on this robot."""


@dataclass(frozen=True)
class TaskOutcome:
    """What becomes of a task; stored in the journal's outcome entry before it is applied to the task."""

    state: str
    """A TaskState, or the ReturnReason for a task that goes back to the scheduler."""
    output: Any = None
    error: dict[str, Any] | None = None
    hold: dict[str, Any] | None = None
    delay_s: float = 0.0
    """For a task that goes back: how long it stays out of the queue, because trying at once would fail again."""

    def as_document(self) -> dict[str, Any]:
        """As stored."""
        return asdict(self)


@dataclass(frozen=True)
class RunClose:
    """How a run ends."""

    state: RunState
    reason: RunEnd
    text: str = ""
    """For people."""
    code: str = ""
    """Of the failure that ended it, if one did."""

    def as_document(self) -> dict[str, Any]:
        """As the journal's last entry holds it."""
        return {"state": self.state, "reason": self.reason, "text": self.text[:1000], "code": self.code}

    @staticmethod
    def from_document(end: Mapping[str, Any]) -> RunClose:
        """From the journal's last entry."""
        text, code = str(end.get("text") or ""), str(end.get("code") or "")
        return RunClose(RunState(end["state"]), RunEnd(end["reason"]), text, code)

    @staticmethod
    def parked() -> RunClose:
        """Not an end: why the tasks of a run go back that gives up its robot to wait."""
        return RunClose(RunState.WAITING, RunEnd.PARKED, "its run gave the robot back while it waits")


def called_end(call: Call, line: int | None) -> PhaseEnd | None:
    """The end that a script calls for, or none."""
    if isinstance(call, BusinessErrorCall):
        return PhaseEnd(EndKind.BUSINESS, code="BUSINESS", message=call.message, line=line)
    if isinstance(call, LoginRejectedCall):
        return PhaseEnd(EndKind.SYSTEM, code=LOGIN_REJECTED, message=call.message, line=line)
    return None


def outcome_of_phase(end: PhaseEnd) -> TaskOutcome:
    """Outcome of setup, a keep-alive or teardown, in the shape that a task's has."""
    if end.kind is EndKind.RETURNED:
        return TaskOutcome(TaskState.SUCCEEDED)
    return TaskOutcome(TaskState.FAILED, error=_error(end))


def checked_output(output: Any) -> tuple[Any, str | None]:
    """A script's return value as JSON, or the reason why it can't be one: (value, None) or (None, reason)."""
    if output is None:
        output = {}
    if not isinstance(output, dict):
        return None, f"execute must return a dict, not {type(output).__name__}"
    try:
        return plain(output, size_bytes_max=OUTPUT_SIZE_BYTES_MAX), None
    except NotPlain as error:
        return None, f"the result can't be kept: {error}. Return less, or keep it as evidence"


def task_outcome(end: PhaseEnd, *, policy: RetryPolicy, attempt: int, may_have_acted: bool) -> TaskOutcome:
    """What becomes of the task whose `execute` ended so.

    `attempt` counts from 1; `may_have_acted`: its journal holds a commit, or an act unanswered or in doubt.
    """
    if end.kind is EndKind.RETURNED:
        output, problem = checked_output(end.output)
        if problem is None:
            return TaskOutcome(TaskState.SUCCEEDED, output=output)
        end = PhaseEnd(EndKind.SYSTEM, code="BAD_RESULT", message=problem)
    error = _error(end)
    if end.kind is EndKind.CANCELLED:
        return TaskOutcome(TaskState.CANCELLED, error=error)
    kind = FailureKind(end.kind.value)
    verdict = after_failure(policy, kind=kind, attempt=attempt, may_have_acted=may_have_acted)
    if verdict is Verdict.RETRY:
        return TaskOutcome(ReturnReason.RETRY, error=error)
    if verdict is Verdict.HOLD:
        hold = {"reason": HoldReason.IN_DOUBT, "text": _doubt(end)}
        return TaskOutcome(TaskState.HELD, error=error, hold=hold)
    return TaskOutcome(TaskState.FAILED, error=error)


def aborted_by_its_canceller(end: PhaseEnd, *, cancelled: bool, may_have_acted: bool) -> PhaseEnd:
    """The end of a task whose run was aborted because somebody wanted the task cancelled at once: cancelled.

    Unless an act that can't be taken back may have been done: then it is a failure in doubt as any other.
    """
    if cancelled and end.code == ABORTED and not may_have_acted:
        return replace(end, kind=EndKind.CANCELLED)
    return end


def returned_outcome(reason: str, delay_s: float = 0.0) -> TaskOutcome:
    """The outcome of a task that the run never began."""
    error = {"kind": "system", "code": "NOT_STARTED", "message": reason}
    return TaskOutcome(ReturnReason.NOT_STARTED, error=error, delay_s=delay_s)


def given_back(end: RunEnd, text: str, *, setup_failures: int) -> TaskOutcome:
    """What becomes of a task that a run gives back unbegun.

    `setup_failures`: how often setup failed before for this task. A failing setup must not spin: each time the task
    stays out of the queue for longer. It is never held for that: the scheduler holds the scenario, not its tasks."""
    reason = f"{end}: {text}"[:500]
    if end is not RunEnd.SETUP_FAILED:
        return returned_outcome(reason)
    delay_s = backoff_s(setup_failures + 1, first_s=SETUP_PAUSE_S, factor=3.0, max_s=SETUP_PAUSE_S_MAX)
    return returned_outcome(reason, delay_s)


def _error(end: PhaseEnd) -> dict[str, Any]:
    return {
        "kind": "system" if end.kind is EndKind.CANCELLED else end.kind.value,
        "code": end.code or end.kind.value.upper(),
        "message": end.message,
        "line": end.line,
        "traceback": end.traceback[-TRACEBACK_LINES_MAX:],
    }


def _doubt(end: PhaseEnd) -> str:
    return f"an act that can't be taken back may have been done, then: {end.message or end.code}"[:2000]
