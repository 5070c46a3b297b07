"""What follows from a robot's reply: go on, raise in the script, end the task, or give the robot up.

Called by: services/executor/runner.py. The rules: a script can catch a robot's errors as built-ins whose text is
`CODE: message`; doubt and a lost desktop are never shown to the script, because a script that swallows them would go
on as if nothing had happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shared.contracts.messages import ReplyOutcome, SessionState, WorkerReply

EXCEPTIONS: dict[str, type[Exception]] = {
    "TIMEOUT": TimeoutError,
    "NOT_FOUND": LookupError,
    "BAD_ARGUMENT": ValueError,
    "NOT_ALLOWED": PermissionError,
}
"""Error code -> built-in that the script sees; every other code is a RuntimeError."""

SEND_AGAIN = frozenset({"BUSY"})
"""Refusals that mean: later."""
OTHERWISE_KNOWN = frozenset({"MALFORMED"})
"""Refusals that mean: I know this seq with other arguments (a secret was changed between two sends). Nobody has told us
what it did with the first."""
NOT_OURS = frozenset({"STALE_EPOCH", "RUN_ENDED", "UNKNOWN_SEQ", "SESSION_LOST"})
"""Refusals that mean: this run can't go on on this robot."""


@dataclass(frozen=True)
class Resume:
    """The instruction was done; the script goes on with its value."""

    value: Any


@dataclass(frozen=True)
class Raise:
    """The instruction failed; the script may catch it."""

    exception: Exception


@dataclass(frozen=True)
class Again:
    """No answer yet: send it again after a pause."""


@dataclass(frozen=True)
class InDoubt:
    """The act may have been done; the task ends. `desktop_lost`: so does the run on this robot."""

    text: str
    desktop_lost: bool


@dataclass(frozen=True)
class RobotLost:
    """The desktop that setup prepared is gone; what was asked was not done (or was only a read)."""

    text: str


Consequence = Resume | Raise | Again | InDoubt | RobotLost


def follow(reply: WorkerReply) -> Consequence:
    """What follows from a reply."""
    code = reply.error.code if reply.error else ""
    text = f"{code}: {reply.error.message}" if reply.error else reply.outcome.value
    lost = reply.desktop is SessionState.LOST
    if reply.outcome is ReplyOutcome.IN_DOUBT:
        return InDoubt(text, desktop_lost=lost)
    if reply.outcome is ReplyOutcome.REFUSED:
        if code in SEND_AGAIN:
            return Again()
        if code in OTHERWISE_KNOWN:
            return InDoubt(text, desktop_lost=lost)
        if lost or code in NOT_OURS:
            return RobotLost(text)
        return Raise(RuntimeError(text))
    if lost:
        return RobotLost(text)
    if reply.outcome is ReplyOutcome.ERROR:
        return Raise(EXCEPTIONS.get(code, RuntimeError)(text))
    if reply.value_too_large:
        return Raise(RuntimeError("VALUE_TOO_LARGE: it was done, but its value did not fit into the reply"))
    return Resume(reply.value)
