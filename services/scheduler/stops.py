"""Asking an executor to end a run: after the task in hand, or now.

Called by: closing.py, standby.py. Survives a crash: the wish is a durable request whose id follows from the run, so it
is asked once, however many schedulers see the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from services.scheduler.hints import Hints
from services.scheduler.store.requests import RequestStore
from shared.mongo import Mongo
from shared.obs.logs import get_logger
from shared.obs.metrics import counter

STOPPED = counter("regente_runs_stopped_total", "Runs that were asked to end after the task in hand.", ["why"])

log = get_logger(__name__)


class Stops:
    """Asks for runs to end."""

    def __init__(self, mongo: Mongo, hints: Hints) -> None:
        self._requests = RequestStore(mongo)
        self._hints = hints

    async def ask(self, run: Mapping[str, Any], reason: str, why: str, *, now: bool = False) -> None:
        """End a run after the task in hand; `now` cuts that. reason: for people; why: one word, for the figures."""
        if not now and run.get("abort") is not None:
            return
        kind = "run.abort" if now else "run.stop"
        command = f"cmd_{'abort' if now else 'stop'}_{run['_id']}"
        args = {"reason": reason, "by": "scheduler"}
        if await self._requests.ask(command, kind=kind, to="executor", target=run["_id"], args=args):
            self._hints.command(command, "executor")
            STOPPED.labels(why).inc()
            log.info("run_to_end", run=run["_id"], worker=run["worker"], kind=kind, reason=reason)
