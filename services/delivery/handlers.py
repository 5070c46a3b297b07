"""What delivery does on hints, at its sweeps, and on commands.

Called by: main.py (consumer, sweepers). Survives a crash at any line: a task keeps its `pending` until its deliveries
and its feed entry stand, and all of these have identities of their own, so doing it twice changes nothing. Change
also: ARCHITECTURE.md (hand-offs).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

from services.delivery.bodies import Bodies
from services.delivery.core.circuit import let_through
from services.delivery.core.collecting import waiting
from services.delivery.core.plan import (
    delivery_document,
    event_of,
    hears,
    lane_of,
    named_endpoints,
    question_document,
    question_of,
    result_document,
    test_document,
)
from services.delivery.core.replay import REPLAYED_IDS_MAX, replay_query
from services.delivery.feed import Feed
from services.delivery.store import DeliveryStore
from services.delivery.store_endpoints import EndpointStore
from shared.broker import Delivery as Envelope
from shared.contracts.envelope import Message
from shared.contracts.messages import CommandIssued, DecisionAsked, TaskFinished
from shared.domain.endpoint_options import collect_of
from shared.domain.retry import backoff_s
from shared.domain.task_state import FINAL
from shared.errors import ErrorCode, PermanentError
from shared.obs.clock import now
from shared.obs.ids import new_id
from shared.obs.logs import get_logger
from shared.obs.metrics import counter, gauge
from shared.obs.spans import note_settle, note_task, task_context
from shared.obs.trace import use
from shared.runtime import commands

SWEPT_MAX = 200
CLAIMS_MAX = 20
POISON_WAIT_S = 3600.0
EVENTS = counter("events_settled_total", "Events of tasks that delivery took over.", ["event"])
POISON = counter("events_poison_total", "Events that could not be settled in many claims.", [])

OPEN = gauge("delivery_circuits_open", "Endpoints whose circuit is open: their deliveries wait.", [])

log = get_logger(__name__)


class Handlers:
    """Delivery's side of the hand-offs."""

    def __init__(
        self,
        store: DeliveryStore,
        feed: Feed,
        endpoints: EndpointStore,
        bodies: Bodies,
        *,
        wake: Callable[[str | None], None],
    ) -> None:
        """wake: tells the sender that something is due, and for which endpoint (none: it has to look)."""
        self._store = store
        self._feed = feed
        self._endpoints = endpoints
        self._bodies = bodies
        self._wake = wake

    async def on_message(self, message: Message, envelope: Envelope) -> None:
        """One message of delivery's queue."""
        if isinstance(message, TaskFinished):
            await self.on_task_finished(message)
        elif isinstance(message, CommandIssued):
            await self.on_command_issued(message)
        elif isinstance(message, DecisionAsked):
            await self.on_decision_asked(message)
        else:
            raise PermanentError(ErrorCode.MALFORMED, f"delivery has no use for {message.KIND}")

    async def on_task_finished(self, message: TaskFinished) -> None:
        """A task reached an outcome."""
        task = await self._store.task(message.task)
        if task is not None:
            await self.settle(task)

    async def on_decision_asked(self, message: DecisionAsked) -> None:
        """A script asks a person."""
        decision = await self._store.decision(message.decision)
        if decision is not None:
            await self.settle_question(decision)

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
        if task.get("once"):  # somebody tried something out: no partner hears of it, no feed shows it
            note_task(task)
            await self._store.clear_pending(task, event, new_id("op_"))
            return
        with use(task_context(task)):
            at = now()
            for name, endpoint in await self._listeners(task["account"], task["workflow"], event.name):
                body = await self._bodies.of_task(task, event, endpoint, at)
                document = delivery_document(task, name, event, body=body, at=at)
                await self._store.add_delivery(waiting(document) if collect_of(endpoint) else document)
                self._wake(lane_of(task["account"], name))
            await self._feed.add(result_document(task, event, view=self._bodies.view(task), at=at))
            note_settle(task, event.key, at, now())
            if task["state"] in FINAL:
                note_task(task)
            await self._store.clear_pending(task, event, new_id("op_"))
            EVENTS.labels(event.name).inc()
            log.info("outcome settled", task=task["_id"], account=task["account"], outcome=event.key)

    async def settle_question(self, decision: Mapping[str, Any]) -> None:
        """Make the deliveries of a question, then clear its `pending`."""
        if (decision.get("pending") or {}).get("to") != "delivery":
            return
        task = await self._store.task(decision["task"]) if decision.get("task") else None
        if task is None or not task.get("once"):
            event = question_of(decision)
            for name, endpoint in await self._listeners(decision["account"], decision["workflow"], event.name):
                body = await self._bodies.of_question(decision, task, endpoint)
                await self._store.add_delivery(question_document(decision, task, name, body=body, at=now()))
                self._wake(lane_of(decision["account"], name))
            EVENTS.labels(event.name).inc()
        await self._store.clear_decision(decision["_id"])

    async def _listeners(self, account: str, workflow: str, event: str) -> list[tuple[str, Mapping[str, Any] | None]]:
        """Names and documents of the endpoints that hear of an event of a workflow."""
        settings = await self._store.settings(account, workflow)
        names = named_endpoints(settings)
        known = await self._endpoints.endpoints_by_id([lane_of(account, name) for name in names]) if names else {}
        found = [(name, known.get(lane_of(account, name))) for name in names]
        return [(name, endpoint) for name, endpoint in found if hears(settings, event, endpoint)]

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

    async def sweep_decisions(self) -> None:
        """Settle questions whose hint was lost, or whose settling failed."""
        for decision in await self._store.decisions_waiting(now(), SWEPT_MAX):
            claims = int(decision["pending"].get("claims", 0))
            wait_s = POISON_WAIT_S if claims >= CLAIMS_MAX else backoff_s(claims + 1, first_s=2, factor=2, max_s=60)
            if not await self._store.put_off_decision(decision, now() + timedelta(seconds=wait_s)):
                continue
            try:
                await self.settle_question(decision)
            except Exception:
                log.exception("question not settled; the sweep comes back to it", decision=decision["_id"])

    async def sweep_circuits(self) -> None:
        """Tell what a process that died had no time to tell, and count open circuits."""
        for endpoint in await self._endpoints.untold():
            await self._endpoints.tell(endpoint)
        OPEN.set(await self._endpoints.open_count())

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
        args = command.get("args") or {}
        if command["kind"] == "endpoint.test":
            await self._test(command, str(args.get("account")), str(args.get("endpoint")))
            return
        if command["kind"] != "delivery.replay":
            await commands.finish(self._store.mongo, command["_id"], "refused", f"delivery knows no {command['kind']}")
            return
        query = replay_query(args)
        if query is None:
            reason = f"name up to {REPLAYED_IDS_MAX} ids, or an account and a filter (its endpoint, a workflow, a time)"
            await commands.finish(self._store.mongo, command["_id"], "refused", reason)
            return
        count = await self._store.replay(query, by=str(command.get("by")), at=now(), op=str(command["_id"]))
        log.info("deliveries replayed", command=command["_id"], count=count)
        await commands.finish(self._store.mongo, command["_id"], "done", f"{count} dead deliveries are tried again")
        self._wake(None)

    async def _test(self, command: Mapping[str, Any], account: str, name: str) -> None:
        """Send a test event to an endpoint; the command's reason is the delivery's id."""
        made = await add_test(self._store, self._endpoints, account, name, mark=str(command["_id"]))
        if made is None:
            reason = f"there is no endpoint {name} in {account}"
            await commands.finish(self._store.mongo, command["_id"], "refused", reason)
            return
        await commands.finish(self._store.mongo, command["_id"], "done", made["_id"])
        self._wake(lane_of(account, name))


async def add_test(
    store: DeliveryStore, endpoints: EndpointStore, account: str, name: str, *, mark: str
) -> dict[str, Any] | None:
    """Make the delivery of a test event: signed, recorded and attempted (once) like others, before all others. An open
    circuit lets it through as its probe. None: there is no such endpoint. mark: what makes it the same test."""
    if await endpoints.shown(account, name) is None:
        return None
    document = test_document(account, name, mark, now())
    await store.add_delivery(document)
    await endpoints.change_circuit(lane_of(account, name), lambda circuit: let_through(circuit, now()))
    return document
