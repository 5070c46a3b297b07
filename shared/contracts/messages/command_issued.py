"""Hint: somebody asked a service for something; the request is a document in `commands`. Any service -> its owner."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shared.contracts.envelope import Message, kind


@kind
class CommandIssued(Message):
    """A durable request waits for the service named in it."""

    KIND: ClassVar[str] = "regente.command.issued.v1"

    command: str = Field(description="The id of the document in `commands`.")
    to: str = Field(description="The service that owns the edge: scheduler, executor or delivery.")
