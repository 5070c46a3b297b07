"""Ten thousand runs parked in a question: what they cost the executor, and what they cost whoever sweeps.

A real executor in a process of its own parks the runs in waves. The executor's memory, the queries of its sweeps, and
those of the scheduler's that read live runs, are measured with few parked and with all of them. Then some questions are
answered, one after another: each run has to wake and end within a second.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from statistics import median
from typing import Any

from services.executor.store import ExecutorStore
from services.executor.store_waits import WaitStore
from services.scheduler.store.runs import RunStore
from shared.mongo.gates import live_locks
from shared.seal import Sealer
from tests.bench.executor_process import ExecutorProcess
from tests.bench.executor_world import executor_world
from tests.bench.ground import Ground
from tests.bench.rows import Row, compared
from tests.integration.executor.conftest import World, until
from tests.integration.executor.parking import SCRIPT, answer, park

BROKER = True
MANY = 10_000
FEW = 200
SWEEPS = 40
ANSWERED = 40
SWEEP_RATIO_MAX = 2.0
MEMORY_RATIO_MAX = 1.1
WAKE_S_MAX = 1.0
Sweep = Callable[[], Awaitable[Any]]


async def rows(ground: Ground) -> list[Row]:
    """Measure. REGENTE_BENCH_PARKED: another number of runs, for trying out."""
    many = int(os.environ.get("REGENTE_BENCH_PARKED") or MANY)
    async with executor_world(ground) as world:
        await world.publish(SCRIPT, worker=False)
        settings = {**world.settings, "runs_max": 50, "sweep_s": 0.2}
        async with ExecutorProcess(settings) as process:
            few = await _parked(ground, world, process, FEW)
            all_ = await _parked(ground, world, process, many)
            found = _memory_rows(few[0], all_[0], many)
            for what, times in all_[1].items():
                bar = SWEEP_RATIO_MAX if what.startswith("executor") else None
                found += compared(f"{what}, {many} parked", times, f"{FEW} parked", few[1][what], bar)
            ground.say(f"answering {ANSWERED} questions")
            return [*found, *await _woken(world)]


async def _parked(
    ground: Ground, world: World, process: ExecutorProcess, count: int
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Park so many runs; the executor's memory, and the seconds of each sweep, when all is quiet."""
    await park(world, count, lambda parked: ground.say(f"\r{parked} of {count} runs parked", end=""))
    await until(process.idle, 60.0)
    ground.say(f"\r{count} runs parked         ")
    return await process.memory(), {what: await _times(sweep) for what, sweep in _sweeps(world).items()}


def _sweeps(world: World) -> dict[str, Sweep]:
    """What is asked again and again however little there is to do."""
    store, waits = ExecutorStore(world.mongo, Sealer(bytes(range(32)))), WaitStore(world.mongo)
    runs = RunStore(world.mongo)

    async def executor() -> None:
        await waits.due()
        await waits.not_taken_in()
        await waits.stopped()
        await store.runs_waiting(50)
        await store.runs_of("executor-1")
        await store.stops_asked("executor-1")
        await store.cancels_asked([])
        await store.holders()

    return {
        "executor's sweeps": executor,
        "scheduler: live runs with a robot": runs.live,
        "scheduler: locks of live runs": lambda: live_locks(world.mongo),
    }


async def _times(sweep: Sweep) -> list[float]:
    times = []
    for _ in range(SWEEPS):
        began = time.perf_counter()
        await sweep()
        times.append(time.perf_counter() - began)
        await asyncio.sleep(0)
    return times[SWEEPS // 4 :]


def _memory_rows(few: dict[str, float], many: dict[str, float], count: int) -> list[Row]:
    found = []
    for what, name, unit in (
        ("resident", "the executor's resident memory", "MB"),
        ("objects", "objects that its garbage collector knows", "objects"),
        ("blocks", "blocks of memory that its objects have", "blocks"),
        ("interpreters", "its idle interpreters' resident memory", "MB"),
    ):
        beside = f"{FEW} parked: {few[what]:.0f} {unit}"
        ratio = round(many[what] / few[what], 3)
        found.append(Row(f"{name}, {count} parked", round(many[what], 1), unit, beside, ratio, MEMORY_RATIO_MAX))
    return found


async def _woken(world: World) -> list[Row]:
    decisions = await world.mongo["decisions"].find({"state": "open"}).limit(ANSWERED).to_list(None)
    times = [await answer(world, decision) for decision in decisions]
    said = f"{WAKE_S_MAX:g} s"
    return [
        Row(f"from an answer to its run's end, {what} of {len(times)}", round(1000 * figure, 1), "ms", said,
            round(figure / WAKE_S_MAX, 3), 1.0)
        for what, figure in (("median", median(times)), ("longest", max(times)))
    ]  # fmt: skip
