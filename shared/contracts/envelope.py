"""The envelope that every message travels in, and the registry of kinds.

Owns: encoding and decoding of messages. Called by: shared.broker (bytes in and out), tests/contracts (golden files).
Survives a crash: nothing lives here. Change also: `tests/contracts/golden`, `docs/asyncapi.yaml` (generated), and the
agent's `wire.py`, which reads the same JSON without this module.

A kind is `regente.<thing>.<what>.v<N>`. Changes within a version only ever add optional fields; anything else is a
new version in a new module, and both are understood until no sender of the old one is left.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MESSAGE_SIZE_BYTES_MAX = 4 * 1024 * 1024
"""Largest message body that is sent or read: a reply may carry 1 MiB of picture as base64 and a large value."""


class MalformedMessage(Exception):
    """The bytes are no message of ours: not JSON, no envelope, an unknown kind, or a body that does not fit its
    kind."""


class Message(BaseModel):
    """Base of every message body. Unknown fields are ignored, so that additive changes are safe in both directions."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    KIND: ClassVar[str] = ""


class Envelope(BaseModel):
    """What stands around every body, the same for every kind."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    kind: str = Field(description="Kind and version of the body, such as regente.run.opened.v1.")
    id: str = Field(description="UUIDv7 of this message; a re-sent hint is a new message.")
    sent_at: datetime = Field(description="When the sender made it, by the sender's clock; for people, never compared.")
    sender: str = Field(description="Instance that sent it: executor-1, or a robot's id.")
    body: dict[str, Any] = Field(description="The body, as its kind describes it.")


M = TypeVar("M", bound=Message)

_KINDS: dict[str, type[Message]] = {}


def kind(cls: type[M]) -> type[M]:
    """Class decorator that enters a message class in the registry under its KIND.

    Raises: ValueError when the KIND is missing or taken.
    """
    if not cls.KIND or cls.KIND in _KINDS:
        raise ValueError(f"{cls.__name__} needs a KIND of its own, not {cls.KIND!r}")
    _KINDS[cls.KIND] = cls
    return cls


def kinds() -> dict[str, type[Message]]:
    """All registered kinds by name (import shared.contracts.messages first: its modules register themselves)."""
    return dict(_KINDS)


def encode(body: Message, *, id: str, sent_at: datetime, sender: str) -> bytes:
    """Serialise a body in its envelope to UTF-8 JSON.

    Raises: ValueError when the result is larger than MESSAGE_SIZE_BYTES_MAX.
    """
    envelope = {
        "kind": body.KIND,
        "id": id,
        "sent_at": sent_at.isoformat(),
        "sender": sender,
        "body": body.model_dump(mode="json"),
    }
    data = json.dumps(envelope, ensure_ascii=False, separators=(",", ":")).encode()
    if len(data) > MESSAGE_SIZE_BYTES_MAX:
        raise ValueError(f"a {body.KIND} of {len(data)} bytes is over the limit of {MESSAGE_SIZE_BYTES_MAX}")
    return data


def decode(data: bytes) -> tuple[Envelope, Message]:
    """Parse and check a message.

    Returns: the envelope and the body as the model of its kind.
    Raises: MalformedMessage, with a text that names what is wrong.
    """
    if len(data) > MESSAGE_SIZE_BYTES_MAX:
        raise MalformedMessage(f"{len(data)} bytes are over the limit of {MESSAGE_SIZE_BYTES_MAX}")
    try:
        envelope = Envelope.model_validate_json(data)
    except ValidationError as error:
        raise MalformedMessage(f"no envelope: {_first(error)}") from error
    model = _KINDS.get(envelope.kind)
    if model is None:
        raise MalformedMessage(f"unknown kind {envelope.kind!r}")
    try:
        return envelope, model.model_validate(envelope.body)
    except ValidationError as error:
        raise MalformedMessage(f"{envelope.kind}: {_first(error)}") from error


def _first(error: ValidationError) -> str:
    """The first of a validation's complaints, short enough for a log line."""
    first = error.errors(include_input=False, include_url=False)[0]
    return f"{'.'.join(str(part) for part in first['loc']) or 'document'}: {first['msg']}"
