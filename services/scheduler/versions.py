"""Versions as the scheduler needs them: their scenarios and the check of inputs. A version never changes, so it is
kept.

Called by: board.py, dispatch.py, keys.py. Survives a crash: nothing; it is read again.
"""

from __future__ import annotations

from services.scheduler.core.order import Plan, plan_of
from services.scheduler.store.queue import QueueStore
from shared.obs.logs import get_logger
from shared.script.inputs import InputCheck

KEPT_MAX = 2000

log = get_logger(__name__)


class Versions:
    """Plans and input checks by the version's id."""

    def __init__(self, queue: QueueStore) -> None:
        self._queue = queue
        self._kept: dict[str, tuple[Plan, InputCheck]] = {}

    async def plan(self, id: str) -> Plan | None:
        """The plan of a version; none when it can't be run."""
        kept = await self._get(id)
        return None if kept is None else kept[0]

    async def check(self, id: str) -> InputCheck | None:
        """The check of inputs of a version; none when it can't be run."""
        kept = await self._get(id)
        return None if kept is None else kept[1]

    async def _get(self, id: str) -> tuple[Plan, InputCheck] | None:
        kept = self._kept.get(id)
        if kept is not None:
            return kept
        version = await self._queue.version(id)
        if version is None or not version.get("scenarios"):
            reason = "it does not exist or has no scenario; publish the workflow again"
            log.error("version_unusable", version=id, reason=reason)
            return None
        if len(self._kept) >= KEPT_MAX:
            self._kept.pop(next(iter(self._kept)))
        self._kept[id] = (plan_of(version), InputCheck(version.get("input") or {}))
        return self._kept[id]
