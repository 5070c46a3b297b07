"""Posts deliveries that are due.

Called by: main.py. Survives a crash: a delivery is claimed for a time before it is posted; when nobody wrote down how
it went, it becomes due again and is posted with the same webhook-id and the same bytes. So a partner gets everything
at least once, and can tell repeats. The check of the address that a name resolves to (no calls into our own network)
belongs into `_post`, at the connection.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping
from typing import Any

import httpx

from services.delivery.config import DeliverySettings
from services.delivery.core.endpoints import SEAL_PURPOSE
from services.delivery.core.outcome import Answer, Next, after_attempt, complaint, meaning
from services.delivery.core.schedule import retry_after_s
from services.delivery.core.signature import headers
from services.delivery.store import DeliveryStore
from shared.domain.delivery_state import DeliveryState
from shared.obs.clock import monotonic_s, now
from shared.obs.ids import new_id
from shared.obs.logs import get_logger
from shared.obs.metrics import counter, gauge, histogram
from shared.obs.trace import current, use
from shared.seal import SealBroken, Sealer

ANSWER_SIZE_BYTES_MAX = 2048
CLAIM_GRACE_S = 15.0
"""On top of an attempt's time limit: writing down how it went, also during a change of the database's primary."""
STOP_S = 6.0
"""What is under way may take this long when the service stops; it is repeated otherwise."""
ATTEMPTS = counter("delivery_attempts_total", "Attempts to deliver.", ["meaning"])
DEAD = counter("deliveries_dead_total", "Deliveries given up; a person may replay them.", [])
SECONDS = histogram("delivery_attempt_seconds", "Time of an attempt.", [])
IN_FLIGHT = gauge("delivery_attempts_in_flight", "Attempts under way.", [])

log = get_logger(__name__)


class Sender:
    """The loop that posts."""

    def __init__(self, store: DeliveryStore, sealer: Sealer, settings: DeliverySettings, instance: str) -> None:
        self._store = store
        self._sealer = sealer
        self._settings = settings
        self._instance = instance
        self._wake = asyncio.Event()
        self._busy: Counter[tuple[str, str]] = Counter()
        self._attempts: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._client: httpx.AsyncClient | None = None

    def wake(self) -> None:
        """Something may be due."""
        self._wake.set()

    async def start(self) -> None:
        """Begin to post."""
        settings = self._settings
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(settings.delivery_timeout_s, connect=settings.delivery_connect_timeout_s),
            limits=httpx.Limits(max_connections=settings.delivery_concurrent_max * 2, max_keepalive_connections=32),
            follow_redirects=False,
            trust_env=False,
        )
        self._loop = asyncio.create_task(self._run(), name="sender")

    async def stop(self) -> None:
        """Take no more, and let what is under way end; what does not end in time becomes due again by itself."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        if self._attempts:
            _, late = await asyncio.wait(self._attempts, timeout=STOP_S)
            for attempt in late:
                attempt.cancel()
            if late:
                await asyncio.gather(*late, return_exceptions=True)
                await self._store.release_own(self._instance)
        if self._client is not None:
            await self._client.aclose()

    async def _run(self) -> None:
        """Until cancelled: take what is due, as far as there is room; else wait for a wake-up or the next look."""
        released = False
        while True:
            self._wake.clear()
            taken = 0
            try:
                if not released:
                    await self._store.release_own(self._instance)
                    released = True
                taken = await self._take()
            except Exception as error:
                log.warning("deliveries can't be looked for; tried again", error=str(error))
            if taken:
                continue
            try:
                await asyncio.wait_for(self._wake.wait(), self._settings.delivery_poll_s)
            except TimeoutError:
                continue

    async def _take(self) -> int:
        """Claim what is due and begin to post it; how many that were."""
        room = self._settings.delivery_concurrent_max - len(self._attempts)
        if room <= 0:
            return 0
        most = self._settings.delivery_concurrent_per_endpoint_max
        busy = [key for key, count in self._busy.items() if count >= most]
        taken = 0
        for delivery in await self._store.due(now(), room, busy):
            key = (delivery["account"], delivery["endpoint"])
            claim = new_id("claim_")
            if self._busy[key] >= most:
                continue
            for_s = self._settings.delivery_timeout_s + CLAIM_GRACE_S
            if await self._store.claim(delivery, self._instance, now(), for_s, claim):
                self._begin(delivery, key, claim)
                taken += 1
        return taken

    def _begin(self, delivery: Mapping[str, Any], key: tuple[str, str], claim: str) -> None:
        self._busy[key] += 1
        attempt = asyncio.create_task(self._attempt(delivery, claim), name=f"deliver {delivery['_id']}")
        self._attempts.add(attempt)
        IN_FLIGHT.set(len(self._attempts))

        def ended(done: asyncio.Task[None]) -> None:
            self._attempts.discard(done)
            self._busy[key] -= 1
            if not self._busy[key]:
                del self._busy[key]
            IN_FLIGHT.set(len(self._attempts))
            self.wake()

        attempt.add_done_callback(ended)

    async def _attempt(self, delivery: Mapping[str, Any], claim: str) -> None:
        """One attempt, from the endpoint's address to the note of how it went."""
        with use(delivery.get("traceparent")):
            try:
                await self._deliver(delivery, claim)
            except Exception as error:
                log.warning("attempt not written down; it is repeated", delivery=delivery["_id"], error=str(error))

    async def _deliver(self, delivery: Mapping[str, Any], claim: str) -> None:
        endpoint = await self._store.endpoint(delivery["account"], delivery["endpoint"])
        obstacle = _obstacle(delivery["endpoint"], endpoint)
        if endpoint is None or obstacle is not None:
            following = Next(DeliveryState.DEAD, None, obstacle)
            await self._note(delivery, claim, None, following)
            return
        answer, attempt = await self._post(endpoint, delivery)
        following = after_attempt(
            answer,
            schedule=self._settings.delivery_schedule_s,
            failed_before=int(delivery.get("failed_since_replay", 0)),
            now=now(),
            jitter=random.random(),
        )
        ATTEMPTS.labels(meaning(answer).value).inc()
        if following.disable_endpoint:
            reason = str(following.reason)
            await self._store.disable_endpoint(
                delivery["account"], delivery["endpoint"], endpoint["secrets"], reason, new_id("op_")
            )
        await self._note(delivery, claim, attempt, following)

    def _signed(self, endpoint: Mapping[str, Any], delivery: Mapping[str, Any]) -> dict[str, str]:
        """Headers of an attempt.

        Raises: SealBroken when the secrets were sealed with another master key; ValueError.
        """
        aad = str(endpoint["_id"]).encode()
        opened = [self._sealer.open(SEAL_PURPOSE, bytes(sealed), aad).decode() for sealed in endpoint["secrets"]]
        return headers(opened, webhook_id=delivery["webhook_id"], at=now(), body=delivery["body"])

    async def _post(self, endpoint: Mapping[str, Any], delivery: Mapping[str, Any]) -> tuple[Answer, dict[str, Any]]:
        """Post the stored bytes once, and see what comes back."""
        at, began = now(), monotonic_s()
        text = ""
        try:
            async with asyncio.timeout(self._settings.delivery_timeout_s):
                answer, text = await self._exchange(endpoint, delivery)
        except TimeoutError:
            answer = Answer(None, f"no answer within {self._settings.delivery_timeout_s:g} s")
        except SealBroken:
            answer = Answer(None, "the endpoint's secret can't be opened with this installation's master key")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
            answer = Answer(None, f"{type(error).__name__}: {error}")
        duration_s = round(monotonic_s() - began, 3)
        SECONDS.observe(duration_s)
        wrong = None if answer.status is not None and 200 <= answer.status < 300 else complaint(answer)
        return answer, {"at": at, "status": answer.status, "duration_s": duration_s, "error": wrong, "answer": text}

    async def _exchange(self, endpoint: Mapping[str, Any], delivery: Mapping[str, Any]) -> tuple[Answer, str]:
        assert self._client is not None
        body = delivery["body"].encode()
        sent = self._signed(endpoint, delivery)
        sent["accept-encoding"] = "identity"
        trace = current()
        if trace:
            sent["traceparent"] = trace
        async with self._client.stream("POST", endpoint["url"], content=body, headers=sent) as response:
            start = bytearray()
            async for chunk in response.aiter_raw():
                start += chunk
                if len(start) >= ANSWER_SIZE_BYTES_MAX:
                    break
            after_s = retry_after_s(response.headers.get("retry-after"), now())
            text = bytes(start[:ANSWER_SIZE_BYTES_MAX]).decode("utf-8", "replace")
            return Answer(response.status_code, retry_after_s=after_s), text

    async def _note(
        self, delivery: Mapping[str, Any], claim: str, attempt: Mapping[str, Any] | None, following: Next
    ) -> None:
        noted = await self._store.record(delivery["_id"], claim, attempt, following, new_id("op_"))
        about = {"delivery": delivery["_id"], "task": delivery["task"], "account": delivery["account"]}
        if not noted:
            log.info("attempt ended after its claim; the holder's counts", **about)
        elif following.state is DeliveryState.DELIVERED:
            log.info("delivered", **about)
        else:
            if following.state is DeliveryState.DEAD:
                DEAD.inc()
            log.warning("not delivered", state=following.state.value, reason=following.reason, **about)


def _obstacle(name: str, endpoint: Mapping[str, Any] | None) -> str | None:
    """Why nothing can be posted to an endpoint, or none."""
    if endpoint is None:
        return f"endpoint {name} does not exist"
    if not endpoint.get("enabled", True):
        return f"endpoint {name} is disabled: {endpoint.get('disabled_reason') or 'by a person'}"
    return None if endpoint.get("secrets") else f"endpoint {name} has no secret"
