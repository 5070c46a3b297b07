"""A robot's answer to one instruction. Robot -> executor. The same answer comes again when it is asked again."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.envelope import Message, kind
from shared.contracts.messages.worker_heartbeat import JournalPosition


class ReplyOutcome(StrEnum):
    """What became of an instruction."""

    DONE = "done"
    """It was done; `value` is its result."""
    ERROR = "error"
    """It was not done, or failed in a way the driver understands; `error` says how. The script may catch it."""
    IN_DOUBT = "in_doubt"
    """It may or may not have been done: the driver died or was killed in the middle of an act."""
    REFUSED = "refused"
    """The robot did not try: `error.code` is STALE_EPOCH, RUN_ENDED, UNKNOWN_SEQ, SESSION_LOST, BUSY or MALFORMED."""


class SessionState(StrEnum):
    """Whether the desktop that setup prepared is still there."""

    KEPT = "kept"
    """The driver that ran setup is alive."""
    LOST = "lost"
    """The driver died or was killed: the run can't go on on this robot, a new one begins with setup."""


class ReplyError(BaseModel):
    """Why an instruction was not done."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    code: str = Field(description="TIMEOUT, NOT_FOUND, BAD_ARGUMENT, NOT_ALLOWED, DRIVER_FAILED or a refusal's code.")
    message: str = Field(max_length=4000, description="One text for people; never holds a secret.")


class Evidence(BaseModel):
    """One proof: a screenshot, a page's text, a file."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str = Field(max_length=200, description="What it shows, in the script's words, or 'failure'.")
    media_type: str = Field(max_length=100, description="Such as image/png.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="Hash of the bytes; the evidence's identity.")
    size_bytes: int = Field(ge=0, description="Length of the bytes.")
    data: str | None = Field(
        default=None, description="The bytes as base64, up to 1 MiB; none: they were PUT as a blob."
    )
    dropped: bool = Field(
        default=False, description="The bytes could not be brought over; the hash stays as a witness."
    )


class OpenPage(BaseModel):
    """A page of the robot's browser."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    url: str = Field(default="", max_length=300, description="Without values of parameters, user or fragment.")
    title: str = Field(default="", max_length=300, description="As the browser shows it; what was typed is masked.")
    active: bool = Field(default=False, description="The one that instructions go to.")


class PageDialog(BaseModel):
    """A question that a page asked, and the robot answered by itself."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: str = Field(default="", max_length=300, description="alert, confirm, prompt or beforeunload.")
    message: str = Field(default="", max_length=300, description="What it said.")
    answer: str = Field(default="", max_length=300, description="accepted or dismissed.")


class OpenWindow(BaseModel):
    """A window on the robot's desktop."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    title: str = Field(default="", max_length=300, description="As its bar shows it; what was typed is masked.")
    process: str = Field(default="", max_length=300, description="Its program.")
    active: bool = Field(default=False, description="The one in front.")


class FailureContext(BaseModel):
    """What was open on the robot when an instruction failed or was cut. Never holds what was typed."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    pages: list[OpenPage] = Field(default_factory=list, max_length=20, description="Of the browser.")
    dialogs: list[PageDialog] = Field(default_factory=list, max_length=20, description="The last ones, newest last.")
    windows: list[OpenWindow] = Field(default_factory=list, max_length=20, description="Of the desktop, if any.")
    notes: list[Annotated[str, Field(max_length=300)]] = Field(
        default_factory=list, max_length=20, description="What could not be seen, such as why there is no picture."
    )


@kind
class WorkerReply(Message):
    """The outcome of (run, seq), with evidence."""

    KIND: ClassVar[str] = "regente.worker.reply.v1"

    worker: str = Field(description="The robot that answers.")
    session: str = Field(description="Random id of the agent's process; a second one with the same key is an intruder.")
    journal: JournalPosition = Field(description="Id and counter of the robot's journal.")
    run: str = Field(description="As in the instruction.")
    seq: int = Field(ge=1, description="As in the instruction.")
    epoch: int = Field(ge=1, description="As in the instruction.")
    outcome: ReplyOutcome = Field(description="What became of it.")
    value: Any = Field(default=None, description="The result of a done instruction: JSON.")
    value_too_large: bool = Field(default=False, description="It was done, but its value did not fit and is left out.")
    error: ReplyError | None = Field(default=None, description="For error, in_doubt and refused.")
    desktop: SessionState = Field(default=SessionState.KEPT, description="Whether the run can go on here.")
    evidence: list[Evidence] = Field(default_factory=list, max_length=20, description="Proofs.")
    recent: list[dict[str, Any]] = Field(
        default_factory=list,
        max_length=20,
        description="With a failure: the last instructions, newest last, no values.",
    )
    duration_s: float = Field(default=0.0, ge=0, description="How long the robot worked on it.")
    found_s: float | None = Field(
        default=None,
        ge=0,
        description="How long what it needed took to appear; none: it did not, or it needed nothing.",
    )
    repeated: bool = Field(default=False, description="Answered from the journal, not done again.")
    matched: int | None = Field(
        default=None, ge=0, description="Index of the selector that showed the element; none: no target, or none did."
    )
    context: FailureContext | None = Field(default=None, description="With a failure: what was open then.")
