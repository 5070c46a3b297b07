"""Hint: a task reached an outcome that its partner hears of. Executor or scheduler -> delivery."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shared.contracts.envelope import Message, kind


@kind
class TaskFinished(Message):
    """The task's document carries `pending` for delivery, with the event."""

    KIND: ClassVar[str] = "regente.task.finished.v1"

    task: str = Field(description="The task's id.")
    event: str = Field(description="succeeded, failed, held, cancelled or expired.")
