"""What delivery does on hints, at its sweeps, and on commands.

Called by: main.py (consumer, sweepers). Survives a crash at any line: a task keeps its `pending` until its deliveries
and its feed entry stand, and all of these have identities of their own, so doing it twice changes nothing. Change
also: ARCHITECTURE.md (hand-offs).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from services.delivery.core.plan import body_text, delivery_document, endpoint_names, event_of, result_document
from services.delivery.core.replay import REPLAYED_IDS_MAX, replay_query
from services.delivery.store import DeliveryStore
from shared.broker import Delivery as Envelope
from shared.contracts.envelope import Message
from shared.contracts.messages import CommandIssued, TaskFinished
from shared.domain.retry import backoff_s
from shared.domain.task_view import task_view
from shared.errors import ErrorCode, PermanentError
from shared.obs.clock import now
from shared.obs.ids import new_id
from shared.obs.logs import get_logger
from shared.obs.metrics import counter
from shared.obs.trace import use
from shared.runtime import commands

SWEPT_MAX = 200
CLAIMS_MAX = 20
POISON_WAIT_S = 3600.0
EVENTS = counter("events_settled_total", "Events of tasks that delivery took over.", ["event"])
POISON = counter("events_poison_total", "Events that could not be settled in many claims.", [])

log = get_logger(__name__)


class Handlers:
    """Delivery's side of the hand-offs."""

    def __init__(self, store: DeliveryStore, *, collector_url: str, wake: Callable[[], None]) -> None:
        """wake: tells the sender that something is due."""
        self._store = store
        self._collector_url = collector_url
        self._wake = wake

    async def on_message(self, message: Message, envelope: Envelope) -> None:
        """One message of delivery's queue."""
        if isinstance(message, TaskFinished):
            await self.on_task_finished(message)
        elif isinstance(message, CommandIssued):
            await self.on_command_issued(message)
        else:
            raise PermanentError(ErrorCode.MALFORMED, f"delivery has no use for {message.KIND}")

    async def on_task_finished(self, message: TaskFinished) -> None:
        """A task reached an outcome."""
        task = await self._store.task(message.task)
        if task is not None:
            await self.settle(task)

    async def on_command_issued(self, message: CommandIssued) -> None:
        """Somebody asked for something."""
        command = await commands.find(self._store.mongo, message.command)
        if command is not None and command["to"] == "delivery":
            await self.run_command(command)

    async def settle(self, task: Mapping[str, Any]) -> None:
        """Make the deliveries and the feed entry of a task's event, then clear its `pending`."""
        event = event_of(task)
        if event is None:
            return
        with use(task.get("traceparent")):
            at = now()
            settings = await self._store.settings(task["account"], task["workflow"])
            name = (settings.get("delivery") or {}).get("endpoint")
            endpoint = await self._store.endpoint(task["account"], name) if name else None
            view = task_view(task, collector_url=self._collector_url)
            body = body_text(event, view, at)
            for wanted in endpoint_names(settings, event.name, endpoint):
                await self._store.add_delivery(delivery_document(task, wanted, event, body=body, at=at))
            await self._store.add_result(result_document(task, event, view=view, at=at))
            await self._store.clear_pending(task, event, new_id("op_"))
            EVENTS.labels(event.name).inc()
            log.info("outcome settled", task=task["_id"], account=task["account"], outcome=event.key)
        self._wake()

    async def sweep_tasks(self) -> None:
        """Settle tasks whose hint was lost, or whose settling failed."""
        for task in await self._store.tasks_waiting(now(), SWEPT_MAX):
            claims = int(task["pending"].get("claims", 0))
            wait_s = POISON_WAIT_S if claims >= CLAIMS_MAX else backoff_s(claims + 1, first_s=2, factor=2, max_s=60)
            if not await self._store.claim_task(task, now() + timedelta(seconds=wait_s), new_id("op_")):
                continue
            if claims >= CLAIMS_MAX:
                POISON.inc()
                log.error("outcome could not be settled; tried again hourly", task=task["_id"], claims=claims)
            await self._settle_alone(task)

    async def _settle_alone(self, task: Mapping[str, Any]) -> None:
        """Settle one task of a sweep: one that can't be settled must not keep the others from it."""
        try:
            await self.settle(task)
        except Exception:
            log.exception("outcome not settled; the sweep comes back to it", task=task["_id"])

    async def sweep_commands(self) -> None:
        """Carry out commands whose hint was lost."""
        for command in await commands.pending(self._store.mongo, "delivery"):
            await self.run_command(command)

    async def run_command(self, command: Mapping[str, Any]) -> None:
        """Carry out one command and say how it went."""
        if command["kind"] != "delivery.replay":
            await commands.finish(self._store.mongo, command["_id"], "refused", f"delivery knows no {command['kind']}")
            return
        query = replay_query(command.get("args") or {})
        if query is None:
            reason = f"name up to {REPLAYED_IDS_MAX} ids, or an account and its endpoint"
            await commands.finish(self._store.mongo, command["_id"], "refused", reason)
            return
        count = await self._store.replay(query, by=str(command.get("by")), at=now(), op=str(command["_id"]))
        log.info("deliveries replayed", command=command["_id"], count=count)
        await commands.finish(self._store.mongo, command["_id"], "done", f"{count} dead deliveries are tried again")
        self._wake()
