"""The trace that a piece of work belongs to, as W3C traceparent (https://www.w3.org/TR/trace-context/).

Called by: shared.broker (header of every message), shared.runtime.http (header of requests), shared.obs.logs (every
line carries the trace id), the services (stored on tasks and runs), spans.py. Survives a crash: what is stored on
documents, and every span's id, because ids follow from what the span is about (`derived`): whoever goes on with a run
continues its spans without having seen them. The context variable belongs to one asyncio task and ends with it.

The last two digits of a traceparent say whether the trace is recorded. That is decided once, where a trace begins, by
its id and the share that `sample` set (none until tracing is switched on), and then travels with it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_FORM = re.compile(r"^[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})$")
_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


_share = 0.0


def sample(share: float) -> None:
    """Record this share of the traces that begin in this process: 0 none, 1 all."""
    global _share
    _share = share


def is_chosen(trace: str) -> bool:
    """Whether a trace that begins here is recorded: by its id, so every process would say the same."""
    return int(trace[16:], 16) < _share * 2**64


def new_traceparent() -> str:
    """The first span of a new trace."""
    return begun(os.urandom(16).hex(), os.urandom(8).hex())


def begun(trace: str, span: str) -> str:
    """The traceparent of a span that begins a trace here. trace, span: 32 and 16 hex digits."""
    return f"00-{trace}-{span}-{'01' if is_chosen(trace) else '00'}"


def child(traceparent: str | None) -> str:
    """A new span of the same trace; a new trace when what is given is none."""
    return within(traceparent, os.urandom(8).hex()) if trace_id(traceparent) else new_traceparent()


def within(traceparent: str | None, span: str) -> str:
    """Another span of the same trace. Raises: ValueError when what is given is no traceparent."""
    found = _match(traceparent)
    if found is None:
        raise ValueError("this is no traceparent")
    return f"00-{found.group(1)}-{span}-{found.group(3)}"


def derived(kind: str, id: str) -> str:
    """The id of the span of a kind that is about the thing with this id: 16 hex digits, the same for everybody."""
    return hashlib.sha256(f"span/{kind}/{id}".encode()).hexdigest()[:16]


def derived_trace(kind: str, id: str) -> str:
    """The id of the trace that begins with the thing with this id: 32 hex digits."""
    return hashlib.sha256(f"trace/{kind}/{id}".encode()).hexdigest()[:32]


def trace_id(traceparent: str | None) -> str | None:
    """The 32 hex digits of the trace, or None when this is no traceparent."""
    found = _match(traceparent)
    return found.group(1) if found else None


def span_id(traceparent: str | None) -> str | None:
    """The 16 hex digits of the span, or None when this is no traceparent."""
    found = _match(traceparent)
    return found.group(2) if found else None


def is_sampled(traceparent: str | None) -> bool:
    """Whether the trace is recorded."""
    found = _match(traceparent)
    return found is not None and bool(int(found.group(3), 16) & 1)


def _match(traceparent: str | None) -> re.Match[str] | None:
    """ff is the version that the specification forbids."""
    return None if not traceparent or traceparent.startswith("ff") else _FORM.match(traceparent)


def current() -> str | None:
    """The traceparent of what this asyncio task is working on."""
    return _current.get()


@contextmanager
def use(traceparent: str | None) -> Iterator[str]:
    """Work under this traceparent; under a new one when it is None or malformed. Yields the one in use."""
    chosen = traceparent if traceparent and trace_id(traceparent) else new_traceparent()
    token = _current.set(chosen)
    try:
        yield chosen
    finally:
        _current.reset(token)
