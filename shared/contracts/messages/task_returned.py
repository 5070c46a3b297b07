"""Hint: a run gave a task back (retry, or never started). Executor -> scheduler."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shared.contracts.envelope import Message, kind


@kind
class TaskReturned(Message):
    """The task's document carries `pending` for the scheduler, with the reason."""

    KIND: ClassVar[str] = "regente.task.returned.v1"

    task: str = Field(description="The task's id.")
    run: str = Field(description="The run that gives it back.")
