"""Log lines of a robot, kept while it is offline and sent in order. Robot -> scheduler, confirmed by the broker."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from shared.contracts.envelope import Message, kind


class WorkerLogLine(BaseModel):
    """One line; (worker, journal, n) is its identity, so a line sent twice is stored once."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    n: int = Field(ge=1, description="Number of the line in the robot's journal.")
    at: datetime = Field(description="By the robot's clock.")
    level: Literal["debug", "info", "warning", "error"] = Field(description="Severity.")
    event: str = Field(max_length=2000, description="What happened.")
    run: str | None = Field(default=None, description="The run, if any.")
    task: str | None = Field(default=None, description="The task, if any.")
    seq: int | None = Field(default=None, description="The instruction, if any.")
    fields: dict[str, Any] = Field(default_factory=dict, description="More facts; never values of arguments.")


@kind
class WorkerLog(Message):
    """A bundle of lines."""

    KIND: ClassVar[str] = "regente.worker.log.v1"

    worker: str = Field(description="The robot's id: every line of the bundle is its own.")
    journal: str = Field(description="Id of the journal that numbers the lines.")
    lines: list[WorkerLogLine] = Field(min_length=1, max_length=200, description="In order.")
