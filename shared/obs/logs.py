"""Log lines: JSON to stderr, each with service, instance, trace and what is bound to the work at hand.

Called by: shared.runtime.service (`setup`), every module (`get_logger`, `bind`). Survives a crash: what was written
to stderr; shared/obs/log_store.py says what of it reaches the database.

Standard logging (pika, pymongo, uvicorn, asyncio) is translated into the same lines. Planned events of libraries stay
quiet: their loggers stand at WARNING or above, because the modules here tell the same in one line of their own.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog

from shared.obs import trace
from shared.obs.log_store import LogStore as LogStore
from shared.obs.log_store import to_store

EVENT_LENGTH_MAX = 2_000
QUIET = {
    "pika": logging.CRITICAL,
    "pymongo": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "uvicorn.access": logging.WARNING,
    "uvicorn.error": logging.WARNING,
    "asyncio": logging.ERROR,
    "multipart": logging.WARNING,
}
"""Libraries' loggers and from which level they are heard. shared/broker tells itself what pika would shout."""

_Event = MutableMapping[str, Any]
_about: dict[str, str] = {"service": "unknown", "instance": "unknown"}


def setup(service: str, instance: str, level: str = "INFO") -> None:
    """Send everything as JSON lines to stderr. May be called again; the last call counts."""
    _about.update(service=service, instance=instance)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_shared_steps(), structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                to_store,
                structlog.processors.JSONRenderer(default=str, ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name, quiet in QUIET.items():
        logging.getLogger(name).setLevel(max(quiet, root.level))
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared_steps(),
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module: `log.info("what happened", run=..., count=3)`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger


@contextmanager
def bind(**facts: Any) -> Iterator[None]:
    """Put facts (run, task, worker, account ...) on every line that this asyncio task writes inside."""
    with structlog.contextvars.bound_contextvars(**{name: fact for name, fact in facts.items() if fact is not None}):
        yield


def log_unhandled(loop: asyncio.AbstractEventLoop) -> None:
    """Log what ends an asyncio task unseen as one line with its stack, instead of asyncio's own text."""
    log = get_logger("asyncio")

    def on_unhandled(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        log.error("unhandled error", reason=context.get("message"), exc_info=error if error is not None else False)

    loop.set_exception_handler(on_unhandled)


def _shared_steps() -> list[Any]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        _add_about,
    ]


def _add_about(_: Any, __: str, event: _Event) -> _Event:
    """Service, instance and trace; an event's text has a limit."""
    for name, fact in _about.items():
        event.setdefault(name, fact)
    traceparent = trace.current()
    if traceparent is not None:
        event.setdefault("trace", trace.trace_id(traceparent))
    text = str(event.get("event", ""))
    event["event"] = text if len(text) <= EVENT_LENGTH_MAX else text[:EVENT_LENGTH_MAX] + "..."
    return event
