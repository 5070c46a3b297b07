"""The states of a robot. Called by: scheduler (owner of all edges), console, cli."""

from __future__ import annotations

from enum import StrEnum

from shared.domain.machine import Edge, Machine


class WorkerStatus(StrEnum):
    """What an authorised robot is doing."""

    WAITING = "waiting"
    """Free: it may be given a run when it is connected."""
    RESERVED = "reserved"
    """A run was opened on it."""
    RUNNING = "running"
    """It has begun on its run."""
    PAUSED = "paused"
    """Mode pause, and nothing in hand."""
    STOPPED = "stopped"
    """Mode stop or abort, and nothing in hand."""


class WorkerMode(StrEnum):
    """What people want of a robot; it stays until a person changes it."""

    RUN = "run"
    """Takes work."""
    PAUSE = "pause"
    """Takes no new run; what is in hand goes on."""
    STOP = "stop"
    """Finishes the current task first, then takes no more."""
    ABORT = "abort"
    """The instruction in flight is cut; takes no more."""


class Authorisation(StrEnum):
    """Whether a robot may connect at all."""

    PENDING = "pending"
    """It asked; nobody has answered."""
    AUTHORISED = "authorised"
    """A person said yes."""
    REVOKED = "revoked"
    """A person said no, or a doubt came up (`doubt` says which)."""


S = WorkerStatus

WORKER = Machine(
    name="robot",
    initial=S.WAITING,
    edges={
        (S.WAITING, S.RESERVED): Edge("scheduler", "a run was opened on it"),
        (S.WAITING, S.PAUSED): Edge("scheduler", "a person pauses it"),
        (S.WAITING, S.STOPPED): Edge("scheduler", "a person stops it"),
        (S.RESERVED, S.RUNNING): Edge("scheduler", "its heartbeat names the run"),
        (S.RESERVED, S.WAITING): Edge("scheduler", "the run ended"),
        (S.RESERVED, S.PAUSED): Edge("scheduler", "the run ended; a person had paused it"),
        (S.RESERVED, S.STOPPED): Edge("scheduler", "the run ended; a person had stopped it"),
        (S.RUNNING, S.WAITING): Edge("scheduler", "the run ended"),
        (S.RUNNING, S.PAUSED): Edge("scheduler", "the run ended; a person had paused it"),
        (S.RUNNING, S.STOPPED): Edge("scheduler", "the run ended; a person had stopped it"),
        (S.PAUSED, S.WAITING): Edge("scheduler", "a person lets it run"),
        (S.PAUSED, S.STOPPED): Edge("scheduler", "a person stops it"),
        (S.STOPPED, S.WAITING): Edge("scheduler", "a person lets it run"),
        (S.STOPPED, S.PAUSED): Edge("scheduler", "a person pauses it"),
    },
)
