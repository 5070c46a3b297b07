"""What follows from a failed attempt, and how long to wait before something is tried again.

Called by: executor (outcome of a task), delivery (schedule of attempts), runtime's sweepers (backoff of hints).
Rule: a task is retried by itself only when its policy allows it and its journal holds no commit and no unanswered or
in-doubt act; else it is held in doubt for a person (a workflow may choose fail or retry instead).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from shared.domain.task_state import FailureKind


class InDoubtPolicy(StrEnum):
    """What a workflow wants for a task of which nobody knows whether its last act took effect."""

    HOLD = "hold"
    """A person decides."""
    FAIL = "fail"
    """It fails."""
    RETRY = "retry"
    """It is tried again; the workflow's author says that this does no harm."""


class RetryPosition(StrEnum):
    """Where a retried task joins its list."""

    END = "end"
    """Behind those that wait."""
    FRONT = "front"
    """Before those that wait."""


@dataclass(frozen=True)
class RetryPolicy:
    """How a workflow wants failures handled."""

    attempts: int = 1
    """How often a task may be tried in all, 1 to 20."""
    position: RetryPosition = RetryPosition.END
    delay_s: float = 60.0
    """Wait before the next attempt, seconds."""
    in_doubt: InDoubtPolicy = InDoubtPolicy.HOLD


class Verdict(StrEnum):
    """What becomes of a task after an attempt that did not succeed."""

    FAIL = "fail"
    RETRY = "retry"
    HOLD = "hold"


def may_have_acted(*, effect: str, commit: bool, answer: str | None) -> bool:
    """Whether one instruction may have done what can't be taken back: an act unanswered or in doubt, or a commit done.

    effect: `read` or `act`. answer: the outcome of its reply as the journal holds it; none: no reply was ever stored.
    A commit that was answered `error` or `refused` was not done.
    """
    if effect != "act":
        return False
    return answer in (None, "in_doubt") or (commit and answer == "done")


def after_failure(policy: RetryPolicy, *, kind: FailureKind, attempt: int, may_have_acted: bool) -> Verdict:
    """What becomes of a task whose attempt number `attempt` (from 1) failed.

    `may_have_acted`: its journal holds a commit, or an act that is unanswered or in doubt.
    """
    if kind is FailureKind.BUSINESS:
        return Verdict.FAIL
    attempts_left = attempt < policy.attempts
    if may_have_acted or kind is FailureKind.IN_DOUBT:
        if policy.in_doubt is InDoubtPolicy.HOLD:
            return Verdict.HOLD
        if policy.in_doubt is InDoubtPolicy.FAIL:
            return Verdict.FAIL
    return Verdict.RETRY if attempts_left else Verdict.FAIL


def backoff_s(attempt: int, *, first_s: float, factor: float, max_s: float, jitter: float = 0.0) -> float:
    """Wait before attempt number `attempt + 1`: first_s * factor^(attempt-1), capped, plus `jitter` (0 to 1) of it.

    `jitter` is a random number given by the caller; 0.2 of the wait at most is added.
    Raises: ValueError for an attempt below 1.
    """
    if attempt < 1:
        raise ValueError("attempts are counted from 1")
    exponent = min(attempt - 1, 64)
    wait = min(max_s, first_s * factor**exponent)
    return wait * (1 + 0.2 * jitter)
