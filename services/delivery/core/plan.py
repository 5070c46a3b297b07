"""Which deliveries and which feed entry follow from a task's event.

Called by: handlers.py (on a hint and at the sweep; test events). Pure, and the same for every caller at every time:
identities follow from the task, the endpoint and the event, so that whoever inserts first decides and everybody else
finds it done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from services.delivery.core.order import place
from shared.domain.decision import ASKED
from shared.domain.delivery_state import DELIVERY
from shared.domain.task_state import EVENTS
from shared.domain.task_view import event_body, moment

SCHEMA_VERSION = 1
DEFAULT_EVENTS = frozenset(event.value for event in EVENTS)
"""Sent where nobody says which; questions to people are only sent to who asks for them."""
ENDPOINTS_MAX = 20
"""That one workflow names."""
TEST = "test"
"""The event of a delivery that somebody sends to try an endpoint."""
FIRST_OF_ALL = datetime(1970, 1, 1, tzinfo=UTC)
"""When a test is due: before everything else that waits for its endpoint."""


@dataclass(frozen=True)
class Event:
    """One event of a task."""

    name: str
    """The state that was entered (succeeded, failed, held, cancelled or expired), or `decision`, or `test`."""
    count: int = 1
    """How often the task has entered it, from 1."""
    of: str = ""
    """What tells it from others of its name: the question that was asked."""

    @property
    def key(self) -> str:
        """The event in identities: `held`, the second time `held-2`; `decision-<run>-<seq>`."""
        if self.of:
            return f"{self.name}-{self.of}"
        return self.name if self.count <= 1 else f"{self.name}-{self.count}"


def event_of(task: Mapping[str, Any]) -> Event | None:
    """The event that a task's `pending` hands to delivery, or none when there is none."""
    pending = task.get("pending") or {}
    if pending.get("to") != "delivery" or pending.get("what") not in DEFAULT_EVENTS:
        return None
    name = str(pending["what"])
    return Event(name, max(1, int((task.get("events") or {}).get(name, 1))))


def question_of(decision: Mapping[str, Any]) -> Event:
    """The event of a question that was asked."""
    return Event(ASKED, of=str(decision["_id"]).replace("/", "-"))


def named_endpoints(settings: Mapping[str, Any]) -> list[str]:
    """Names of the endpoints that a workflow's settings name: `endpoint`, then `endpoints`."""
    wanted = settings.get("delivery") or {}
    names = [wanted.get("endpoint"), *(wanted.get("endpoints") or ())]
    return list(dict.fromkeys(str(name) for name in names if name))[:ENDPOINTS_MAX]


def hears(settings: Mapping[str, Any], event: str, endpoint: Mapping[str, Any] | None) -> bool:
    """Whether an endpoint that a workflow names hears of an event.

    endpoint: its document, if there is one; its own list of events goes before the workflow's. Of one that does not
    exist a delivery is made all the same: it shows that the endpoint is missing.
    """
    own = endpoint.get("events") if endpoint else None
    events = own if own is not None else (settings.get("delivery") or {}).get("events")
    return event in (DEFAULT_EVENTS if events is None else events)


def body_text(event: Event, view: Mapping[str, Any], at: datetime) -> str:
    """The bytes of a webhook as text; made once, stored, never made again."""
    return _text(event_body(event.name, at=at, view=view))


def test_text(endpoint: str, at: datetime) -> str:
    """The bytes of a test event."""
    said = {"endpoint": endpoint, "message": "This is a test; nothing happened."}
    return _text({"type": "endpoint.test", "timestamp": moment(at), "data": said})


def delivery_id(task: str, endpoint: str, event: Event) -> str:
    """Identity of a delivery."""
    return f"{task}:{endpoint}:{event.key}"


def webhook_id(delivery: str) -> str:
    """The header webhook-id of a delivery: the same on every attempt."""
    return f"msg_{hashlib.sha256(delivery.encode()).hexdigest()[:32]}"


def lane_of(account: str, endpoint: str) -> str:
    """Where a delivery waits: one list per endpoint. It is the endpoint's id, too."""
    return f"{account}/{endpoint}"


def delivery_document(
    task: Mapping[str, Any], endpoint: str, event: Event, *, body: str, at: datetime
) -> dict[str, Any]:
    """A new delivery of a task's event, due at once."""
    return delivery(
        delivery_id(task["_id"], endpoint, event), task["account"], endpoint, event, body=body, at=at,
        task=task["_id"], workflow=task.get("workflow"), order=place(task, is_state=event.name in DEFAULT_EVENTS),
        traceparent=task.get("traceparent"),
    )  # fmt: skip


def question_document(
    decision: Mapping[str, Any], task: Mapping[str, Any] | None, endpoint: str, *, body: str, at: datetime
) -> dict[str, Any]:
    """A new delivery of a question. task: whose it is; none: it was asked while a run was set up."""
    event = question_of(decision)
    return delivery(
        delivery_id(decision.get("task") or decision["run"], endpoint, event), decision["account"], endpoint, event,
        body=body, at=at, task=decision.get("task"), workflow=decision.get("workflow"),
        order=place(task, is_state=False), traceparent=(task or {}).get("traceparent"),
    )  # fmt: skip


def test_document(account: str, endpoint: str, id: str, at: datetime) -> dict[str, Any]:
    """A delivery that tries an endpoint: before all others, and once. id: of this test."""
    made = delivery(
        delivery_id(id, endpoint, Event(TEST)), account, endpoint, Event(TEST), body=test_text(endpoint, at), at=at,
        task=None, workflow=None, order=0, traceparent=None,
    )  # fmt: skip
    return {**made, "next_at": FIRST_OF_ALL}


def delivery(
    id: str, account: str, endpoint: str, event: Event, *, body: str, at: datetime, task: str | None,
    workflow: str | None, order: int, traceparent: str | None,
) -> dict[str, Any]:  # fmt: skip
    """A new delivery, due at once. order: its place among those of its task."""
    return {
        "_id": id,
        "schema_version": SCHEMA_VERSION,
        "account": account,
        "task": task,
        "workflow": workflow,
        "endpoint": endpoint,
        "event": event.name,
        "order": order,
        "webhook_id": webhook_id(id),
        "body": body,
        "state": DELIVERY.initial.value,
        "reason": None,
        "attempts": [],
        "attempts_made": 0,
        "failed_since_replay": 0,
        "lane": lane_of(account, endpoint),
        "next_at": at,
        "claimed_until": None,
        "claimed_by": None,
        "created_at": at,
        "delivered_at": None,
        "traceparent": traceparent,
        "op": None,
    }


def result_document(task: Mapping[str, Any], event: Event, *, view: Mapping[str, Any], at: datetime) -> dict[str, Any]:
    """The feed's entry for an event, still without its number."""
    return {
        "_id": f"{task['_id']}:{event.key}",
        "schema_version": SCHEMA_VERSION,
        "account": task["account"],
        "workflow": task["workflow"],
        "task": task["_id"],
        "event": event.name,
        "body": _text(view),
        "at": at,
    }


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
