"""Hint: tasks were stored and wait in the queue. Collector -> scheduler. Losing it costs a sweep interval, no task."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shared.contracts.envelope import Message, kind


@kind
class TaskAccepted(Message):
    """Tasks of one workflow were accepted (or became eligible)."""

    KIND: ClassVar[str] = "regente.task.accepted.v1"

    account: str = Field(description="Account whose tasks they are.")
    workflow: str = Field(description="Name of the workflow, unique in the account.")
    batch: str | None = Field(default=None, description="The push they came with; none for requeued tasks.")
    count: int = Field(ge=1, description="How many tasks the hint is about.")
