"""How a phase ends, and what that means for a task: its outcome as data, ready to be stored.

Called by: services/executor/runner.py. The rule of repetition stands in shared.domain.retry; here it is applied to
what the journal says was done."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from shared.domain.retry import RetryPolicy, Verdict, after_failure, backoff_s
from shared.domain.run_state import RunEnd
from shared.domain.task_state import FailureKind, HoldReason, ReturnReason, TaskState

OUTPUT_SIZE_BYTES_MAX = 256 * 1024
TRACEBACK_LINES_MAX = 50
SETUP_FAILURES_MAX = 5
SETUP_PAUSE_S = 5.0


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


def checked_output(output: Any) -> tuple[Any, str | None]:
    """A script's return value as JSON, or the reason why it can't be one: (value, None) or (None, reason)."""
    if output is None:
        output = {}
    if not isinstance(output, dict):
        return None, f"execute must return a dict, not {type(output).__name__}"
    try:
        data = json.dumps(output, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        return None, f"the result is no JSON: {error}"
    if len(data) > OUTPUT_SIZE_BYTES_MAX:
        return None, f"the result has {len(data)} bytes; at most {OUTPUT_SIZE_BYTES_MAX} are kept"
    return json.loads(data), None


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


def returned_outcome(reason: str, delay_s: float = 0.0) -> TaskOutcome:
    """The outcome of a task that the run never began."""
    error = {"kind": "system", "code": "NOT_STARTED", "message": reason}
    return TaskOutcome(ReturnReason.NOT_STARTED, error=error, delay_s=delay_s)


def given_back(end: RunEnd, text: str, *, setup_failures: int) -> TaskOutcome:
    """What becomes of a task that a run gives back unbegun.

    `setup_failures`: how often setup failed before for this task. A failing setup must not spin: each time the task
    stays out of the queue for longer, and in the end a person is asked."""
    reason = f"{end}: {text}"[:500]
    if end is not RunEnd.SETUP_FAILED:
        return returned_outcome(reason)
    if setup_failures + 1 >= SETUP_FAILURES_MAX:
        hold = {
            "reason": HoldReason.SETUP,
            "text": f"setup failed {setup_failures + 1} times; the last time: {text}"[:2000],
        }
        return TaskOutcome(TaskState.HELD, error={"kind": "system", "code": "SETUP_FAILED", "message": text}, hold=hold)
    delay_s = backoff_s(setup_failures + 1, first_s=SETUP_PAUSE_S, factor=3.0, max_s=600.0)
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
