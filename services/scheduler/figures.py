"""Figures about the queue and the robots, for /metrics.

Called by: main.py, every few seconds. Owns nothing. Labels are bounded: workflows beyond WORKFLOWS_MAX are left out.
"""

from __future__ import annotations

from services.scheduler.presence import Presence
from services.scheduler.store.queue import QueueStore
from shared.mongo import Mongo
from shared.obs.metrics import gauge

WORKFLOWS_MAX = 100
COUNTED_MAX = 10_000
WAITING = gauge(
    "regente_tasks_waiting", f"Queued tasks, counted up to {COUNTED_MAX}; at most {WORKFLOWS_MAX} workflows.",
    ["account", "workflow"],
)  # fmt: skip


class Figures:
    """Counts what stands in the database."""

    def __init__(self, mongo: Mongo, presence: Presence) -> None:
        self._queue = QueueStore(mongo)
        self._presence = presence

    async def count(self) -> None:
        """Set the figures."""
        await self._presence.count()
        WAITING.clear()
        for workflow in await self._queue.published(WORKFLOWS_MAX):
            account, name = workflow["account"], workflow["name"]
            WAITING.labels(account, name).set(await self._queue.waiting(account, name, COUNTED_MAX))
