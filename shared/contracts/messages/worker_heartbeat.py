"""A robot's sign of life and of progress. Robot -> scheduler, every two seconds."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.envelope import Message, kind


class JournalPosition(BaseModel):
    """Which journal a robot writes, and how far: a restored or cloned machine shows here."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str = Field(description="Random id made with the journal file.")
    counter: int = Field(ge=0, description="Grows with every entry and every start; never goes back.")


@kind
class WorkerHeartbeat(Message):
    """The robot lives, and this is what it is doing."""

    KIND: ClassVar[str] = "regente.worker.heartbeat.v1"

    worker: str = Field(description="The robot's id.")
    session: str = Field(description="Random id of the agent's process.")
    journal: JournalPosition = Field(description="Id and counter of the journal.")
    beat: int = Field(ge=0, description="Counts up within the session.")
    driver: Literal["absent", "starting", "ready", "busy"] = Field(description="The process that acts.")
    run: str | None = Field(default=None, description="The run it works for, if any.")
    seq: int | None = Field(default=None, description="The instruction in hand, if any.")
    epoch: int = Field(default=0, ge=0, description="The highest epoch it has seen.")
    busy_s: float = Field(default=0.0, ge=0, description="How long the instruction in hand has taken so far.")
    agent_version: str = Field(default="", description="Version of the agent.")
    logs_waiting: int = Field(default=0, ge=0, description="Log lines not yet handed over.")
