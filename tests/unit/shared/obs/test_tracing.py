"""Spans on their way out: a queue with a limit, nobody waits, and only what may leave does."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.obs import metrics, trace, tracing
from shared.obs.otlp import endpoint
from shared.obs.spans import push_context
from shared.obs.tracing import Recorder, Span, allowed, record, records
from tests.otlp_receiver import receiving

AT = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
HEX = st.text("0123456789abcdef", min_size=32, max_size=32).filter(lambda text: set(text) != {"0"})


def span(name: str = "push", **fields: Any) -> Span:
    return Span(name, f"00-{'a' * 32}-{'b' * 16}-01", None, AT, AT + timedelta(seconds=1), **fields)


def counted(outcome: str) -> float:
    return float(metrics.counter("trace_spans_total", "", ["outcome"]).labels(outcome)._value.get())


class Held:
    """An exporter that takes nothing until it is let go."""

    def __init__(self) -> None:
        self.go, self.asked, self.sent = threading.Event(), threading.Event(), 0
        self.closed = False

    def send(self, spans: Sequence[Span]) -> bool:
        self.asked.set()
        assert self.go.wait(30)
        self.sent += len(spans)
        return True

    def close(self) -> None:
        self.closed = True
        self.go.set()


def test_a_queue_that_nobody_empties_drops_and_counts() -> None:
    held, dropped = Held(), counted("dropped")
    recorder = Recorder(held, length_max=10, batch_s=0.01)
    recorder.add(span())
    assert held.asked.wait(30)  # that one is out of the queue
    for _ in range(25):
        recorder.add(span())
    assert counted("dropped") - dropped == 15
    held.go.set()
    recorder.close(30)
    assert (held.sent, held.closed) == (11, True)


def test_closing_does_not_wait_for_a_collector_that_hangs() -> None:
    held, dropped = Held(), counted("dropped")
    recorder = Recorder(held, length_max=10, batch_s=0.01)
    recorder.add(span())
    assert held.asked.wait(30)
    recorder.add(span())
    recorder.close(0.05)
    assert held.closed
    assert counted("dropped") - dropped == 1
    recorder.add(span())
    assert counted("dropped") - dropped == 2


def test_an_exporter_that_raises_costs_its_batch_and_no_more() -> None:
    class Broken:
        times = 0

        def send(self, spans: Sequence[Span]) -> bool:
            self.times += 1
            raise RuntimeError("no route to host")

        def close(self) -> None:
            pass

    broken, failed = Broken(), counted("failed")
    recorder = Recorder(broken, batch_s=0.01)
    recorder.add(span())
    recorder.close(30)
    assert broken.times == 1
    assert counted("failed") - failed == 1


@given(st.dictionaries(st.sampled_from([*sorted(tracing.ATTRIBUTES), "input", "value", "password", "message"]),
                       st.one_of(st.none(), st.text(max_size=500), st.integers(), st.floats(), st.booleans(),
                                 st.lists(st.text()))))  # fmt: skip
def test_only_known_attributes_leave_and_short_ones(given_: dict[str, Any]) -> None:
    found = allowed(given_)
    assert set(found) == {f"regente.{name}" for name in given_ if name in tracing.ATTRIBUTES
                          and given_[name] is not None}  # fmt: skip
    assert all(len(value) <= tracing.TEXT_LENGTH_MAX for value in found.values() if isinstance(value, str))


@pytest.fixture
def share() -> Iterator[None]:
    yield
    trace.sample(0.0)


@given(HEX, st.floats(0, 1), st.floats(0, 1))
def test_who_is_chosen_at_a_share_is_chosen_at_a_larger_one(id: str, one: float, other: float) -> None:
    try:
        trace.sample(min(one, other))
        fewer = trace.is_chosen(id)
        trace.sample(max(one, other))
        assert not fewer or trace.is_chosen(id)
        trace.sample(1.0)
        assert trace.is_chosen(id)
        trace.sample(0.0)
        assert not trace.is_chosen(id)
    finally:
        trace.sample(0.0)


@pytest.mark.usefixtures("share")
def test_a_share_is_about_that_share() -> None:
    trace.sample(0.25)
    chosen = sum(trace.is_sampled(trace.new_traceparent()) for _ in range(4_000))
    assert 700 < chosen < 1_300


@pytest.mark.usefixtures("share")
def test_the_choice_travels_with_the_trace() -> None:
    kept = f"00-{'1' * 32}-{'2' * 16}-01"
    assert trace.is_sampled(trace.child(kept))
    assert trace.is_sampled(trace.within(kept, "3" * 16))
    assert not trace.is_sampled(push_context("batch_1", kept)), "what a partner wants recorded is not for it to say"
    trace.sample(1.0)
    assert trace.is_sampled(push_context("batch_1", f"00-{'1' * 32}-{'2' * 16}-00"))


def test_off_nothing_is_recorded() -> None:
    assert not records(f"00-{'a' * 32}-{'b' * 16}-01")
    record(span())


def test_a_collector_gets_a_span_as_it_was() -> None:
    with receiving() as receiver:
        tracing.start(receiver.url, share=1.0, service="collector", instance="collector-1", version="0.1.0",
                      headers={"authorization": "Bearer planted"})  # fmt: skip
        try:
            link = f"00-{'c' * 32}-{'d' * 16}-01"
            record(span(error="NOT_FOUND", attributes={"task": "task_1", "seq": 3, "input": "planted"}, links=[link]))
            record(Span("unsampled", f"00-{'e' * 32}-{'b' * 16}-00", None, AT, AT))
        finally:
            tracing.stop(30)
    (found,) = receiver.spans.values()
    assert (found.service, found.name, found.trace, found.id, found.parent) == (
        "regente-collector", "push", "a" * 32, "b" * 16, ""
    )  # fmt: skip
    assert found.end_ns - found.start_ns == 1_000_000_000
    assert (found.failed, found.status) == (True, "NOT_FOUND")
    assert found.attributes == {"regente.task": "task_1", "regente.seq": 3}
    assert found.links == (("c" * 32, "d" * 16),)
    assert receiver.headers[0]["authorization"] == "Bearer planted"
    assert not records(span().traceparent)


def test_a_collector_that_refuses_costs_nobody_anything() -> None:
    failed = counted("failed")
    with receiving() as receiver:
        receiver.status = 400
        tracing.start(receiver.url, share=1.0, service="collector", instance="c", version="0")
        record(span())
        tracing.stop(30)
    assert counted("failed") - failed == 1


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://c:4318", "/v1/traces"),
        ("http://c:4318/", "/v1/traces"),
        ("https://c/otlp/v1/traces", "/otlp/v1/traces"),
    ],
)
def test_where_spans_are_posted(url: str, path: str) -> None:
    assert endpoint(url).endswith(path)
    assert endpoint(url).startswith(url.rstrip("/"))
