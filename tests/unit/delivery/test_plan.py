"""Which deliveries and feed entries follow from an event."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.delivery.core.plan import (
    DEFAULT_EVENTS,
    Event,
    body_text,
    delivery_document,
    delivery_id,
    endpoint_names,
    event_of,
    result_document,
    webhook_id,
)

AT = datetime(2027, 1, 31, 12, tzinfo=UTC)
names = st.sampled_from(sorted(DEFAULT_EVENTS))
lists = st.none() | st.lists(names, unique=True)


def task(**fields: Any) -> dict[str, Any]:
    return {"_id": "task_1", "account": "acme", "traceparent": "00-a-b-01", **fields}


def test_a_task_without_a_hand_over_to_delivery_has_no_event() -> None:
    assert event_of(task()) is None
    assert event_of(task(pending=None)) is None
    assert event_of(task(pending={"to": "scheduler", "what": "retry"})) is None
    assert event_of(task(pending={"to": "delivery", "what": "retry"})) is None


def test_an_event_carries_how_often_it_happened() -> None:
    held = task(pending={"to": "delivery", "what": "held"}, events={"held": 2})
    assert event_of(held) == Event("held", 2)
    assert event_of({**held, "events": {}}) == Event("held", 1)
    assert (Event("held", 1).key, Event("held", 2).key) == ("held", "held-2")


@given(names, lists, lists, st.booleans())
def test_the_endpoints_own_events_go_before_the_workflows(
    event: str, workflow: list[str] | None, own: list[str] | None, exists: bool
) -> None:
    delivery: dict[str, Any] = {"endpoint": "hook"}
    if workflow is not None:
        delivery["events"] = workflow
    endpoint = {"events": own} if exists else None
    effective = own if exists and own is not None else workflow
    expected = ["hook"] if effective is None or event in effective else []
    assert endpoint_names({"delivery": delivery}, event, endpoint) == expected


@pytest.mark.parametrize("settings", [{}, {"delivery": None}, {"delivery": {}}])
def test_a_workflow_without_an_endpoint_makes_no_delivery(settings: dict[str, Any]) -> None:
    assert endpoint_names(settings, "succeeded", None) == []


@given(
    st.lists(
        st.tuples(st.sampled_from(["t1", "t2"]), st.sampled_from(["a", "b"]), names, st.integers(1, 3)), unique=True
    )
)
def test_identities_differ_exactly_when_deliveries_do(found: list[tuple[str, str, str, int]]) -> None:
    ids = [delivery_id(task, endpoint, Event(name, count)) for task, endpoint, name, count in found]
    assert len(set(ids)) == len(found)
    assert len({webhook_id(id) for id in ids}) == len(found)
    assert ids == [delivery_id(task, endpoint, Event(name, count)) for task, endpoint, name, count in found]


def test_a_delivery_keeps_its_bytes_and_is_due_at_once() -> None:
    event = Event("failed", 1)
    body = body_text(event, {"id": "task_1", "state": "failed"}, AT)
    assert json.loads(body) == {
        "type": "task.failed",
        "timestamp": "2027-01-31T12:00:00.000Z",
        "data": {"id": "task_1", "state": "failed"},
    }
    document = delivery_document(task(), "hook", event, body=body, at=AT)
    assert document["_id"] == "task_1:hook:failed"
    assert document["webhook_id"].startswith("msg_")
    assert (document["state"], document["next_at"], document["body"]) == ("pending", AT, body)
    assert (document["claimed_by"], document["claimed_until"], document["attempts_made"]) == (None, None, 0)


def test_a_feed_entry_holds_the_task_itself() -> None:
    entry = result_document(task(), Event("held", 2), view={"id": "task_1"}, at=AT)
    assert (entry["_id"], entry["event"], json.loads(entry["body"])) == ("task_1:held-2", "held", {"id": "task_1"})
    assert "n" not in entry
