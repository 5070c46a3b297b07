"""Hints to other services, sent beside the work: a lost one costs a sweep's interval, so nothing waits for one.

Called by: dispatch.py, recovery.py, requests.py, after the write that the hint is about. Survives a crash: nothing; the
receiver sweeps `pending`.
"""

from __future__ import annotations

import asyncio

from shared.broker import Broker
from shared.contracts.envelope import Message
from shared.contracts.messages import CommandIssued, RunOpened, TaskFinished
from shared.contracts.topology import HANDOFFS
from shared.errors import RegenteError
from shared.obs.logs import get_logger
from shared.obs.metrics import counter

IN_FLIGHT_MAX = 500
DROPPED = counter("regente_scheduler_hints_dropped_total", "Hints not sent: the receiver's sweep finds the work.", [])

log = get_logger(__name__)


class Hints:
    """Sends hints without making anybody wait; at most IN_FLIGHT_MAX at once, the others are dropped and counted."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self._tasks: set[asyncio.Task[None]] = set()

    def run_opened(self, run: str) -> None:
        """An executor may claim the run."""
        self._send("run.opened", RunOpened(run=run))

    def task_finished(self, task: str, event: str) -> None:
        """The task's partner is to hear of an event."""
        self._send("task.finished", TaskFinished(task=task, event=event))

    def command(self, command: str, to: str) -> None:
        """A request waits for another service."""
        self._send(f"command.{to}", CommandIssued(command=command, to=to))

    async def drain(self) -> None:
        """Wait for the hints in flight; called at the end."""
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=2.0)

    def _send(self, key: str, message: Message) -> None:
        if not self._broker.connected or len(self._tasks) >= IN_FLIGHT_MAX:
            DROPPED.inc()
            return
        task = asyncio.create_task(self._publish(key, message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _publish(self, key: str, message: Message) -> None:
        try:
            await self._broker.send(HANDOFFS, key, message)
        except RegenteError as error:
            DROPPED.inc()
            log.info("hint_not_sent", key=key, error=str(error))
