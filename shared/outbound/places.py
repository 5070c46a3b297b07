"""So many at once per key, for keys that come and go.

Called by: exchange.py (hosts). Survives a crash: nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Places:
    """A semaphore per key; a key that nobody uses takes no memory."""

    def __init__(self, at_once_max: int) -> None:
        self._most = at_once_max
        self._gates: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        """Wait for a place, and hold it."""
        gate, users = self._gates.get(key) or (asyncio.Semaphore(self._most), 0)
        self._gates[key] = (gate, users + 1)
        try:
            async with gate:
                yield
        finally:
            users = self._gates[key][1] - 1
            if users:
                self._gates[key] = (gate, users)
            else:
                del self._gates[key]
