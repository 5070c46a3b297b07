"""One instruction for a robot. Executor -> robot, over `worker.<id>.instructions`. Re-sent until it is answered."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.envelope import Message, kind


class BlobTarget(BaseModel):
    """Where the robot puts what is too large for a reply."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    url: str = Field(description="Base URL; the robot PUTs to {url}/v1/blobs/{sha256}.")
    token: str = Field(description="Bearer token, good for this run only and for a short time.")


@kind
class WorkerInstruction(Message):
    """Do this, once per (run, seq), and answer with its outcome."""

    KIND: ClassVar[str] = "regente.worker.instruction.v1"

    worker: str = Field(description="The robot it is for: its primary MAC address in hex.")
    run: str = Field(description="The run.")
    seq: int = Field(ge=1, description="Position in the run's journal; grows, with gaps.")
    epoch: int = Field(ge=1, description="The reservation; the robot refuses lower ones than it has seen.")
    task: str | None = Field(default=None, description="The task in hand; none in setup and teardown.")
    phase: Literal["setup", "task", "teardown"] = Field(description="Where in the scenario the script is.")
    name: str = Field(description="Catalogue name, such as browser.click.")
    args: dict[str, Any] = Field(description="Arguments by name, objects as selectors; empty when they are sealed.")
    sealed: str | None = Field(
        default=None,
        description="Arguments that hold secrets, as only this robot reads them: base64url of AES-256-GCM under "
        "the key of its enrolment. The robot puts their JSON in the place of args.",
    )
    effect: Literal["read", "act"] = Field(description="act: journalled by the robot before and after.")
    commit: bool = Field(default=False, description="The script says that this act can't be taken back.")
    timeout_s: float = Field(gt=0, description="The robot gives the act up after this time; nobody else does.")
    pause_s: float | None = Field(
        default=None, ge=0, le=600, description="How long the robot pauses before it acts; counted in timeout_s."
    )
    find_s: float | None = Field(
        default=None, gt=0, le=3600, description="How long it waits for an element when args give no timeout."
    )
    line: int | None = Field(default=None, description="Line of the script, for the robot's log.")
    reply_to: str = Field(description="Executor instance that wants the reply; last word of the reply's routing key.")
    blobs: BlobTarget | None = Field(
        default=None, description="Where large evidence goes; none: it is dropped and said so."
    )
