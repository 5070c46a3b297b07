"""Cut the instruction in flight. Executor -> robot, over `worker.<id>.control`."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shared.contracts.envelope import Message, kind


@kind
class WorkerAbort(Message):
    """Kill the driver if it works for this run; the outcome of an act in flight is in_doubt."""

    KIND: ClassVar[str] = "regente.worker.abort.v1"

    worker: str = Field(description="The robot's id.")
    run: str = Field(description="The run; for another run it is ignored.")
    epoch: int = Field(ge=1, description="The reservation; lower ones than the robot has seen are ignored.")
    reason: str = Field(max_length=500, description="For the robot's log.")
