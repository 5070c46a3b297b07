"""The states of a task. Called by: scheduler, executor, delivery, collector, console (all of them read it)."""

from __future__ import annotations

from enum import StrEnum

from shared.domain.machine import Edge, Machine


class TaskState(StrEnum):
    """Where a task stands. `succeeded`, `failed`, `cancelled` and `expired` are final."""

    QUEUED = "queued"
    """Accepted and stored; waits for its turn, for its time, or for a retry."""
    RUNNING = "running"
    """A run holds it (`held_by`)."""
    HELD = "held"
    """Waits for a person (or a circuit breaker): `hold` says why."""
    SUCCEEDED = "succeeded"
    """Its script returned a result."""
    FAILED = "failed"
    """A business failure, or a system failure without attempts left."""
    CANCELLED = "cancelled"
    """Somebody with the right to do so called it off."""
    EXPIRED = "expired"
    """Its deadline passed before it ran."""


S = TaskState

TASK = Machine(
    name="task",
    initial=S.QUEUED,
    edges={
        (S.QUEUED, S.RUNNING): Edge("scheduler", "a run was opened with it"),
        (S.QUEUED, S.HELD): Edge("scheduler", "a person holds it, or it no longer fits its workflow"),
        (S.QUEUED, S.CANCELLED): Edge("scheduler", "cancelled before it ran"),
        (S.QUEUED, S.EXPIRED): Edge("scheduler", "its deadline passed before it ran"),
        (S.RUNNING, S.QUEUED): Edge("scheduler", "its run gave it back, or an attempt is left"),
        (S.RUNNING, S.SUCCEEDED): Edge("executor", "its script returned"),
        (S.RUNNING, S.FAILED): Edge("executor or scheduler", "business failure, or no attempt left"),
        (S.RUNNING, S.HELD): Edge("executor or scheduler", "an act that can't be taken back may have been done"),
        (S.RUNNING, S.CANCELLED): Edge("executor", "cancelled while it ran; ended at the next instruction"),
        (S.HELD, S.QUEUED): Edge("scheduler", "a person says: again (or releases it)"),
        (S.HELD, S.SUCCEEDED): Edge("executor", "a person says: it succeeded"),
        (S.HELD, S.FAILED): Edge("executor", "a person says: it failed"),
        (S.HELD, S.CANCELLED): Edge("scheduler", "cancelled while held"),
    },
)

FINAL = frozenset({S.SUCCEEDED, S.FAILED, S.CANCELLED, S.EXPIRED})
EVENTS = frozenset({S.SUCCEEDED, S.FAILED, S.HELD, S.CANCELLED, S.EXPIRED})
"""States whose entering is an event that partners may subscribe to; the event has the state's name."""


class FailureKind(StrEnum):
    """Why a task failed: it decides about retries and billing."""

    BUSINESS = "business"
    """The input is wrong: never retried, counted as a dispatch."""
    SYSTEM = "system"
    """Something of ours or of the portal broke: retried by the workflow's policy."""
    IN_DOUBT = "in_doubt"
    """An act that can't be taken back may have been done: held for a person."""


LOGIN_REJECTED = "LOGIN_REJECTED"
"""Code of a failure for which the whole workflow is held at once."""


class HoldReason(StrEnum):
    """Why a task is held."""

    PERSON = "person"
    """An operator holds it."""
    IN_DOUBT = "in_doubt"
    """Nobody knows whether its last act took effect."""
    INPUT = "input"
    """Its input does not fit the workflow's current version."""
    SETUP = "setup"
    """The scenario's setup failed again and again before its turn; only older tasks: now the scenario is held."""
    POISON = "poison"
    """Handing it over failed again and again."""


class ReturnReason(StrEnum):
    """Why a run gives a task back to the queue."""

    NOT_STARTED = "not_started"
    """The run ended before its turn; no attempt is counted."""
    RETRY = "retry"
    """A system failure with an attempt left."""
