"""What becomes of a task that a run left behind, judged by the run's journal; and how long a run may stand still.

Called by: recovery.py, stalls.py. The first is for tasks still `running` although their run has ended or is gone.
Nothing that may have been done is repeated: the same rule as for any failed attempt (shared.domain.retry), with the
journal as the only witness.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from shared.domain.retry import RetryPolicy, Verdict, after_failure, may_have_acted
from shared.domain.task_state import FailureKind


def verdict(steps: Sequence[Mapping[str, Any]], *, task: str, attempt: int, policy: RetryPolicy) -> Verdict | None:
    """What follows for the task, or none when the run never asked its robot for anything on the task's behalf.

    steps: the run's journal in order of seq; attempt: counted from 1.
    """
    asked = [step for step in steps if _is_of(step, task, attempt) and step["kind"] == "instruction"]
    if not asked:
        return None
    answers = {step["reply"]["seq"]: step["reply"]["outcome"] for step in steps if step.get("reply")}
    acted = any(_may_have_acted(step, answers.get(step["seq"])) for step in asked)
    return after_failure(policy, kind=FailureKind.SYSTEM, attempt=attempt, may_have_acted=acted)


def _is_of(step: Mapping[str, Any], task: str, attempt: int) -> bool:
    return step.get("task") == task and step.get("attempt") == attempt


def _may_have_acted(step: Mapping[str, Any], answer: str | None) -> bool:
    """Whether it may have done what can't be taken back: unanswered or in doubt, or a commit that was done."""
    instruction = step["instruction"]
    return may_have_acted(effect=instruction["effect"], commit=bool(instruction.get("commit")), answer=answer)


def patience_s(last: Mapping[str, Any] | None, grace_s: float) -> float:
    """How long a run may stand still: as long as the instruction in flight may take, and `grace_s` on top.

    last: the newest entry of its journal; none: it has none yet.
    """
    if last is None or last["kind"] != "instruction":
        return grace_s
    return grace_s + float((last.get("instruction") or {}).get("timeout_s") or 0.0)
