"""Spans as OpenTelemetry's SDK knows them, and its exporter for OTLP over HTTP.

Called by: tracing.py, on its thread, only where traces are recorded. Survives a crash: nothing. The only place that
imports opentelemetry: spans are made from documents with ids of their own, which no `Tracer` can do, so the SDK's
finished spans are made directly and handed to its exporter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from shared.obs.tracing import Span, allowed, ids_of

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SCOPE = InstrumentationScope("regente")


class OtlpExporter:
    """Sends spans to one collector. about: the resource that they are of; timeout_s: of a request with its retries."""

    def __init__(self, url: str, about: Mapping[str, str], *, headers: Mapping[str, str], timeout_s: float) -> None:
        self._resource = Resource(dict(about))
        self._exporter = OTLPSpanExporter(endpoint=endpoint(url), headers=headers, timeout=timeout_s)

    def send(self, spans: Sequence[Span]) -> bool:
        """Send them, with a few retries within the time; whether the collector took them."""
        return self._exporter.export([self._made(span) for span in spans]) is SpanExportResult.SUCCESS

    def close(self) -> None:
        """Cut off what is under way."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _made(self, span: Span) -> ReadableSpan:
        own = _context(span.traceparent)
        parent = SpanContext(own.trace_id, int(span.parent, 16), True, own.trace_flags) if span.parent else None
        failed = Status(StatusCode.ERROR, span.error) if span.error else Status(StatusCode.UNSET)
        start = _nanoseconds(span.start)
        return ReadableSpan(
            span.name, own, parent, self._resource, allowed(span.attributes), links=_links(span.links),
            kind=SpanKind[span.kind.value], status=failed, start_time=start,
            end_time=max(start, _nanoseconds(span.end)), instrumentation_scope=_SCOPE,
        )  # fmt: skip


def endpoint(url: str) -> str:
    """The address to post to: `/v1/traces` where the setting names only the collector."""
    return url if urlsplit(url).path.strip("/") else url.rstrip("/") + "/v1/traces"


def _links(traceparents: Sequence[str]) -> list[Link]:
    return [Link(_context(each)) for each in traceparents]


def _context(traceparent: str) -> SpanContext:
    trace, span = ids_of(traceparent)
    return SpanContext(trace, span, False, TraceFlags(TraceFlags.SAMPLED))


def _nanoseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1) * 1000
