"""What people ask of adaptive waits: forget, learn no more, learn again.

Called by: handlers.py, for commands `pacing.reset` {place} and `pacing.freeze` {on, place}; target
`<account>/<workflow>`. Survives a crash: both are one write that may be repeated. Other executors follow at their
next refresh, within seconds.
"""

from __future__ import annotations

from typing import Any

from services.executor.pacing import Pacing
from services.executor.store_pacing import PacingStore

Done = tuple[bool, str | None]
"""Whether the command has ended, and why it was refused."""


class PacingRequests:
    """Works the commands."""

    def __init__(self, store: PacingStore, pacing: Pacing) -> None:
        self._store = store
        self._pacing = pacing

    async def reset(self, command: dict[str, Any]) -> Done:
        """Forget what was learned."""
        key, place = self._about(command)
        return self._ended(key, place, await self._store.reset(key, place))

    async def freeze(self, command: dict[str, Any]) -> Done:
        """Learn no more, or again."""
        key, place = self._about(command)
        on = command["args"].get("on")
        if not isinstance(on, bool):
            return True, "say whether: on is true or false"
        return self._ended(key, place, await self._store.freeze(key, place, on))

    def _about(self, command: dict[str, Any]) -> tuple[str, str | None]:
        place = command["args"].get("place")
        return str(command["target"]), None if place is None else str(place)

    def _ended(self, key: str, place: str | None, found: bool) -> Done:
        account, _, workflow = key.partition("/")
        self._pacing.forget(account, workflow)
        return True, None if found else f"nothing is known about the place {place}"
