"""Which deliveries and feed entries follow from an event."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.delivery.core import plan
from services.delivery.core.plan import (
    DEFAULT_EVENTS,
    Event,
    body_text,
    delivery_document,
    delivery_id,
    event_of,
    hears,
    named_endpoints,
    question_document,
    result_document,
    webhook_id,
)

AT = datetime(2027, 1, 31, 12, tzinfo=UTC)
names = st.sampled_from(sorted(DEFAULT_EVENTS))
lists = st.none() | st.lists(names, unique=True)


def task(**fields: Any) -> dict[str, Any]:
    return {"_id": "task_1", "account": "acme", "workflow": "tax", "traceparent": "00-a-b-01", **fields}


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
    assert hears({"delivery": delivery}, event, endpoint) == (effective is None or event in effective)


@pytest.mark.parametrize(
    ("delivery", "expected"),
    [
        (None, []),
        ({}, []),
        ({"endpoint": "hook"}, ["hook"]),
        ({"endpoint": None, "endpoints": ["a", "b"]}, ["a", "b"]),
        ({"endpoint": "hook", "endpoints": ["a", "hook", "a"]}, ["hook", "a"]),
    ],
)
def test_a_workflow_names_one_endpoint_or_several(delivery: dict[str, Any] | None, expected: list[str]) -> None:
    assert named_endpoints({"delivery": delivery}) == expected
    assert named_endpoints({}) == []


def test_questions_are_sent_only_to_who_asks_for_them() -> None:
    assert not hears({"delivery": {"endpoint": "hook"}}, "decision", {"events": None})
    assert hears({"delivery": {"endpoint": "hook", "events": ["decision"]}}, "decision", None)
    assert hears({"delivery": {"endpoint": "hook"}}, "decision", {"events": ["decision"]})


def test_every_question_is_a_delivery_of_its_own_between_the_states_around_it() -> None:
    asked = {"_id": "run_1/00000003", "run": "run_1", "task": "task_1", "account": "acme", "workflow": "tax"}
    of = task(events={"held": 1})
    first = question_document(asked, of, "hook", body="{}", at=AT)
    second = question_document({**asked, "_id": "run_1/00000009"}, of, "hook", body="{}", at=AT)
    assert first["_id"] == "task_1:hook:decision-run_1-00000003"
    assert first["webhook_id"] != second["webhook_id"]
    held = delivery_document(of, "hook", Event("held", 1), body="{}", at=AT)
    done = delivery_document(task(events={"held": 1, "succeeded": 1}), "hook", Event("succeeded", 1), body="{}", at=AT)
    assert held["order"] < first["order"] < done["order"]
    in_setup = question_document({**asked, "task": None}, None, "hook", body="{}", at=AT)
    assert (in_setup["_id"], in_setup["task"]) == ("run_1:hook:decision-run_1-00000003", None)


def test_a_test_goes_before_everything_and_belongs_to_no_task() -> None:
    made = plan.test_document("acme", "hook", "test_1", AT)
    assert json.loads(made["body"])["type"] == "endpoint.test"
    assert (made["_id"], made["task"], made["lane"]) == ("test_1:hook:test", None, "acme/hook")
    assert made["next_at"] < AT


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
