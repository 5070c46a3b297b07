"""What may come between two host calls of a run: a stop, a cancellation. Set by handlers, sweeps and timers.

Called by: runner.py, performing.py, phase.py. Survives a crash: nothing here; stops and cancellations are noted on the
run and the task, and read again by whoever goes on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from services.executor.core.journal import Phase
from services.executor.journal import Journal

PHASE_TIMEOUT = "phase_timeout"
"""Setup, a keep-alive or teardown took too long: that phase has failed; the run is not aborted by it."""
DEFECT = "defect"
"""The executor failed again and again at the same place."""
STOP_CODES = {
    "person": "ABORTED", "robot_lost": "ROBOT_LOST", "task_timeout": "TASK_TIMEOUT", PHASE_TIMEOUT: "PHASE_TIMEOUT",
    DEFECT: "DEFECT",
}  # fmt: skip


@dataclass
class Signals:
    """What a run's phases look at between two host calls."""

    stop: asyncio.Future[dict[str, Any]]
    """Set when the run is to stop: {kind: one of STOP_CODES, reason, by}."""
    after_task: dict[str, Any] | None = None
    """Set when the run is to end after the task in hand."""
    cancelled: dict[str, str] = field(default_factory=dict)
    """Tasks that are to end at their next instruction, each with the command that asked for it."""

    def end(self, stop: dict[str, Any]) -> None:
        """Have what looks at this stop; the first reason counts."""
        if not self.stop.done():
            self.stop.set_result(stop)

    def is_cancelled(self, journal: Journal) -> bool:
        """Whether the task in hand is to end."""
        return journal.phase is Phase.TASK and journal.task in self.cancelled
