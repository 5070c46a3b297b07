"""Leases: who leads, and which instances live. A counter moves; who sees it stand still long enough may take over.

Called by: every service (its presence, shared/runtime/service.py), alerts and delivery (leading.py: leadership of
periodic work), executor and collector (the presence of the others: whose work may be taken over).
Survives a crash: the document in `leases`; the next owner takes it over with a higher token, and the token fences
what it writes. Change also: `lease_*_s` in the executors' settings.

Two machines' clocks are never compared: the reader measures on its own monotonic clock how long it saw the counter
stand still, and the time in which it could not read (no primary, a frozen process) does not count.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pymongo.errors import PyMongoError

from shared.errors import TemporaryError
from shared.mongo import Mongo, first_line
from shared.mongo.guarded import Guarded, guarded_update, insert_once, is_transient
from shared.obs.clock import monotonic_s, now
from shared.obs.ids import new_id
from shared.obs.logs import get_logger
from shared.obs.loops import Loop

BEAT_S = 0.3
STILL_S = 8.0
GAP_COUNTED_S_MAX = 1.0
"""Of the time between two looks at a lease no more than this counts: the rest may have been nobody's fault."""

_log = get_logger(__name__)


@dataclass
class _Seen:
    mark: tuple[int, int]
    looked_at_s: float
    still_s: float = 0.0


@dataclass
class StillTimes:
    """How long each counter has stood still, by what one reader saw. Pure: the time is an argument."""

    gap_counted_s_max: float = GAP_COUNTED_S_MAX
    _seen: dict[str, _Seen] = field(default_factory=dict)

    def look(self, id: str, token: int, counter: int, at_s: float) -> float:
        """Note what was read at `at_s` (monotonic); seconds that it has stood still."""
        seen = self._seen.get(id)
        if seen is None or seen.mark != (token, counter):
            self._seen[id] = _Seen((token, counter), at_s)
            return 0.0
        seen.still_s += min(max(0.0, at_s - seen.looked_at_s), self.gap_counted_s_max)
        seen.looked_at_s = at_s
        return seen.still_s

    def keep_only(self, ids: set[str]) -> None:
        """Forget leases that are gone."""
        for id in set(self._seen) - ids:
            del self._seen[id]


@dataclass(frozen=True)
class LeaseState:
    """What a watcher knows of a lease."""

    id: str
    """Its _id: `<kind>/<instance>`."""
    still_for_s: float
    """How long its counter stood still; infinite when its owner gave it back."""
    token: int
    owner: str | None

    @property
    def instance(self) -> str:
        """The part of the id after the kind."""
        return self.id.partition("/")[2]


class Watch:
    """A reader of the leases of one kind. Call `observe` regularly, more often than every GAP_COUNTED_S_MAX seconds."""

    def __init__(
        self, mongo: Mongo, kind: str, still_s: float = STILL_S, *, clock: Callable[[], float] = monotonic_s
    ) -> None:
        self._mongo = mongo
        self._kind = kind
        self._clock = clock
        self._still = StillTimes()
        self.still_s = still_s

    async def observe(self) -> list[LeaseState]:
        """All leases of the kind, with how long each stood still.

        Raises: TemporaryError when the database does not answer; that time does not count against anybody.
        """
        query = {"_id": {"$gte": f"{self._kind}/", "$lt": f"{self._kind}0"}}
        try:
            found = await self._mongo["leases"].find(query).limit(10_000).to_list(None)
        except PyMongoError as error:
            raise TemporaryError(f"leases can't be read: {first_line(error)}") from error
        at_s = self._clock()
        self._still.keep_only({document["_id"] for document in found})
        return [self._state(document, at_s) for document in found]

    async def dead(self) -> list[LeaseState]:
        """Those that stood still for `still_s` or longer."""
        return [state for state in await self.observe() if state.still_for_s >= self.still_s]

    def _state(self, document: dict[str, object], at_s: float) -> LeaseState:
        id, token, counter = str(document["_id"]), int(str(document["token"])), int(str(document["counter"]))
        still = self._still.look(id, token, counter, at_s)
        owner = document.get("owner")
        return LeaseState(id, float("inf") if owner is None else still, token, str(owner) if owner else None)


