"""What the services log under simulation: nothing but errors is looked at, unless a trace is kept.

Called by: world.py. An error with an exception is a surprise: production code tells of its own defects in no other way.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import structlog

if TYPE_CHECKING:
    from tests.sim.world import World

INFO, ERROR = 20, 40


@contextmanager
def captured(world: World) -> Iterator[None]:
    """Log lines go to the world."""
    before = structlog.get_config()

    def take(_: Any, level: str, event: MutableMapping[str, Any]) -> Any:
        error = event.get("exc_info")
        if error is True:
            error = sys.exc_info()[1]
        if isinstance(error, BaseException):
            world.surprise(f"logged: {event.get('event')}", error)
        if world.told is not None:
            world.tell(f"logs {level}: {dict(event)}")
        raise structlog.DropEvent

    try:
        structlog.configure(
            processors=[take],
            wrapper_class=structlog.make_filtering_bound_logger(ERROR if world.told is None else INFO),
            logger_factory=lambda *_: None,
            cache_logger_on_first_use=False,
        )
        yield
    finally:
        structlog.configure(**before)
