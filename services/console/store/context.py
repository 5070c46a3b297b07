"""What the console's queries and requests need: the open connections, and what is kept for a moment.

Called by: main.py (makes it), api and pages (pass it to the functions of store). Survives a crash: nothing lives here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from services.console.config import ConsoleSettings
from services.console.core.address_limit import AddressLimit
from services.console.core.login_limit import LoginLimit
from shared.broker import Broker
from shared.broker.admin import BrokerAdmin
from shared.mongo import Mongo
from shared.mongo.lease import StillTimes
from shared.seal import Sealer

CHECKS_AT_ONCE_MAX = 2
HASHES_AT_ONCE_MAX = 2
FILES_READ_AT_ONCE_MAX = 2
PAGES_CACHE_S = 1.0
LINK_REQUESTS_MAX, LINK_WINDOW_S = 240, 60.0
LINK_MISSES_MAX, LINK_MISSES_WINDOW_S = 20, 300.0
LEASE_GAP_COUNTED_S_MAX = 10.0
"""Leases are looked at while somebody watches; who looks seldom finds out later, and raises no false alarm."""


class Moment:
    """Answers that are the same for everybody, kept for about a second: many open pages cost one query."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[float, Any]] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def get(self, key: str, ask: Callable[[], Awaitable[Any]], keep_s: float = PAGES_CACHE_S) -> Any:
        """The kept answer for `key`, or what `ask` gives now; concurrent callers wait for one question.

        Keys are few.
        """
        async with self._locks.setdefault(key, asyncio.Lock()):
            at, answer = self._kept.get(key, (-keep_s, None))
            if time.monotonic() - at < keep_s:
                return answer
            answer = await ask()
            self._kept[key] = (time.monotonic(), answer)
            return answer


@dataclass
class Context:
    """The console's connections."""

    mongo: Mongo
    broker: Broker
    admin: BrokerAdmin
    sealer: Sealer
    settings: ConsoleSettings
    login_limit: LoginLimit = field(default_factory=LoginLimit)
    link_limit: AddressLimit = field(default_factory=lambda: AddressLimit(LINK_REQUESTS_MAX, LINK_WINDOW_S))
    """All requests behind decisions' links, by address."""
    link_misses: AddressLimit = field(default_factory=lambda: AddressLimit(LINK_MISSES_MAX, LINK_MISSES_WINDOW_S))
    """Those with a wrong token."""
    moment: Moment = field(default_factory=Moment)
    checking: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CHECKS_AT_ONCE_MAX))
    """Scripts are checked in subprocesses of their own; so many at once."""
    parsing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(FILES_READ_AT_ONCE_MAX))
    """Uploads are read in threads; a large one takes seconds and a few hundred megabytes."""
    hashing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(HASHES_AT_ONCE_MAX))
    """argon2 takes 64 MiB a time."""
    still: StillTimes = field(default_factory=lambda: StillTimes(gap_counted_s_max=LEASE_GAP_COUNTED_S_MAX))
    """For how long leases stand still, as this process sees it; see store/watch.py."""
