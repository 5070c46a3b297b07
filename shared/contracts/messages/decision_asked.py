"""Hint: a script asks a person; partners that want to know are told. Executor -> delivery."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shared.contracts.envelope import Message, kind


@kind
class DecisionAsked(Message):
    """The question's document carries `pending` for delivery."""

    KIND: ClassVar[str] = "regente.decision.asked.v1"

    decision: str = Field(description="The question's id: `<run>/<seq>`.")
