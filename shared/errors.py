"""The errors that Regente raises on purpose, and the codes that travel in messages and in problem+json.

Called by: everything; imports nothing of the project, so that adapters and cores alike may use it.
Survives a crash: nothing lives here. Change also: `STATUS_OF_CODE` in shared/runtime/problems.py for a new code.

    Exception
    +-- RegenteError            what this program raises on purpose
        +-- TemporaryError      try again, perhaps after delay_s: a broker or a database that is away, a lost race
        |   +-- broker.BrokerClosed     this process is stopping; nothing is published any more
        +-- PermanentError      trying again changes nothing; `code` says what is wrong
        |   +-- broker.Unroutable       a mandatory message that no queue takes
        |   +-- runtime.Problem         an answer of the HTTP API with a status of its own
        +-- seal.SealBroken     sealed bytes that were changed, moved, or made with another key
"""

from __future__ import annotations

from enum import StrEnum


class ErrorCode(StrEnum):
    """What is wrong, for programs. Class names never travel; these do."""

    MALFORMED = "MALFORMED"
    """Not JSON, no envelope, a cursor that was not made here."""
    INVALID_INPUT = "INVALID_INPUT"
    """Well-formed, but it does not fit its schema or its rules."""
    UNKNOWN_WORKFLOW = "UNKNOWN_WORKFLOW"
    """The account has no published workflow of that name."""
    DUPLICATE_REFERENCE = "DUPLICATE_REFERENCE"
    """The same reference twice in one batch."""
    REFERENCE_CONFLICT = "REFERENCE_CONFLICT"
    """The reference exists with another input."""
    NOT_FOUND = "NOT_FOUND"
    """No such thing, or none that the asker may see."""
    GONE = "GONE"
    """It was there, and was deleted after its time."""
    UNSUPPORTED = "UNSUPPORTED"
    """A media type that is not taken here."""
    TIMEOUT = "TIMEOUT"
    """The request did not come in time."""
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    """The address exists, the method doesn't."""
    UNAUTHENTICATED = "UNAUTHENTICATED"
    """No key or token, or one that is wrong, revoked or expired."""
    FORBIDDEN = "FORBIDDEN"
    """Known, but not allowed to do this."""
    CONFLICT = "CONFLICT"
    """The thing is in a state that does not allow this."""
    FINAL = "FINAL"
    """The thing has ended; nothing changes it any more."""
    TOO_LARGE = "TOO_LARGE"
    """Over a limit of size."""
    TOO_MANY = "TOO_MANY"
    """Over a limit of number or rate."""
    UNAVAILABLE = "UNAVAILABLE"
    """A part that is needed does not answer at the moment; try again."""
    UNROUTABLE = "UNROUTABLE"
    """No queue takes the message."""
    INTERNAL = "INTERNAL"
    """A fault of this program; the log holds the details."""
    WORKER_REFUSED = "WORKER_REFUSED"
    """The robot is not authorised, or refuses what it was told."""
    POISON = "POISON"
    """Tried many times without progress; a person has to look."""
    UNKNOWN_COMMAND = "UNKNOWN_COMMAND"
    """A durable request of a kind that its owner does not know."""


class RegenteError(Exception):
    """Base of all errors that are raised on purpose."""


class TemporaryError(RegenteError):
    """It may work later.

    delay_s: how long to wait at least, in seconds; None leaves it to the caller.
    """

    def __init__(self, message: str, delay_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.delay_s = delay_s


class PermanentError(RegenteError):
    """It will never work as it is; the code says why, the message says what to do."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
