"""What the collector does when people ask, through the console: requests in `commands`.

Called by: main.py (consumer of the hints, sweeper). Survives a crash: a request stays pending until it is ended, and
carrying it out twice makes nothing twice. Change also: ARCHITECTURE.md (commands).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.collector import by_hand
from services.collector.intake import Intake
from services.collector.sources.requests import RUN, TRY, Requests
from shared.broker import Delivery as Envelope
from shared.contracts.envelope import Message
from shared.contracts.messages import CommandIssued
from shared.errors import ErrorCode, PermanentError
from shared.mongo import Mongo
from shared.runtime import commands


class Handlers:
    """The collector's side of the commands."""

    def __init__(self, mongo: Mongo, intake: Intake, requests: Requests) -> None:
        self._mongo = mongo
        self._intake = intake
        self._requests = requests

    async def on_message(self, message: Message, envelope: Envelope) -> None:
        """One message of the collector's queue."""
        if not isinstance(message, CommandIssued):
            raise PermanentError(ErrorCode.MALFORMED, f"the collector has no use for {message.KIND}")
        command = await commands.find(self._mongo, message.command)
        if command is not None and command["to"] == "collector":
            await self.run_command(command)

    async def sweep_commands(self) -> None:
        """Carry out requests whose hint was lost."""
        for command in await commands.pending(self._mongo, "collector"):
            await self.run_command(command)

    async def run_command(self, command: Mapping[str, Any]) -> None:
        """Carry out one request. Raises: TemporaryError; it stays pending then."""
        if command["kind"] == RUN:
            await self._requests.on_run(command)
        elif command["kind"] == TRY:
            await self._requests.on_try(command)
        elif command["kind"] == by_hand.KIND:
            await by_hand.add_tasks(self._mongo, self._intake, command)
        else:
            text = f"{ErrorCode.UNKNOWN_COMMAND}: the collector knows no {command['kind']}"
            await commands.finish(self._mongo, str(command["_id"]), "refused", text)
