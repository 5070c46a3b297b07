"""A run is over and its outcome stored: the robot may forget its entries. Executor -> robot, over the control queue."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shared.contracts.envelope import Message, kind


@kind
class WorkerRunEnded(Message):
    """Close what the run left open on the desktop, forget its journal entries, refuse its instructions from now on."""

    KIND: ClassVar[str] = "regente.worker.run_ended.v1"

    worker: str = Field(description="The robot's id.")
    run: str = Field(description="The run.")
    epoch: int = Field(ge=1, description="The reservation.")
