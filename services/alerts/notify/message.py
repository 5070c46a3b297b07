"""A message as channels send it: what a closed notification tells, and in whose words.

Called by: sender.py and unstored.py (make it), render.py and channels/ (say it). Nothing survives; all of it follows
from the stored notification, so a repeat says the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from services.alerts.core.bundles import Contents, contents
from services.alerts.core.telling import Lane
from shared.domain.letter import Picture


@dataclass(frozen=True)
class Links:
    """Where more is to be read."""

    console: str = ""
    digest: str = ""
    """The whole list of this message, without a log-in; empty: there is none."""
    runbook: str = ""
    """With {kind}; empty: none."""
    take: str = ""
    """Where whoever got the message says that somebody looks at it, without a log-in; empty: nowhere."""


@dataclass(frozen=True)
class Message:
    """What is sent."""

    id: str
    """Of the notification: the same at every attempt."""
    at: datetime
    contents: Contents
    language: str
    zone: ZoneInfo
    links: Links
    maybe_repeat: bool = False
    """It may have been sent before: nobody knows."""
    pictures: Sequence[Picture] = field(default_factory=tuple)
    """Of what failed, the worst first."""


def message_of(notification: Mapping[str, Any], lane: Lane, links: Links, pictures: Sequence[Picture] = ()) -> Message:
    """The message of a closed notification."""
    return Message(
        id=notification["_id"],
        at=notification["closed_at"],
        contents=contents(notification["items"]),
        language=lane.recipient.language,
        zone=zone_of(lane),
        links=links,
        maybe_repeat=bool(notification.get("maybe_repeat")),
        pictures=pictures,
    )


def zone_of(lane: Lane) -> ZoneInfo:
    """By whose clock a recipient reads."""
    return ZoneInfo(lane.recipient.hours.timezone if lane.recipient.hours else "UTC")
