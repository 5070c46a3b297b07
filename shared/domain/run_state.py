"""The states of a run: one scenario on one robot. Called by: scheduler (opens), executor (all the rest), console."""

from __future__ import annotations

from enum import StrEnum

from shared.domain.machine import Edge, Machine


class RunState(StrEnum):
    """Where a run stands. `finished` and `aborted` are final."""

    OPENED = "opened"
    """Reserved its robot and tasks; no instruction yet."""
    SETUP = "setup"
    """The scenario's setup runs."""
    EXECUTING = "executing"
    """Its tasks run, one after another."""
    WAITING = "waiting"
    """Parked: for a person, a timer, or in warm standby."""
    TEARDOWN = "teardown"
    """The scenario's teardown runs."""
    FINISHED = "finished"
    """Ended; every task has an outcome or is on its way back."""
    ABORTED = "aborted"
    """Ended early: aborted by a person, or its robot was lost."""


S = RunState

RUN = Machine(
    name="run",
    initial=S.OPENED,
    edges={
        (S.OPENED, S.SETUP): Edge("executor", "an executor took it"),
        (S.OPENED, S.ABORTED): Edge("executor", "aborted, or robot lost, before it began"),
        (S.SETUP, S.EXECUTING): Edge("executor", "setup returned"),
        (S.SETUP, S.TEARDOWN): Edge("executor", "setup failed; what it opened is closed"),
        (S.SETUP, S.WAITING): Edge("executor", "setup waits for a person or a time"),
        (S.SETUP, S.ABORTED): Edge("executor", "aborted, or robot lost"),
        (S.EXECUTING, S.TEARDOWN): Edge("executor", "no task left"),
        (S.EXECUTING, S.WAITING): Edge("executor", "the script waits for a person or a time"),
        (S.EXECUTING, S.ABORTED): Edge("executor", "aborted, or robot lost"),
        (S.WAITING, S.SETUP): Edge("executor", "what setup waited for came"),
        (S.WAITING, S.EXECUTING): Edge("executor", "what it waited for came"),
        (S.WAITING, S.TEARDOWN): Edge("executor", "a warm run is ended"),
        (S.WAITING, S.OPENED): Edge("executor", "it gave its robot back and needs one again, with setup"),
        (S.WAITING, S.ABORTED): Edge("executor", "aborted, or robot lost"),
        (S.TEARDOWN, S.FINISHED): Edge("executor", "teardown ended"),
        (S.TEARDOWN, S.ABORTED): Edge("executor", "aborted, or robot lost, in teardown"),
    },
)

FINAL = frozenset({S.FINISHED, S.ABORTED})
LIVE = frozenset(S) - FINAL


class RunEnd(StrEnum):
    """Why a run ended."""

    COMPLETED = "completed"
    """Every task had its turn."""
    SETUP_FAILED = "setup_failed"
    """Setup failed: its tasks go back as they were."""
    ABORTED = "aborted"
    """A person aborted it."""
    STOPPED = "stopped"
    """A person stopped its robot: the task in hand was finished, the others go back."""
    WARM_LOST = "warm_lost"
    """It was kept warm, and its session was lost: a new one is opened."""
    ROBOT_LOST = "robot_lost"
    """The robot or its driver went away: the desktop is gone."""
    PARKED = "parked"
    """Not an end: its robot was given back while it waits, and the tasks that were not begun go back."""
    SCRIPT_BROKEN = "script_broken"
    """The script or its snapshot can't be run: a defect of the workflow."""
