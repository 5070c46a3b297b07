"""What alerts does with events handed over to it, and on commands.

Called by: main.py (consumer, sweepers). Survives a crash at any line: an event stays pending until its alerts stand, a
command until it has ended; both can be done twice. Change also: ARCHITECTURE.md (Commands, hand-offs).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any

from services.alerts.core.events import happened
from services.alerts.store import AlertStore
from shared.broker import Delivery as Envelope
from shared.contracts.envelope import Message
from shared.contracts.messages import CommandIssued
from shared.domain.retry import backoff_s
from shared.errors import ErrorCode, PermanentError
from shared.obs.clock import now
from shared.obs.logs import get_logger
from shared.obs.metrics import counter
from shared.runtime import commands

EVENTS_MAX = 500
NOTE_MAX = 500
EVENTS = counter("alerts_events_total", "Events that alerts took over, by kind.", ["kind"])
log = get_logger(__name__)

Refusal = str | None
TestMessage = Callable[[Mapping[str, Any]], Awaitable[Refusal]]
"""Sends a test message for the command `alert.test`; why it was refused, or none."""


class Handlers:
    """Alerts' side of the hand-offs."""

    def __init__(self, store: AlertStore, *, changed: Callable[[], None], test: TestMessage | None = None) -> None:
        """changed: called after an alert changed, so that people are told at once. test: see TestMessage."""
        self._store = store
        self._changed = changed
        self._test = test

    async def on_message(self, message: Message, envelope: Envelope) -> None:
        """One message of alerts' queue."""
        if not isinstance(message, CommandIssued):
            raise PermanentError(ErrorCode.MALFORMED, f"alerts has no use for {message.KIND}")
        command = await commands.find(self._store.mongo, message.command)
        if command is not None and command["to"] == "alerts":
            await self.run_command(command)

    async def sweep_commands(self) -> None:
        """Do what was asked for and whose hint was lost."""
        for command in await commands.pending(self._store.mongo, "alerts"):
            await self.run_command(command)

    async def run_command(self, command: Mapping[str, Any]) -> None:
        """Do one thing that was asked for, and end the request."""
        match command["kind"]:
            case "alert.ack":
                refused = await self._acknowledge(command, True)
            case "alert.unack":
                refused = await self._acknowledge(command, False)
            case "alert.test" if self._test is not None:
                refused = await self._test(command)
            case _:
                refused = f"alerts does not know {command['kind']}"
        await commands.finish(self._store.mongo, command["_id"], "refused" if refused else "done", refused)

    async def _acknowledge(self, command: Mapping[str, Any], taken: bool) -> Refusal:
        note = str(command["args"].get("note") or "")[:NOTE_MAX]
        acked = {"by": command["by"], "at": command["created_at"], "note": note} if taken else None
        if taken and command["args"].get("notification"):
            return await self._acknowledge_all(str(command["args"]["notification"]), acked or {})
        id = str(command["args"].get("alert") or command["target"])
        if await self._store.acknowledge(id, acked, now()):
            self._changed()
            return None
        found = await self._store.alert(id)
        return f"there is no alert {id}" if found is None else f"the alert is {found['state']}, not firing"

    async def _acknowledge_all(self, notification: str, acked: Mapping[str, Any]) -> Refusal:
        """All that a message tells of and that nobody looks at yet. Killed halfway, the request is done again."""
        done = [
            id for id in await self._store.named_in(notification)
            if await self._store.acknowledge(id, acked, now(), free_only=True)
        ]  # fmt: skip
        if done:
            self._changed()
        return None

    async def sweep_events(self) -> None:
        """Take events over: their alerts first, then the note that they are taken."""
        events = await self._store.events_handed_over(now(), EVENTS_MAX)
        if not events:
            return
        rules = await self._store.rules()
        try:
            for one in happened(events, rules):
                await self._store.happened(one, now())
        except RuntimeError as error:
            claims = max(event["pending"]["claims"] for event in events)
            wait_s = backoff_s(claims + 1, first_s=1, factor=2, max_s=60)
            await self._store.put_off([event["_id"] for event in events], now() + timedelta(seconds=wait_s))
            log.warning("events not taken", count=len(events), reason=str(error))
            return
        await self._store.event_taken([event["_id"] for event in events])
        for event in events:
            EVENTS.labels(event["kind"]).inc()
        self._changed()
