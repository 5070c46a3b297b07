"""Eight schedulers, two hundred robots, schedulers killed at random: each task held once, all of them in their order.

5,000 tasks in `make test` (REGENTE_FLEET_TASKS sets another number), 100,000 in `make soak`. What is checked stands in
checks.py and watching.py, what order means in order.py; tests/fleet/test_order.py shows that the check of the order
fails when it should.
"""

from __future__ import annotations

import asyncio
import random

import pytest

from shared.obs.clock import monotonic_s
from tests.fleet import checks
from tests.fleet.conftest import Fleet
from tests.fleet.cutting import cut_off

LOOK_S = 0.25
TELL_S = 15.0
CAUGHT_UP_S = 120.0

pytestmark = [
    pytest.mark.stack,
    pytest.mark.slow,
    # the collector's store, which has no process of its own here
    pytest.mark.filterwarnings("ignore:The 'initial' parameter is deprecated:DeprecationWarning"),
]


async def test_each_task_is_held_once_and_in_order_while_schedulers_die(fleet: Fleet) -> None:
    started_s = monotonic_s()
    draw = random.Random(f"{fleet.seed}/killer")
    killer = asyncio.create_task(fleet.schedulers.kill_at_random(draw, fleet.size.pause_s, fleet.size.kills_min))
    pusher = asyncio.create_task(fleet.pusher.rest(lambda: fleet.ledger.ended, lambda: fleet.schedulers.kills))
    await _until_done(fleet, killer, pusher)
    took_s = monotonic_s() - started_s
    fleet.say(f"{fleet.size.tasks} tasks in {took_s:.1f} s: {fleet.size.tasks / took_s:.0f}/s; {fleet.summary()}")
    fleet.say(await fleet.server_figures())
    await fleet.witness.caught_up(fleet.mongo, CAUGHT_UP_S)
    tasks = [task["_id"] async for task in fleet.mongo["tasks"].find({}, {"_id": 1})]
    wrong = {
        "what the witness saw": fleet.witness.wrong,
        "what the executors and robots saw": fleet.ledger.wrong,
        "held once": checks.held_once(fleet.ledger),
        "one run per robot": checks.one_run_per_robot(fleet.ledger),
        "in order": fleet.witness.lines.over(fleet.bounds)[:10],
        "limits": checks.within_limits(fleet.witness, fleet.workflows),
        "errors in the schedulers' logs": fleet.schedulers.errors()[:10],
        "ended once": checks.ended_once(tasks, fleet.ledger, fleet.witness),
    }
    found = {what: lines for what, lines in wrong.items() if lines}
    if found:
        fleet.say(f"WRONG: {found}")
    assert not found, f"seed {fleet.seed}: {found}"
    assert len(tasks) == fleet.size.tasks
    assert fleet.schedulers.kills >= fleet.size.kills_min


async def _until_done(fleet: Fleet, killer: asyncio.Task[None], pusher: asyncio.Task[None]) -> None:
    """Until nothing is left over; gives up when something is wrong, or when no task ends any more."""
    ended, since_s, told_s = -1, monotonic_s(), monotonic_s()
    try:
        while True:
            await asyncio.sleep(LOOK_S)
            if monotonic_s() - told_s > TELL_S:
                told_s = monotonic_s()
                fleet.say(f"{fleet.pusher.pushed} pushed, {fleet.ledger.ended} ended, {fleet.schedulers.kills} killed")
            for part in (killer, pusher):
                if part.done() and not part.cancelled():
                    part.result()
            if fleet.witness.wrong or fleet.ledger.wrong:
                return
            if fleet.ledger.ended >= fleet.size.tasks and not killer.done() and not killer.cancelling():
                killer.cancel()  # once: it lets those come up that it has started
            idle = fleet.ledger.ended == fleet.pusher.pushed < fleet.size.tasks  # the pusher waits for a kill
            if fleet.ledger.ended != ended or idle:
                ended, since_s = fleet.ledger.ended, monotonic_s()
            elif fleet.ledger.ended >= fleet.size.tasks and not await checks.left_over(fleet.mongo):
                return
            still_s = monotonic_s() - since_s
            if fleet.ledger.ended < fleet.size.tasks:
                fleet.ledger.still_s = max(fleet.ledger.still_s, still_s)
            assert still_s < fleet.size.still_max_s, f"nothing moves for {still_s:.0f} s: {await fleet.tell()}"
    finally:
        if not killer.cancelling():
            killer.cancel()
        await asyncio.gather(cut_off(pusher), killer, return_exceptions=True)
