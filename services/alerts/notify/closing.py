"""Closes what was gathered for a lane when its time has come, unless the lane's cap or a message under way forbids it.

Called by: service.py (a sweeper, on the instance that leads). Decisions: core/bundles.py. Survives a crash: closing is
one write that expects what was read. Change also: store.py.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.alerts.core.bundles import free_at
from services.alerts.notify.directory import Directory
from services.alerts.notify.store import NotifyStore
from shared.obs.clock import now
from shared.obs.metrics import counter

CAPPED = counter("alerts_capped_total", "Looks at which a message had to wait for the cap of its channel.")


class Closing:
    """Closes."""

    def __init__(self, store: NotifyStore, directory: Directory, *, closed: Callable[[], None]) -> None:
        """closed: called after something is to be sent."""
        self._store = store
        self._directory = directory
        self._closed = closed

    async def sweep(self) -> None:
        """Everything whose time has come."""
        due = await self._store.gathered(now())
        if due:
            await self._directory.refresh(now())
        for found in due:
            if await self._may_close(found) and await self._store.close(found, now()):
                self._closed()

    async def _may_close(self, found: Mapping[str, Any]) -> bool:
        lane = self._directory.lanes.get(found["lane"])
        if lane is None:
            return True  # the sender notes that there is no such channel any more
        head = await self._store.head(lane)
        if head.live:
            return False
        if free_at([at for at, _ in head.closed], lane.recipient.rate, now()) is not None:
            CAPPED.inc()
            return False
        return True
