"""One attempt: from a claimed delivery to the note of how it went.

Called by: sender.py. Survives a crash at any line: what is not noted is repeated when its claim ends, with the same
webhook-id and the same bytes. First the delivery's fate is noted, then what the answer makes of the endpoint's circuit:
a process that dies between the two costs one failure that is not counted.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.delivery.channels import Channel, kind_of
from services.delivery.config import DeliverySettings
from services.delivery.core.circuit import CLEAN, after_answer, circuit_of, rules_of
from services.delivery.core.order import LAST
from services.delivery.core.outcome import Answer, Next, after_attempt, attempt_record, meaning
from services.delivery.core.plan import TEST, lane_of
from services.delivery.store import DeliveryStore
from services.delivery.store_endpoints import EndpointStore
from shared.domain.delivery_state import DeliveryState
from shared.domain.endpoint import WEBHOOK
from shared.obs.clock import now
from shared.obs.ids import new_id
from shared.obs.logs import get_logger
from shared.obs.metrics import counter, histogram
from shared.obs.spans import delivery_context, note_delivery
from shared.obs.trace import use

ATTEMPTS = counter("delivery_attempts_total", "Attempts to deliver.", ["meaning"])
DEAD = counter("deliveries_dead_total", "Deliveries given up; a person may replay them.", [])
SECONDS = histogram("delivery_attempt_seconds", "Time of an attempt.", [])
DELAY = histogram(
    "delivery_delay_seconds", "From when a delivery was made to when its endpoint took it.", [],
    (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400),
)  # fmt: skip

log = get_logger(__name__)


@dataclass(frozen=True)
class Job:
    """A delivery that is to be attempted."""

    delivery: Mapping[str, Any]
    endpoint: Mapping[str, Any] | None
    """As it was a moment ago; none: there is none of that name."""
    claim: str
    probe: bool
    """It tries an endpoint whose circuit is open."""

    @property
    def lane(self) -> str:
        """Where it waited; the endpoint's id."""
        return lane_of(self.delivery["account"], self.delivery["endpoint"])


class Attempts:
    """Makes attempts."""

    def __init__(
        self,
        store: DeliveryStore,
        endpoints: EndpointStore,
        channels: Mapping[str, Channel],
        settings: DeliverySettings,
    ) -> None:
        """channels: by kind of endpoint."""
        self._store = store
        self._endpoints = endpoints
        self._channels = channels
        self._settings = settings

    async def make(self, job: Job) -> None:
        """Make one. Never raises but for being cancelled."""
        with use(delivery_context(job.delivery)):
            try:
                await self._deliver(job)
            except Exception as error:
                log.warning("attempt not written down; it is repeated", delivery=job.delivery["_id"], error=str(error))

    async def _deliver(self, job: Job) -> None:
        endpoint = job.endpoint
        obstacle = _obstacle(job.delivery["endpoint"], endpoint, self._channels)
        if endpoint is None or obstacle is not None:
            await self._note(job, None, Next(DeliveryState.DEAD, None, obstacle))
            return
        answer, record = await self._attempt(endpoint, job.delivery)
        following = after_attempt(
            answer,
            schedule=self._schedule(endpoint, job.delivery),
            failed_before=int(job.delivery.get("failed_since_replay", 0)),
            now=now(),
            jitter=random.random(),
        )
        ATTEMPTS.labels(meaning(answer).value).inc()
        if following.disable_endpoint:
            await self._endpoints.disable_endpoint(endpoint, str(following.reason))
        await self._note(job, record, following)
        await self._judge(job, endpoint, answer)

    async def _attempt(
        self, endpoint: Mapping[str, Any], delivery: Mapping[str, Any]
    ) -> tuple[Answer, Mapping[str, Any]]:
        """What came back; a fault of ours is a failed attempt like others, so that it is seen and ends."""
        at = now()
        try:
            answer, record = await self._channels[kind_of(endpoint)].attempt(endpoint, delivery)
        except Exception as error:
            log.exception("a channel failed", delivery=delivery["_id"], kind=kind_of(endpoint))
            answer = Answer(None, f"a fault of this service: {type(error).__name__}")
            note_delivery(delivery, at, now(), outcome="FAULT", status=None)
            return answer, attempt_record(answer, at=at, duration_s=(now() - at).total_seconds())
        SECONDS.observe(record["duration_s"])
        note_delivery(delivery, at, now(), outcome=str(meaning(answer)), status=answer.status)
        return answer, record

    def _schedule(self, endpoint: Mapping[str, Any], delivery: Mapping[str, Any]) -> Sequence[float]:
        """Waits after failed attempts; a test is made once."""
        return () if delivery["event"] == TEST else self._waits(endpoint)

    def _waits(self, endpoint: Mapping[str, Any]) -> Sequence[float]:
        own = endpoint.get("schedule_s")
        return self._settings.delivery_schedule_s if own is None else tuple(own)

    async def _judge(self, job: Job, endpoint: Mapping[str, Any], answer: Answer) -> None:
        """What an answer makes of the endpoint's circuit. Nothing is read when all is well."""
        if 200 <= (answer.status or 0) < 300 and circuit_of(endpoint.get("circuit")) == CLEAN:
            return
        settings = self._settings
        own = endpoint.get("breaker_failures")
        rules = rules_of(
            settings.delivery_breaker_failures if own is None else int(own),
            settings.delivery_breaker_pause_s,
            settings.delivery_breaker_pause_max_s,
            self._waits(endpoint),
        )
        at, jitter = now(), random.random()
        await self._endpoints.change_circuit(
            job.lane,
            lambda circuit: after_answer(circuit, answer, probe=job.probe, rules=rules, now=at, jitter=jitter),
        )

    async def _note(self, job: Job, record: Mapping[str, Any] | None, following: Next) -> None:
        delivery = job.delivery
        noted = await self._store.record(delivery["_id"], job.claim, record, following, new_id("op_"))
        about = {"delivery": delivery["_id"], "task": delivery.get("task"), "account": delivery["account"]}
        if not noted:
            log.info("attempt ended after its claim; the holder's counts", **about)
            return
        if following.state is not DeliveryState.RETRYING and delivery.get("task") and delivery["event"] not in LAST:
            await self._store.bring_forward(delivery["task"], job.lane, now())
        if following.state is DeliveryState.DELIVERED:
            DELAY.observe(max(0.0, (now() - delivery["created_at"]).total_seconds()))
            log.info("delivered", **about)
            return
        if following.state is DeliveryState.DEAD:
            DEAD.inc()
        log.warning("not delivered", state=following.state.value, reason=following.reason, **about)


def _obstacle(name: str, endpoint: Mapping[str, Any] | None, channels: Mapping[str, Channel]) -> str | None:
    """Why nothing can be handed over to an endpoint, or none."""
    if endpoint is None:
        return f"endpoint {name} does not exist"
    if not endpoint.get("enabled", True):
        return f"endpoint {name} is disabled: {endpoint.get('disabled_reason') or 'by a person'}"
    kind = kind_of(endpoint)
    if kind not in channels:
        return f"endpoint {name} is of the kind {kind}, which this version can't hand over to"
    secret = endpoint.get("secrets") or endpoint.get("keys")
    return f"endpoint {name} has no secret" if kind == WEBHOOK and not secret else None
