"""A collector of traces for tests: takes OTLP over HTTP as a real one does, decodes it, and keeps the spans."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

ROOT = ""


@dataclass(frozen=True)
class Received:
    """A span as the collector got it."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    start_ns: int
    end_ns: int
    failed: bool
    status: str
    attributes: Mapping[str, Any]
    links: tuple[tuple[str, str], ...]


class Receiver:
    """Keeps what it gets; the same span twice is one, as in a real store."""

    def __init__(self) -> None:
        self.spans: dict[tuple[str, str], Received] = {}
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        """What REGENTE_OTLP_URL is set to."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def trace(self, id: str) -> list[Received]:
        """The spans of one trace."""
        with self._lock:
            return [span for span in self.spans.values() if span.trace == id]

    def take(self, path: str, headers: Mapping[str, str], body: bytes) -> int:
        """Decode a request. Returns: the status to answer with."""
        if path != "/v1/traces" or headers.get("content-type") != "application/x-protobuf":
            return 404
        body = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        with self._lock:
            self.bodies.append(body)
            self.headers.append(dict(headers))
            if self.status == 200:
                for span in _decoded(body):
                    self.spans[span.trace, span.id] = span
            return self.status

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                status = receiver.take(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                self.send_response(status)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver that serves."""
    receiver = Receiver()
    receiver.start()
    try:
        yield receiver
    finally:
        receiver.stop()


def gaps(spans: list[Received], *, root: str = ROOT) -> list[str]:
    """What keeps spans from being one connected trace: parents that are missing, and roots that are none.

    root: span id of the partner's span that the trace hangs under; none: one span begins it.
    """
    ids = {span.id for span in spans}
    tops = [span for span in spans if span.parent == root]
    lost = [f"{span.name} hangs under {span.parent}" for span in spans if span.parent not in ids | {root}]
    return lost if len(tops) == 1 else [*lost, f"roots: {[span.name for span in tops]}"]


def _decoded(body: bytes) -> Iterator[Received]:
    for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
        about = {each.key: each.value.string_value for each in resource.resource.attributes}
        for scope in resource.scope_spans:
            for span in scope.spans:
                yield Received(
                    about["service.name"], span.name, span.trace_id.hex(), span.span_id.hex(),
                    span.parent_span_id.hex(), span.start_time_unix_nano, span.end_time_unix_nano,
                    span.status.code == 2, span.status.message,
                    {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes},
                    tuple((link.trace_id.hex(), link.span_id.hex()) for link in span.links),
                )  # fmt: skip
