"""Hint: a run ended and its robot can be given free. Executor -> scheduler."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shared.contracts.envelope import Message, kind


@kind
class RunFinished(Message):
    """The run's document carries `pending` for the scheduler."""

    KIND: ClassVar[str] = "regente.run.finished.v1"

    run: str = Field(description="The run's id.")
    worker: str | None = Field(default=None, description="The robot it held; none for runs without a robot.")
