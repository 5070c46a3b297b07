"""Hint: a run was opened and waits for an executor. Scheduler -> executor."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shared.contracts.envelope import Message, kind


@kind
class RunOpened(Message):
    """The run's document carries `pending` for an executor."""

    KIND: ClassVar[str] = "regente.run.opened.v1"

    run: str = Field(description="The run's id.")