class Lease:
    """One lease that this process holds or wants.

    name: its _id, `<kind>/<instance>`. owner: the instance; the same owner takes its own lease back at once, with a
    higher token. beat_s: how often the counter moves. still_s: how long it must stand still before another owner
    takes it. facts: fields of the document, for people. keep_s: nobody misses it so long after its last beat: it is
    deleted then, and when it is given back; none: it stays, and its token never begins anew, which fencing needs.
    """

    def __init__(
        self,
        mongo: Mongo,
        name: str,
        owner: str,
        *,
        beat_s: float = BEAT_S,
        still_s: float = STILL_S,
        facts: Mapping[str, Any] | None = None,
        keep_s: float | None = None,
        clock: Callable[[], float] = monotonic_s,
    ) -> None:
        self.name = name
        self.owner = owner
        self.token = 0
        self.held = False
        self._mongo = mongo
        self._facts = dict(facts or {})
        self._keep_s = keep_s
        self._beat_s = beat_s
        self._still_s = still_s
        self._clock = clock
        self._still = StillTimes()
        self._beaten_at_s = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._ending = False

    @property
    def fresh(self) -> bool:
        """Held, and beaten recently enough that nobody can have taken it over meanwhile."""
        return self.held and self._clock() - self._beaten_at_s < self._still_s / 2

    async def acquire(self) -> bool:
        """Try once to take the lease; True when it is held now.

        Call it regularly: a foreign lease falls to this process when it has seen it stand still for `still_s` seconds.
        Raises: TemporaryError.
        """
        if self.held:
            return await self.beat()
        try:
            found = await self._mongo["leases"].find_one({"_id": self.name})
        except PyMongoError as error:
            raise TemporaryError(f"lease {self.name} can't be read: {first_line(error)}") from error
        if found is None:
            first = {"_id": self.name, "schema_version": 1, "owner": self.owner, "counter": 1, "token": 1}
            fresh = await insert_once(self._mongo["leases"], {**first, **self._facts, **self._moved()})
            return self._took(1 if fresh else None)
        still = self._still.look(self.name, found["token"], found["counter"], self._clock())
        if found["owner"] not in (None, self.owner) and still < self._still_s:
            return False
        done = await self._take_over(found["token"], found["counter"])
        if self._took(found["token"] + 1 if done.applied else None) and found["owner"] not in (None, self.owner):
            await self._followed(str(found["owner"]))
        return self.held

    async def beat(self) -> bool:
        """Move the counter; False when the lease is another's meanwhile.

        Raises: TemporaryError.
        """
        at_s = self._clock()
        mine = {"_id": self.name, "owner": self.owner, "token": self.token}
        try:
            done = await self._mongo["leases"].update_one(mine, {"$inc": {"counter": 1}, "$set": self._moved()})
        except PyMongoError as error:
            if is_transient(error):
                raise TemporaryError(f"lease {self.name} can't be moved: {first_line(error)}") from error
            raise
        if done.matched_count:
            self._beaten_at_s = at_s
        elif self.held:
            self.held = False
            _log.warning("lease lost", lease=self.name, token=self.token)
            await self._lost(at_s - self._beaten_at_s)
        return self.held

    async def release(self) -> None:
        """Give it back, so that the next one need not wait. Best effort."""
        if self.held:
            self.held = False
            mine = {"_id": self.name, "owner": self.owner, "token": self.token}
            try:
                if self._keep_s is None:
                    await self._mongo["leases"].update_one(mine, {"$set": {"owner": None}, "$inc": {"counter": 1}})
                else:
                    await self._mongo["leases"].delete_one(mine)
            except PyMongoError as error:
                _log.warning("lease not given back", lease=self.name, reason=first_line(error))

    def start(self) -> None:
        """Acquire and beat from a task of this loop, until `stop`."""
        if self._task is None:
            self._ending = False
            self._task = asyncio.get_running_loop().create_task(self._work(), name=f"lease-{self.name}")

    async def stop(self) -> None:
        """End the task and give the lease back."""
        if self._task is not None:
            self._ending = True  # the driver's waits can swallow a cancellation (until Python 3.12)
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        await self.release()

    async def _work(self) -> None:
        troubled = False
        with Loop(f"lease.{self.name.partition('/')[0]}") as loop:
            while not self._ending:
                loop.turn()
                try:
                    await self.acquire()
                    troubled = False
                except (TemporaryError, PyMongoError) as error:
                    if not troubled:
                        _log.warning("lease does not move", lease=self.name, reason=first_line(error))
                    troubled = True
                await asyncio.sleep(self._beat_s)

    async def _take_over(self, token: int, counter: int) -> Guarded:
        return await guarded_update(
            self._mongo["leases"],
            self.name,
            {"token": token, "counter": counter},
            {"$set": {"owner": self.owner, **self._facts, **self._moved()}, "$inc": {"token": 1, "counter": 1}},
            op=new_id("op_"),
        )

    def _moved(self) -> dict[str, Any]:
        at = now()
        return {"at": at, **({"expires_at": at + timedelta(seconds=self._keep_s)} if self._keep_s else {})}

    async def _followed(self, owner: str) -> None:
        """It was another's, who did not give it back."""

    async def _lost(self, held_s: float) -> None:
        """Another took it, while this process believed for `held_s` seconds after its last beat that it was its own."""

    def _took(self, token: int | None) -> bool:
        if token is not None:
            self.token, self.held, self._beaten_at_s = token, True, self._clock()
            _log.info("lease taken", lease=self.name, token=token)
        return self.held
