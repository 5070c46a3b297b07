"""Hands over deliveries that are due: which endpoint's turn it is, and how many at once.

Called by: main.py. Survives a crash: a delivery is claimed for a time before it is posted; when nobody wrote down how
it went, it becomes due again and is posted with the same webhook-id and the same bytes. So a partner gets everything
at least once, and can tell repeats.

Deliveries wait in lanes, one per endpoint. A look finds the lanes in which something is due (not what stands in them),
and each gets its turn: what its circuit and its limit allow is claimed, and it goes to the end of the line. So an
endpoint that is slow, or down with a long lane, holds up nobody else. How one attempt goes: attempt.py.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from services.delivery.attempt import Attempts, Job
from services.delivery.channels import limit_s
from services.delivery.config import DeliverySettings
from services.delivery.core.circuit import Circuit, begin_probe, circuit_of, closed_until, places
from services.delivery.core.order import first_before
from services.delivery.core.turns import free_places
from services.delivery.store import DeliveryStore
from services.delivery.store_endpoints import EndpointStore
from shared.obs.clock import monotonic_s, now
from shared.obs.ids import new_id
from shared.obs.logs import get_logger
from shared.obs.loops import Loop
from shared.obs.metrics import gauge

CLAIM_GRACE_S = 15.0
"""On top of an attempt's time limit: writing down how it went, also during a change of the database's primary."""
STOP_S = 6.0
"""What is under way may take this long when the service stops; it is repeated otherwise."""
BEHIND_S = 30.0
"""A delivery behind an earlier one of its task is looked at again after this time, if nothing brings it back."""
CLOSED_LOOK_S = 2.0
"""A circuit that was seen open is looked at again after this time: another instance, or a person, may close it."""
ROUNDS_MAX = 5
"""So often a lane is read on when everything that was read has to wait behind something."""
READ_AHEAD = 32
"""Deliveries of a lane that are read at once."""
READ_KEPT_S = 1.0
"""So long what was read ahead may be claimed; a claim fails for what another instance took meanwhile."""
IN_FLIGHT = gauge("delivery_attempts_in_flight", "Attempts under way.", [])

log = get_logger(__name__)


@dataclass
class _Read:
    """Deliveries of a lane that were read and not begun yet."""

    until: float
    ready: deque[dict[str, Any]]


class Sender:
    """The loop that gives endpoints their turns."""

    def __init__(
        self, store: DeliveryStore, endpoints: EndpointStore, attempts: Attempts, settings: DeliverySettings
    ) -> None:
        self._store = store
        self._endpoints = endpoints
        self._attempts = attempts
        self._settings = settings
        self._instance = settings.instance
        self._wake = asyncio.Event()
        self._line: OrderedDict[str, Mapping[str, Any] | None] = OrderedDict()
        """Lanes whose turn will come, with their endpoint where it was just read."""
        self._busy: Counter[str] = Counter()
        self._closed: dict[str, float] = {}
        """Lanes that take nothing, until a moment of the monotonic clock."""
        self._read: dict[str, _Read] = {}
        self._look_at = 0.0
        self._under_way: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None

    def wake(self, lane: str | None = None) -> None:
        """Something may be due in a lane; none: in any."""
        if lane is None:
            self._look_at = 0.0
            self._closed.clear()
            self._read.clear()
        else:
            self._line.setdefault(lane, None)
        self._wake.set()

    async def start(self) -> None:
        """Begin to post."""
        self._loop = asyncio.create_task(self._run(), name="sender")

    async def stop(self) -> None:
        """Take no more, and let what is under way end; what does not end in time becomes due again by itself."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=STOP_S)
            for attempt in late:
                attempt.cancel()
            if late:
                await asyncio.gather(*late, return_exceptions=True)
                await self._store.release_own(self._instance, now())

    async def _run(self) -> None:
        """Until cancelled: look for lanes, give them their turns, wait for a wake-up or the next look."""
        with Loop("delivery.sender") as loop:
            await self._turns(loop)

    async def _turns(self, loop: Loop) -> None:
        ready = False
        while True:
            loop.turn()
            self._wake.clear()
            try:
                if not ready:
                    await self._store.adopt()
                    await self._store.release_own(self._instance, now())
                    ready = True
                if monotonic_s() >= self._look_at:
                    await self._look()
                await self._serve()
            except Exception as error:
                log.warning("deliveries can't be looked for; tried again", error=str(error))
                self._look_at = monotonic_s() + self._settings.delivery_poll_s
            rests_s = max(self._look_at - monotonic_s(), 0.01)
            loop.turn(rests_s)
            try:
                await asyncio.wait_for(self._wake.wait(), rests_s)
            except TimeoutError:
                continue

    async def _look(self) -> None:
        """Find the lanes in which something is due, and that take something."""
        self._look_at = monotonic_s() + self._settings.delivery_poll_s
        self._closed = {lane: until for lane, until in self._closed.items() if until > monotonic_s()}
        self._read = {lane: read for lane, read in self._read.items() if read.until > monotonic_s()}
        found = [lane for lane, _ in await self._store.lanes_due(now())]
        fresh = [lane for lane in found if lane not in self._line and lane not in self._closed]
        known = await self._endpoints.endpoints_by_id(fresh) if fresh else {}
        for lane in fresh:
            self._line[lane] = known.get(lane)

    async def _serve(self) -> None:
        """One turn for each lane that stands in line, as long as there is room."""
        for _ in range(len(self._line)):
            if len(self._under_way) >= self._settings.delivery_concurrent_max or not self._line:
                return
            lane, endpoint = self._line.popitem(last=False)
            try:
                await self._fill(lane, endpoint)
            except Exception as error:
                log.warning("a lane can't be served; tried again", endpoint=lane, error=str(error))

    async def _fill(self, lane: str, endpoint: Mapping[str, Any] | None) -> None:
        """Claim what one endpoint may get now, and begin to post it."""
        if endpoint is None:
            account, _, name = lane.partition("/")
            endpoint = await self._endpoints.endpoint(account, name)
        circuit = circuit_of((endpoint or {}).get("circuit"))
        if self._is_closed(lane, circuit):
            return
        most = (endpoint or {}).get("concurrency") or self._settings.delivery_concurrent_per_endpoint_max
        free = free_places(
            places(circuit, most),
            busy=self._busy[lane],
            under_way=len(self._under_way),
            at_once_max=self._settings.delivery_concurrent_max,
        )
        found = await self._ready(lane, free) if free > 0 else []
        probe = circuit.open
        if probe and found and not await self._begin_probe(lane, circuit, endpoint or {}):
            return
        for delivery in found:
            self._begin(Job(delivery, endpoint, new_id("claim_"), probe))

    def _is_closed(self, lane: str, circuit: Circuit) -> bool:
        until = closed_until(circuit)
        wait_s = (until - now()).total_seconds() if until is not None else 0.0
        if wait_s <= 0:
            return False
        self._closed[lane] = monotonic_s() + min(wait_s, CLOSED_LOOK_S)
        self._read.pop(lane, None)
        return True

    async def _begin_probe(self, lane: str, seen: Circuit, endpoint: Mapping[str, Any]) -> bool:
        """Whether this instance is the one that tries an open circuit now."""
        for_s = limit_s(self._settings, endpoint) + CLAIM_GRACE_S

        def change(circuit: Circuit) -> Circuit:
            return begin_probe(circuit, now=now(), for_s=for_s) if circuit == seen else circuit

        return await self._endpoints.change_circuit(lane, change)

    async def _ready(self, lane: str, limit: int) -> list[dict[str, Any]]:
        """Deliveries of a lane that are due and that wait for no earlier event of their task."""
        read = self._read.get(lane)
        if read is None or not read.ready or read.until <= monotonic_s():
            read = self._read[lane] = _Read(monotonic_s() + READ_KEPT_S, deque(await self._due(lane)))
        return [read.ready.popleft() for _ in range(min(limit, len(read.ready)))]

    async def _due(self, lane: str) -> list[dict[str, Any]]:
        """The next ones of a lane; those behind earlier events of their tasks are put off."""
        for _ in range(ROUNDS_MAX):
            due = await self._store.due(lane, now(), READ_AHEAD)
            tasks = {str(delivery["task"]) for delivery in due if delivery.get("task")}
            live = await self._store.live_of_tasks(lane, tasks) if tasks else []
            behind = {delivery["_id"] for delivery in due if first_before(delivery, live) is not None}
            for delivery in due:
                if delivery["_id"] in behind:
                    await self._put_behind(lane, delivery)
            if len(behind) < len(due) or not due:
                return [delivery for delivery in due if delivery["_id"] not in behind]
        self.wake(lane)
        return []

    async def _put_behind(self, lane: str, delivery: Mapping[str, Any]) -> None:
        """Let a delivery wait for an earlier one; at once again, if that one ended meanwhile."""
        await self._store.put_behind(delivery, now() + timedelta(seconds=BEHIND_S), new_id("op_"))
        if first_before(delivery, await self._store.live_of_tasks(lane, [delivery["task"]])) is None:
            await self._store.bring_forward(delivery["task"], lane, now())

    def _begin(self, job: Job) -> None:
        """Claim a delivery and post it, in the background."""
        lane = job.lane
        self._busy[lane] += 1
        attempt = asyncio.create_task(self._claim_and_make(job), name=f"deliver {job.delivery['_id']}")
        self._under_way.add(attempt)
        IN_FLIGHT.set(len(self._under_way))

        def ended(done: asyncio.Task[None]) -> None:
            self._under_way.discard(done)
            self._busy[lane] -= 1
            if not self._busy[lane]:
                del self._busy[lane]
            IN_FLIGHT.set(len(self._under_way))
            self.wake(lane)

        attempt.add_done_callback(ended)

    async def _claim_and_make(self, job: Job) -> None:
        """One attempt, if nobody else was faster. Never raises but for being cancelled."""
        for_s = limit_s(self._settings, job.endpoint or {}) + CLAIM_GRACE_S
        try:
            claimed = await self._store.claim(job.delivery, self._instance, now(), for_s, job.claim)
        except Exception as error:
            log.warning("a delivery can't be claimed; it stays due", delivery=job.delivery["_id"], error=str(error))
            return
        if claimed:
            await self._attempts.make(job)
