"""What follows from the answer to an instruction: go on, raise in the script, end the task, or give the robot up.

Called by: services/executor/performing.py, phase.py, replay.py. An answer has one shape, whoever gave it: a robot, the
server's own instructions, or a wait. The rules: a script can catch errors as built-ins whose text is `CODE: message`;
doubt and a lost desktop are never shown to the script, because a script that swallows them would go on as if nothing
had happened."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from services.executor.core.plain import NotPlain, plain
from shared.contracts.messages import Evidence, ReplyError, ReplyOutcome, SessionState, WorkerReply

EXCEPTIONS: dict[str, type[Exception]] = {
    "TIMEOUT": TimeoutError,
    "NOT_FOUND": LookupError,
    "BAD_ARGUMENT": ValueError,
    "NOT_ALLOWED": PermissionError,
}
"""Error code -> built-in that the script sees; every other code is a RuntimeError."""

SEND_AGAIN = frozenset({"BUSY"})
"""Refusals that mean: later."""
UNOPENED = "SEALED"
"""A refusal that means: sealed for another key than mine. Sealed anew it may be opened; it was not done."""
OTHERWISE_KNOWN = frozenset({"MALFORMED"})
"""Refusals that mean: I know this seq with other arguments (a secret was changed between two sends). Nobody has told us
what it did with the first."""
NOT_OURS = frozenset({"STALE_EPOCH", "RUN_ENDED", "UNKNOWN_SEQ", "SESSION_LOST"})
"""Refusals that mean: this run can't go on on this robot."""
ERROR_TEXT_MAX = 4000
VALUE_SIZE_BYTES_MAX = 4 * 1024 * 1024


@dataclass(frozen=True)
class Answer:
    """What became of an instruction."""

    seq: int
    """Of the instruction."""
    outcome: ReplyOutcome
    value: Any = None
    value_too_large: bool = False
    error: ReplyError | None = None
    desktop: SessionState = SessionState.KEPT
    proofs: Sequence[Evidence] = ()
    """Evidence as it came, bytes included; the journal keeps links."""
    recent: Sequence[Mapping[str, Any]] = ()
    duration_s: float = 0.0
    repeated: bool = False
    worker: str | None = None
    """The robot that answered; none: the server did."""
    local: bool = False
    """It could not even be sent."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """What else the robot could tell, for people and for learning."""


def answer_of(reply: WorkerReply) -> Answer:
    """A robot's reply as an answer; a value that the journal can't hold is as one that was too large."""
    value, too_large = reply.value, reply.value_too_large
    try:
        value = plain(value, size_bytes_max=VALUE_SIZE_BYTES_MAX)
    except NotPlain:
        value, too_large = None, True
    more: dict[str, Any] = {}
    if reply.matched is not None:
        more["matched"] = reply.matched
    if reply.found_s is not None:
        more["found_s"] = reply.found_s
    if reply.context is not None:
        more["context"] = reply.context.model_dump()
    return Answer(
        seq=reply.seq, outcome=reply.outcome, value=value, value_too_large=too_large,
        error=reply.error, desktop=reply.desktop, proofs=tuple(reply.evidence), recent=tuple(reply.recent),
        duration_s=reply.duration_s, repeated=reply.repeated, worker=reply.worker, more=more,
    )  # fmt: skip


def failed(seq: int, code: str, message: str, *, local: bool = False) -> Answer:
    """An answer that says why an instruction was not done; the script may catch it."""
    error = ReplyError(code=code, message=message[:ERROR_TEXT_MAX])
    return Answer(seq, ReplyOutcome.ERROR, error=error, local=local)


def in_doubt(seq: int, message: str) -> Answer:
    """An answer that says that nobody knows whether an act of the server's took effect; the desktop is still there."""
    error = ReplyError(code="IN_DOUBT", message=message[:ERROR_TEXT_MAX])
    return Answer(seq, ReplyOutcome.IN_DOUBT, error=error)


def is_unopened(answer: Answer) -> bool:
    """Whether the robot could not open the arguments."""
    return answer.outcome is ReplyOutcome.REFUSED and answer.error is not None and answer.error.code == UNOPENED


def stored_answer(stored: Mapping[str, Any]) -> Answer:
    """An answer as the journal holds it, as far as consequences depend on it."""
    error = stored.get("error")
    return Answer(
        seq=int(stored["seq"]), outcome=ReplyOutcome(stored["outcome"]), value=stored.get("value"),
        value_too_large=bool(stored.get("value_too_large")), error=ReplyError(**error) if error else None,
        desktop=SessionState(stored.get("desktop") or SessionState.KEPT), local=bool(stored.get("local")),
    )  # fmt: skip


def answer_document(answer: Answer, evidence: list[dict[str, Any]]) -> dict[str, Any]:
    """An answer as the journal holds it: with links instead of the bytes of its evidence."""
    return {
        "seq": answer.seq, "outcome": answer.outcome, "value": answer.value, "value_too_large": answer.value_too_large,
        "error": answer.error.model_dump() if answer.error else None, "desktop": answer.desktop, "evidence": evidence,
        "recent": [dict(one) for one in answer.recent], "duration_s": answer.duration_s, "repeated": answer.repeated,
        "local": answer.local, **answer.more,
    }  # fmt: skip


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


def follow(answer: Answer) -> Consequence:
    """What follows from an answer."""
    code = answer.error.code if answer.error else ""
    text = f"{code}: {answer.error.message}" if answer.error else answer.outcome.value
    lost = answer.desktop is SessionState.LOST
    if answer.outcome is ReplyOutcome.IN_DOUBT:
        return InDoubt(text, desktop_lost=lost)
    if answer.outcome is ReplyOutcome.REFUSED:
        if code in SEND_AGAIN:
            return Again()
        if code in OTHERWISE_KNOWN:
            return InDoubt(text, desktop_lost=lost)
        if lost or code in NOT_OURS:
            return RobotLost(text)
        return Raise(RuntimeError(text))
    if lost:
        return RobotLost(text)
    if answer.outcome is ReplyOutcome.ERROR:
        return Raise(EXCEPTIONS.get(code, RuntimeError)(text))
    if answer.value_too_large:
        return Raise(RuntimeError("VALUE_TOO_LARGE: it was done, but its value did not fit into the reply"))
    return Resume(answer.value)
