"""The one shape in which a partner sees a task."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from shared.domain.task_view import event_body, moment, task_view

AT = datetime(2027, 1, 31, 12, 0, 0, 5000, tzinfo=UTC)
TASK = {
    "_id": "task_1",
    "account": "acme",
    "reference": "r",
    "workflow": "tax",
    "batch": "batch_1",
    "state": "failed",
    "attempts": 2,
    "created_at": AT,
    "finished_at": AT,
    "input": {"password": "never shown"},
    "held_by": {"run": "run_1"},
    "error": {"kind": "business", "code": "UNKNOWN", "message": "no", "line": 7, "traceback": ["secret"]},
    "hold": {"reason": "in_doubt", "text": "maybe", "at": AT, "run": "run_1", "seq": 4},
    "evidence": [{"id": "ev_1", "name": "page", "sha256": "ab", "media_type": "image/png", "size_bytes": 3}],
    "result": {"output": {"protocol": "P-1"}},
}
KEYS = (
    "id reference workflow batch state priority attempts created_at finished_at result error evidence hold why_waiting"
)


def test_the_shape_is_exactly_the_documented_one() -> None:
    view = task_view(TASK, collector_url="http://c:1/")
    assert list(view) == KEYS.split()
    json.dumps(view)
    assert view["error"] == {"kind": "business", "code": "UNKNOWN", "message": "no"}
    assert view["hold"] == {"reason": "in_doubt", "text": "maybe"}
    assert view["evidence"][0]["url"] == "http://c:1/v1/evidence/ev_1"
    assert view["result"] == {"protocol": "P-1"}
    assert "never shown" not in json.dumps(view)


def test_a_task_that_just_came_has_the_same_shape() -> None:
    view = task_view(
        {"_id": "t", "reference": "r", "workflow": "w", "state": "queued"}, collector_url="", why_waiting="x"
    )
    assert list(view) == KEYS.split()
    assert (view["why_waiting"], view["evidence"], view["result"], view["error"]) == ("x", [], None, None)


def test_times_are_utc_with_milliseconds() -> None:
    assert moment(AT) == "2027-01-31T12:00:00.005Z"
    assert moment(AT.replace(tzinfo=None)) == "2027-01-31T12:00:00.005Z"
    assert moment(None) is None


def test_an_event_wraps_the_view() -> None:
    assert event_body("held", at=AT, view={"id": "t"}) == {
        "type": "task.held",
        "timestamp": "2027-01-31T12:00:00.005Z",
        "data": {"id": "t"},
    }
