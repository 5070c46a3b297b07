"""Spans made from documents: whoever makes them makes the same, and they hang together."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.obs import spans, trace
from shared.obs.spans import Performed
from shared.obs.tracing import Span

AT = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
SECONDS = st.floats(0, 3600).map(lambda seconds: timedelta(seconds=round(seconds, 3)))


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Span]]:
    """What is recorded."""
    found: list[Span] = []
    trace.sample(1.0)
    monkeypatch.setattr(spans, "record", found.append)
    monkeypatch.setattr(spans, "records", trace.is_sampled)
    yield found
    trace.sample(0.0)


def task(id: str = "task_1", traceparent: str | None = None, **fields: Any) -> dict[str, Any]:
    return {
        "_id": id, "account": "acme", "workflow": "tax", "batch": "batch_1", "traceparent": traceparent,
        "created_at": AT, "updated_at": AT, "state": "succeeded", "finished_at": AT + timedelta(seconds=9), **fields,
    }  # fmt: skip


def run(of: dict[str, Any], **fields: Any) -> dict[str, Any]:
    tasks = [{"task": of["_id"], "attempt": 1}]
    return {"_id": "run_1", "account": "acme", "workflow": "tax", "worker": "00155d010203", "tasks": tasks,
            "traceparent": spans.task_context(of), "opened_at": AT, **fields}  # fmt: skip


def entry(seq: int = 4) -> dict[str, Any]:
    asked = {"name": "browser.fill", "effect": "act", "commit": False, "args": {"text": "planted"}}
    return {"seq": seq, "task": "task_1", "at": AT, "attempt": 1, "instruction": asked}


def all_of(one: dict[str, Any], on: dict[str, Any], push: str, given: str | None) -> None:
    """The spans of a task's whole way."""
    spans.note_push(push, given, AT, AT, account="acme")
    with spans.taken(on, [one]):
        assert trace.current() == spans.run_context(on)
    attempt = spans.attempt_context(on, one, 1)
    how = Performed(AT, AT + timedelta(seconds=3), AT + timedelta(seconds=1), 1.0, "robot", "done")
    spans.note_instruction(attempt, on, entry(), how)
    spans.note_attempt(on, one, 1, AT, (AT, AT), state="succeeded", code="")
    spans.note_phase(on, 1, "setup", AT, AT, "")
    spans.note_run(on, AT, state="finished", reason="completed", code="")
    spans.note_settle(one, "succeeded:1", AT, AT)
    spans.note_task(one)
    delivery = {"_id": "d", "task": one["_id"], "account": "acme", "endpoint": "e", "event": "succeeded",
                "traceparent": one["traceparent"], "attempts_made": 0}  # fmt: skip
    spans.note_delivery(delivery, AT, AT, outcome="delivered", status=200)


NAMES = ["push", "queue", "instruction browser.fill", "server", "queue", "robot", "attempt", "outcome", "setup", "run",
         "settle", "task", "delivery"]  # fmt: skip


@pytest.mark.parametrize("given_", [None, f"00-{'7' * 32}-{'8' * 16}-01"])
def test_one_connected_trace_from_push_to_delivery(recorded: list[Span], given_: str | None) -> None:
    push = spans.push_context("batch_1", given_)
    one = task(traceparent=push)
    all_of(one, run(one), push, given_)
    assert [span.name for span in recorded] == NAMES
    assert len({trace.trace_id(span.traceparent) for span in recorded}) == 1
    ids = [trace.span_id(span.traceparent) for span in recorded]
    assert len(set(ids)) == len(ids)
    roots = [span for span in recorded if span.parent not in ids]
    assert [(span.name, span.parent) for span in roots] == [("push", trace.span_id(given_))]
    assert "planted" not in repr(recorded)


def test_a_task_with_a_trace_of_its_own_is_linked_to_its_push_and_its_run(recorded: list[Span]) -> None:
    push = spans.push_context("batch_1", None)
    first, other = task(traceparent=push), task("task_2", spans.own_trace("task_2"))
    on = run(first)
    all_of(other, on, push, None)
    mine = {span.name: span for span in recorded if trace.trace_id(span.traceparent) != trace.trace_id(push)}
    assert set(mine) == {"instruction browser.fill", "server", "queue", "robot", "attempt", "outcome", "settle",
                         "task", "delivery"}  # fmt: skip
    ids = {trace.span_id(span.traceparent) for span in mine.values()}
    assert [name for name, span in mine.items() if span.parent not in ids] == ["task"]
    assert mine["task"].parent is None
    assert mine["task"].links == (push,)
    assert mine["attempt"].links == (spans.run_context(on),)


def test_the_same_from_every_process(recorded: list[Span]) -> None:
    push = spans.push_context("batch_1", None)
    one = task(traceparent=push)
    for _ in range(2):
        all_of(one, run(one), push, None)
    half, who = len(recorded) // 2, [(span.name, span.traceparent, span.parent, span.links) for span in recorded]
    assert who[:half] == who[half:]


def test_documents_without_a_trace_have_one_all_the_same(recorded: list[Span]) -> None:
    one = task()
    warm = run(one, traceparent=None, tasks=[])
    assert trace.trace_id(spans.run_context(warm)) != trace.trace_id(spans.task_context(one))
    all_of(one, warm, spans.push_context("b", None), None)
    assert all(trace.trace_id(span.traceparent) for span in recorded)


@given(SECONDS, SECONDS, st.one_of(st.none(), st.floats(-5, 7200)))
def test_an_instructions_parts_lie_within_it(first: timedelta, waited: timedelta, robot_s: float | None) -> None:
    sent, answered = AT + first, AT + first + waited
    parts = {name: (start, end) for name, start, end, _ in spans._parts(Performed(AT, answered, sent, robot_s))}
    assert parts["server"] == (AT, sent)
    assert parts["queue"] == (sent, answered)
    if robot_s is not None:
        start, end = parts["robot"]
        assert sent <= start <= end <= answered
        took = min(max(0.0, robot_s), waited.total_seconds())
        assert abs((end - start).total_seconds() - took) < 1e-3


@pytest.mark.parametrize(
    ("fields", "since"),
    [
        ({}, 0),
        ({"eligible_at": AT + timedelta(seconds=5)}, 5),
        ({"history": [{"at": AT + timedelta(seconds=3), "state": "queued"}]}, 3),
        ({"history": [{"at": AT + timedelta(seconds=3), "state": "held"}]}, 0),
    ],
)
def test_since_when_a_task_waits(recorded: list[Span], fields: dict[str, Any], since: int) -> None:
    one = task(**fields)
    spans.note_queue(run(one), one, AT + timedelta(seconds=60))
    assert recorded[0].start == AT + timedelta(seconds=since)
