"""One message as it arrived, with what the broker knows about it.

Called by: handlers of every service; the stub makes the same. Survives a crash: an unacknowledged message is
delivered again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from shared.contracts.envelope import Envelope


@dataclass(frozen=True)
class Delivery:
    """A message in the hands of a consumer."""

    body: bytes
    exchange: str
    routing_key: str
    queue: str
    redelivered: bool
    """It was delivered before; nobody knows how far that got."""
    user_id: str | None
    """The broker user that sent it, checked by the broker; None when the sender did not say."""
    headers: Mapping[str, Any] = field(default_factory=dict)
    delivery_count: int = 0
    """How often it was delivered before, as far as the broker counts (quorum queues)."""
    envelope: Envelope | None = None
    """Id, sender and time of the message; None where a consumer takes bytes."""


Handler = Callable[[Any, Delivery], Awaitable[Any]]
"""Takes the message (bytes for consumers with decode=False) and its delivery."""
