"""Spans on their way to a collector of traces, by OTLP over HTTP (https://opentelemetry.io/docs/specs/otlp/).

Called by: shared.runtime.service (`start`, `stop`), spans.py (`record`). Survives a crash: what was sent; at most the
last BATCH_S seconds of a killed process are missing, and their children still hang together, because ids follow from
documents (trace.py). Change also: docs/tracing.md.

Off until `start` was called, and then `record` costs a look at one variable. On, it puts the span in a queue of limited
length and returns: the queue drops what is too much, a thread of its own sends, and whatever the collector does ends
there. Attributes have names that stand in ATTRIBUTES, and nothing else leaves: no inputs, no values, no texts of
scripts or partners.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from shared.obs.clock import monotonic_s
from shared.obs.logs import get_logger
from shared.obs.metrics import counter
from shared.obs.trace import is_sampled, sample, span_id, trace_id

QUEUE_LENGTH_MAX = 4_096
BATCH_LENGTH_MAX = 512
BATCH_S = 1.0
SEND_TIMEOUT_S = 5.0
TEXT_LENGTH_MAX = 200
TOLD_EVERY_S = 60.0
ATTRIBUTES = frozenset({
    "account", "workflow", "scenario", "source", "batch", "task", "run", "worker", "executor", "endpoint", "delivery",
    "seq", "attempt", "attempts", "phase", "name", "place", "effect", "commit", "outcome", "code", "state", "reason",
    "event", "status", "accepted", "rejected", "tasks", "again", "estimated",
})  # fmt: skip
"""What a span may say: ids, names that operators gave, states, codes and numbers. Sent as `regente.<name>`."""

_log = get_logger(__name__)
_spans = counter("trace_spans_total", "Spans by what became of them: exported, dropped, failed.", ["outcome"])


class SpanKind(StrEnum):
    """Which side of a conversation a span is."""

    INTERNAL = "INTERNAL"
    """Work of our own."""
    SERVER = "SERVER"
    """Somebody asked, and was answered."""
    CLIENT = "CLIENT"
    """We asked, and waited for the answer."""


@dataclass(frozen=True)
class Span:
    """A piece of work that is over."""

    name: str
    traceparent: str
    """Its own: trace, span and whether it is recorded."""
    parent: str | None
    """Span id of what it is a part of; none: it begins the trace."""
    start: datetime
    end: datetime
    kind: SpanKind = SpanKind.INTERNAL
    error: str | None = None
    """A code, when it failed; never a text that a script or a partner wrote."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    links: Sequence[str] = ()
    """Traceparents of spans of other traces that it belongs to."""


class Exporter(Protocol):
    """Sends a batch; may block, may raise."""

    def send(self, spans: Sequence[Span]) -> bool:
        """Send them; whether the collector took them."""

    def close(self) -> None:
        """Cut off what is under way."""


class Recorder:
    """A queue of spans and the thread that sends them."""

    def __init__(self, exporter: Exporter, *, length_max: int = QUEUE_LENGTH_MAX, batch_s: float = BATCH_S) -> None:
        self._exporter = exporter
        self._length_max = length_max
        self._batch_s = batch_s
        self._spans: deque[Span] = deque()
        self._wake = threading.Event()
        self._ending = False
        self._told_s: float | None = None
        self._thread = threading.Thread(target=self._work, name="traces", daemon=True)
        self._thread.start()

    def add(self, span: Span) -> None:
        """Queue a span; at the limit it is dropped and counted. Never blocks."""
        if self._ending or len(self._spans) >= self._length_max:
            _spans.labels("dropped").inc()
            return
        self._spans.append(span)
        if len(self._spans) >= BATCH_LENGTH_MAX:
            self._wake.set()

    def close(self, timeout_s: float) -> None:
        """Send what is queued, as far as that is possible in the time. Blocks: call it from a thread."""
        self._ending = True
        self._wake.set()
        self._thread.join(timeout_s)
        _spans.labels("dropped").inc(len(self._spans))
        self._spans.clear()
        self._exporter.close()

    def _work(self) -> None:
        while not self._ending:
            self._wake.wait(self._batch_s)
            self._wake.clear()
            self._send_all()
        self._send_all()

    def _send_all(self) -> None:
        while self._spans:
            batch: list[Span] = []
            with contextlib.suppress(IndexError):  # `close` may clear the queue meanwhile
                while len(batch) < BATCH_LENGTH_MAX:
                    batch.append(self._spans.popleft())
            self._send(batch)

    def _send(self, batch: Sequence[Span]) -> None:
        reason = "the collector did not take them"
        try:
            sent = self._exporter.send(batch)
        except Exception as error:  # whatever it is: traces are not worth a service
            sent, reason = False, f"{type(error).__name__}: {error}"
        _spans.labels("exported" if sent else "failed").inc(len(batch))
        at_s = monotonic_s()
        if not sent and (self._told_s is None or at_s - self._told_s > TOLD_EVERY_S):
            self._told_s = at_s
            _log.warning("traces not sent", spans=len(batch), reason=reason)


_recorder: Recorder | None = None


def start(
    url: str, *, share: float, service: str, instance: str, version: str, headers: Mapping[str, str] | None = None
) -> None:
    """Record spans from now on. url: of the collector, `/v1/traces` is added when it has no path.

    share: of the traces that begin here, 0 to 1. headers: of each request, such as a token.
    """
    global _recorder
    from shared.obs.otlp import OtlpExporter  # a service that records nothing does not load it

    for name in ("opentelemetry", "urllib3", "requests"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # `traces not sent` says it, once a minute
    about = {"service.name": f"regente-{service}", "service.instance.id": instance, "service.version": version}
    sample(share)
    _recorder = Recorder(OtlpExporter(url, about, headers=headers or {}, timeout_s=SEND_TIMEOUT_S))


def stop(timeout_s: float) -> None:
    """Send what is queued, within `timeout_s`, and record nothing more. Blocks: call it from a thread."""
    global _recorder
    recorder, _recorder = _recorder, None
    sample(0.0)
    if recorder is not None:
        recorder.close(timeout_s)


def is_on() -> bool:
    """Whether anything is recorded in this process."""
    return _recorder is not None


def records(traceparent: str | None) -> bool:
    """Whether a span of this trace would be sent: what costs a read is left out otherwise."""
    return _recorder is not None and is_sampled(traceparent)


def record(span: Span) -> None:
    """Send a span, some time, if its trace is recorded. Never blocks, never raises."""
    if _recorder is not None and records(span.traceparent):
        _recorder.add(span)


def allowed(attributes: Mapping[str, Any]) -> dict[str, str | int | float | bool]:
    """What of a span's attributes may leave, under the names under which it is sent. Pure."""
    found: dict[str, str | int | float | bool] = {}
    for name, value in attributes.items():
        if name in ATTRIBUTES and value is not None:
            plain = value if isinstance(value, bool | int | float) else str(value)[:TEXT_LENGTH_MAX]
            found[f"regente.{name}"] = plain
    return found


def ids_of(traceparent: str) -> tuple[int, int]:
    """Trace and span as numbers. Raises: ValueError when this is no traceparent."""
    trace, span = trace_id(traceparent), span_id(traceparent)
    if trace is None or span is None:
        raise ValueError("this is no traceparent")
    return int(trace, 16), int(span, 16)
