"""Which deliveries and which feed entry follow from a task's event.

Called by: handlers.py (on a hint and at the sweep). Pure, and the same for every caller at every time: identities
follow from the task, the endpoint and the event, so that whoever inserts first decides and everybody else finds it
done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.domain.delivery_state import DELIVERY
from shared.domain.task_state import EVENTS
from shared.domain.task_view import event_body

SCHEMA_VERSION = 1
DEFAULT_EVENTS = frozenset(event.value for event in EVENTS)


@dataclass(frozen=True)
class Event:
    """One event of a task."""

    name: str
    """The state that was entered: succeeded, failed, held, cancelled or expired."""
    count: int
    """How often the task has entered it, from 1."""

    @property
    def key(self) -> str:
        """The event in identities: `held`, the second time `held-2`."""
        return self.name if self.count <= 1 else f"{self.name}-{self.count}"


def event_of(task: Mapping[str, Any]) -> Event | None:
    """The event that a task's `pending` hands to delivery, or none when there is none."""
    pending = task.get("pending") or {}
    if pending.get("to") != "delivery" or pending.get("what") not in DEFAULT_EVENTS:
        return None
    name = str(pending["what"])
    return Event(name, max(1, int((task.get("events") or {}).get(name, 1))))


def endpoint_names(settings: Mapping[str, Any], event: str, endpoint: Mapping[str, Any] | None) -> list[str]:
    """Names of the endpoints that hear of an event.

    settings: the workflow's. endpoint: the document of the endpoint that they name, if there is one; its own list of
    events goes before the workflow's. An endpoint that does not exist is named all the same: the delivery shows that
    it is missing.
    """
    wanted = settings.get("delivery") or {}
    name = wanted.get("endpoint")
    if not name:
        return []
    own = endpoint.get("events") if endpoint else None
    events = own if own is not None else wanted.get("events")
    return [name] if event in (DEFAULT_EVENTS if events is None else events) else []


def body_text(event: Event, view: Mapping[str, Any], at: datetime) -> str:
    """The bytes of a webhook as text; made once, stored, never made again."""
    return _text(event_body(event.name, at=at, view=view))


def delivery_id(task: str, endpoint: str, event: Event) -> str:
    """Identity of a delivery."""
    return f"{task}:{endpoint}:{event.key}"


def webhook_id(delivery: str) -> str:
    """The header webhook-id of a delivery: the same on every attempt."""
    return f"msg_{hashlib.sha256(delivery.encode()).hexdigest()[:32]}"


def delivery_document(
    task: Mapping[str, Any], endpoint: str, event: Event, *, body: str, at: datetime
) -> dict[str, Any]:
    """A new delivery, due at once."""
    id = delivery_id(task["_id"], endpoint, event)
    return {
        "_id": id,
        "schema_version": SCHEMA_VERSION,
        "account": task["account"],
        "task": task["_id"],
        "endpoint": endpoint,
        "event": event.name,
        "webhook_id": webhook_id(id),
        "body": body,
        "state": DELIVERY.initial.value,
        "reason": None,
        "attempts": [],
        "attempts_made": 0,
        "failed_since_replay": 0,
        "next_at": at,
        "claimed_until": None,
        "claimed_by": None,
        "created_at": at,
        "delivered_at": None,
        "traceparent": task.get("traceparent"),
        "op": None,
    }


def result_document(task: Mapping[str, Any], event: Event, *, view: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    """The feed's entry for an event, still without its number."""
    return {
        "_id": f"{task['_id']}:{event.key}",
        "schema_version": SCHEMA_VERSION,
        "account": task["account"],
        "task": task["_id"],
        "event": event.name,
        "body": _text(view),
        "at": at,
    }


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
