"""The trace that a piece of work belongs to, as W3C traceparent (https://www.w3.org/TR/trace-context/).

Called by: shared.broker (header of every message), shared.runtime.http (header of requests), shared.obs.logs (every
line carries the trace id), the services (stored on tasks and runs). Survives a crash: what is stored on documents;
the context variable belongs to one asyncio task and ends with it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_FORM = re.compile(r"^[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}$")
_current: ContextVar[str | None] = ContextVar("traceparent", default=None)


def new_traceparent() -> str:
    """The first span of a new trace."""
    return f"00-{os.urandom(16).hex()}-{os.urandom(8).hex()}-01"


def child(traceparent: str | None) -> str:
    """A new span of the same trace; a new trace when what is given is none."""
    trace = trace_id(traceparent)
    return f"00-{trace}-{os.urandom(8).hex()}-01" if trace else new_traceparent()


def trace_id(traceparent: str | None) -> str | None:
    """The 32 hex digits of the trace, or None when this is no traceparent."""
    if not traceparent or traceparent.startswith("ff"):  # ff is the version that the specification forbids
        return None
    found = _FORM.match(traceparent)
    return found.group(1) if found else None


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
