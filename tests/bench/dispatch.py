"""How long it takes to choose and claim the next task, with a million waiting beside a thousand.

One robot is free. An opening is one pass of the scheduler's dispatcher: it reads the heads of all lists and the gates
of their workflows, picks, reads the batch, and opens the run in its transaction. Then the robot is freed and the tasks
go back to the end of their lists, outside of what is measured, so the next opening finds other ones. The two queues lie
in two databases of one server and are measured in turn, so whatever else the machine does hits both.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, cast

from services.scheduler.dispatch import Dispatcher
from services.scheduler.hints import Hints
from services.scheduler.store.opening import Missed
from shared.broker import Broker
from shared.mongo import Mongo, Session
from shared.mongo.guarded import in_transaction
from shared.obs.clock import now, now_us
from shared.obs.ids import new_id
from tests.bench.ground import Ground
from tests.bench.rows import Row, compared
from tests.bench.waiting_tasks import fill

MANY = 1_000_000
FEW = 1_000
OPENINGS = 120
WARM_UP = 10
RATIO_MAX = 2.0
ROBOT = "02fee7000001"


class _Nobody:
    """Stands for a broker that is away: hints are dropped, as ever then."""

    connected = False


def dispatcher(mongo: Mongo) -> Dispatcher:
    """The scheduler's own dispatcher on this database; all that this bench knows of how one is made."""
    return Dispatcher(mongo, Hints(cast(Broker, _Nobody())))


class _NeverOpens:
    """In the place of the dispatcher's openings: every robot was taken a moment ago, so choosing ends there."""

    async def open(self, opening: Any, session: Any = None) -> Missed:
        """What is chosen is not claimed."""
        self.tasks = list(opening.tasks)
        return Missed.ROBOT


class Side:
    """One queue, and the dispatchers that work on it."""

    def __init__(self, ground: Ground, tasks: int) -> None:
        self.tasks = tasks
        self.mongo = Mongo(ground.mongo_url, f"bench_{tasks}_{uuid.uuid4().hex[:8]}")
        self._opens = dispatcher(self.mongo)
        self._chooses = dispatcher(self.mongo)
        self._chosen = _NeverOpens()
        self._chooses._openings = cast(Any, self._chosen)

    async def prepare(self, ground: Ground) -> None:
        """The queue and the robot."""
        await fill(ground, self.mongo, self.tasks)
        await self.mongo["workers"].insert_one(
            {
                "_id": ROBOT, "authorisation": "authorised", "connected": True, "status": "waiting", "mode": "run",
                "run": None, "epoch": 0, "account": None, "workflows": None, "exclusive": None, "tags": [],
                "schedule": None, "quarantine": None, "drain": None, "failures": 0, "grant": 1,
            }
        )  # fmt: skip

    async def close(self) -> None:
        """Take it away."""
        await self.mongo.client.drop_database(self.mongo.db.name)
        await self.mongo.close()

    async def open(self) -> float:
        """Choose and claim: seconds."""
        took_s = await _timed(self._opens.run_turn, gives=1)
        await self._undo()
        return took_s

    async def choose(self) -> float:
        """Choose alone: seconds."""
        self._chosen.tasks = []
        took_s = await _timed(self._chooses.run_turn, gives=0)
        assert self._chosen.tasks, "nothing was chosen"
        return took_s

    async def claim(self) -> float:
        """The claim's three writes alone, in a transaction, without any check: seconds. Choose first."""
        tasks, run = self._chosen.tasks, new_id("run_")

        async def body(session: Session) -> int:
            held = {"state": "running", "held_by": {"run": run, "attempt": 1, "epoch": 1}, "attempts": 1}
            await self.mongo["workers"].update_one({"_id": ROBOT}, {"$set": {"run": run}}, session=session)
            change = {"$set": held, "$unset": {"queue": ""}}
            await self.mongo["tasks"].update_many({"_id": {"$in": tasks}}, change, session=session)
            items = [{"task": task, "attempt": 1, "state": "waiting", "outcome": None} for task in tasks]
            await self.mongo["runs"].insert_one({"_id": run, "state": "opened", "tasks": items}, session=session)
            return len(tasks)

        took_s = await _timed(lambda: in_transaction(self.mongo, body), gives=len(tasks))
        await self._undo()
        return took_s

    async def _undo(self) -> None:
        """The run has ended, its robot is free, its tasks stand at the end of their lists."""
        run = await self.mongo["runs"].find_one_and_delete({"state": "opened"})
        assert run is not None, "no run was opened"
        ids = [item["task"] for item in run["tasks"]]
        place = {
            "list": {"$concat": ["$account", "/", "$workflow", "/", {"$ifNull": [{"$toString": "$priority"}, "i"]}]},
            "key": "$group", "rank": now_us(),
        }  # fmt: skip
        back: dict[str, Any] = {
            "state": "queued",
            "held_by": None,
            "attempts": 0,
            "history": [],
            "updated_at": now(),
            "queue": place,
        }
        done = await self.mongo["tasks"].update_many({"_id": {"$in": ids}}, [{"$set": back}])
        assert done.modified_count == len(ids)
        await self.mongo["workers"].update_one({"_id": ROBOT}, {"$set": {"run": None, "status": "waiting"}})


async def rows(ground: Ground) -> list[Row]:
    """Measure. REGENTE_BENCH_TASKS: another number than a million, for trying out."""
    many, few = Side(ground, int(os.environ.get("REGENTE_BENCH_TASKS") or MANY)), Side(ground, FEW)
    try:
        for side in (few, many):
            await side.prepare(ground)
        return await _measure(ground, many, few)
    finally:
        for side in (many, few):
            await side.close()


async def _measure(ground: Ground, many: Side, few: Side) -> list[Row]:
    times: dict[tuple[int, str], list[float]] = {
        (side.tasks, what): [] for side in (many, few) for what in ("open", "choose", "claim")
    }
    for n in range(WARM_UP + OPENINGS):
        for side in (many, few) if n % 2 else (few, many):
            for what, act in (("open", side.open), ("choose", side.choose), ("claim", side.claim)):
                took_s = await act()
                if n >= WARM_UP:
                    times[side.tasks, what].append(took_s)
        if n % 10 == 0:
            ground.say(f"\ropenings: {max(0, n - WARM_UP)} of {OPENINGS}", end="")
    ground.say("")
    of, beside = f"{many.tasks:,} waiting", f"{few.tasks:,} waiting"
    open_s, choose_s, claim_s = (times[many.tasks, what] for what in ("open", "choose", "claim"))
    return [
        *compared(f"choose and claim the next task, {of}", open_s, beside, times[few.tasks, "open"], RATIO_MAX),
        *compared(f"choose alone, {of}", choose_s, beside, times[few.tasks, "choose"], None),
        *compared(f"all of it beside its writes, {of}", open_s, "bare transaction of the writes", claim_s, None),
    ]


async def _timed(act: Callable[[], Awaitable[int]], *, gives: int) -> float:
    """Seconds that a call took."""
    started_s = time.perf_counter()
    found = await act()
    took_s = time.perf_counter() - started_s
    assert found == gives, f"{found} instead of {gives}: the bench does not measure what it says"
    return took_s
