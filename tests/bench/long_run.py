"""One long run: what an instruction costs at its beginning and at its end, and beside what it is made of.

A real executor in a process of its own, robots in this one that answer at once. What an instruction takes is the time
between two arrivals at its robot. A chain of runs is timed: each begins so that its instructions 100 to 200 meet the
last 100 of the run before, so whatever else the machine does hits both. Then one run in turns with bare requests with
replies and bare majority writes, which the same process makes while the robot keeps the run waiting; then two in a
process that counts its Python objects, which is too slow to be timed.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from statistics import median

from shared.broker import Broker
from shared.broker.delivery import Delivery
from shared.contracts.messages import WorkerInstruction
from shared.testing.robot import FakeRobot
from tests.bench.executor_process import MB, ExecutorProcess
from tests.bench.executor_world import executor_world
from tests.bench.ground import Ground
from tests.bench.rows import Row, compared
from tests.integration.executor.conftest import World

BROKER = True
INSTRUCTIONS = 1_000
ROUNDS = 3
WINDOW = 100
PAUSE_EVERY = 20
STEP_BYTES = 700
"""Of an entry besides its snapshot."""
TIME_RATIO_MAX = 1.3
BARE_RATIO_MAX = 1.5
MEMORY_RATIO_MAX = 1.05
LEFT_RATIO_MAX = 0.1
SCRIPT = """
from robot import browser
from regente import log, objects

def execute(task: dict[str, str]) -> dict[str, str]:
    for n in range({count}):
        browser.click(objects.go)
    return {{"clicks": str(n + 1)}}
"""


class Clicks(FakeRobot):
    """A robot that answers at once, and notes when each instruction came. At some it pauses, so that what an
    instruction is made of can be measured in the middle of the run."""

    pause: Callable[[], Awaitable[None]] | None = None

    def __init__(self, broker: Broker, worker: str) -> None:
        super().__init__(broker, worker)
        self.times: list[float] = []
        """Seconds from one instruction to the next, pauses left out."""
        self._last_at = 0.0
        self._waited: dict[int, asyncio.Event] = {}

    async def on_worker_instruction(self, instruction: WorkerInstruction, delivery: Delivery) -> None:
        """Answer it, after a pause perhaps."""
        at = time.perf_counter()
        if self._last_at:
            self.times.append(at - self._last_at)
        if len(self.times) in self._waited:
            self._waited[len(self.times)].set()
        if self.pause is not None and len(self.times) % PAUSE_EVERY == PAUSE_EVERY - 1:
            await self.pause()
            at = time.perf_counter()
        self._last_at = at
        self.asked.clear()
        self.done.clear()
        await super().on_worker_instruction(instruction, delivery)

    def reached(self, count: int) -> asyncio.Event:
        """Set when so many times were taken."""
        return self._waited.setdefault(count, asyncio.Event())

    def anew(self) -> list[float]:
        """The times so far; then it begins anew."""
        times, self.times, self._waited, self._last_at = self.times, [], {}, 0.0
        return times


async def rows(ground: Ground) -> list[Row]:
    """Measure. REGENTE_BENCH_INSTRUCTIONS: another length of the run (5,000, say)."""
    count = int(os.environ.get("REGENTE_BENCH_INSTRUCTIONS") or INSTRUCTIONS)
    async with executor_world(ground) as world:
        one, two = await _robot(world, 1), await _robot(world, 2)
        bare = (await world.robot(n=3)).worker
        await world.publish(SCRIPT.format(count=count))
        await world.mongo["versions"].update_many({}, {"$set": {"timeouts.task_s": 86_400.0}})
        async with ExecutorProcess(world.settings) as process:
            ground.say(f"a run of {count} instructions, with looks at memory")
            early, late = await _looked_at(world, process, one, count)
            sizes = (await process.snapshots())[WINDOW:-1]
            found = await _chain(ground, world, (one, two), count)
            found += await _beside_bare(ground, world, process, one, bare, int(median(sizes)) + STEP_BYTES)
        found += [_memory_row("the executor's resident memory", "resident", early, late, count)]
        found += [_memory_row("its interpreter's resident memory", "interpreters", early, late, count)]
        async with ExecutorProcess({**world.settings, "instance": "bench-traced"}, traced=True) as process:
            ground.say("the same run twice, with its Python objects counted")
            await _looked_at(world, process, one, count)
            early, late = await _looked_at(world, process, one, count)
    return [*found, _left_row(early, late, count, median(sizes) + STEP_BYTES), _sizes_row(sizes)]


async def _robot(world: World, n: int) -> Clicks:
    """A robot of this bench's kind in place of the table's."""
    plain = await world.robot(n=n)
    await plain.stop()
    world.robots.remove(plain)
    clicks = Clicks(plain._broker, plain.worker)
    await clicks.start()
    world.robots.append(clicks)
    return clicks


async def _run(world: World, clicks: Clicks) -> None:
    """One run on this robot, to its end."""
    clicks.anew()
    run = await world.open(1, worker=clicks.worker, epoch=clicks._epoch + 1)
    ended = await world.ended(run, 3600.0)
    assert ended["end"]["reason"] == "completed", ended["end"]


async def _looked_at(
    world: World, process: ExecutorProcess, clicks: Clicks, count: int
) -> tuple[dict[str, float], dict[str, float]]:
    """The executor's memory early and late in a run."""
    full = asyncio.create_task(_run(world, clicks))
    await asyncio.sleep(0)
    memory = []
    for moment in (2 * WINDOW, count - WINDOW):
        reached = asyncio.create_task(clicks.reached(moment).wait())
        await asyncio.wait({reached, full}, return_when=asyncio.FIRST_COMPLETED)
        reached.cancel()
        memory.append(await process.memory())
    await full
    return memory[0], memory[1]


async def _chain(ground: Ground, world: World, robots: tuple[Clicks, Clicks], count: int) -> list[Row]:
    first: list[float] = []
    last: list[float] = []
    runs: list[asyncio.Task[None]] = []
    for n in range(ROUNDS + 1):
        clicks, before = robots[n % 2], robots[(n + 1) % 2]
        ground.say(f"run {n + 1} of {ROUNDS + 1}: {count} instructions")
        runs.append(asyncio.create_task(_run(world, clicks)))
        if n:
            await runs[-2]
            last += before.times[-WINDOW:]
        await asyncio.sleep(0)
        await clicks.reached(count - 2 * WINDOW).wait()
        if n:
            first += clicks.times[WINDOW : 2 * WINDOW]
    await runs[-1]
    beside = f"instructions {WINDOW} to {2 * WINDOW} of the next run"
    return compared(f"an instruction, the last {WINDOW} of {count}", last, beside, first, TIME_RATIO_MAX)


async def _beside_bare(
    ground: Ground, world: World, process: ExecutorProcess, clicks: Clicks, other: str, size_bytes: int
) -> list[Row]:
    bare_s: list[float] = []

    async def pause() -> None:
        bare = await process.bare(other, PAUSE_EVERY // 2, size_bytes)
        bare_s.extend(asked + written for asked, written in zip(bare["asked"], bare["written"], strict=True))

    ground.say(f"one more, beside what instructions are made of, in turns of {PAUSE_EVERY}")
    clicks.pause = pause
    await _run(world, clicks)
    clicks.pause = None
    beside = "bare request and reply and majority write"
    return compared("an instruction, journalled", clicks.times[WINDOW:], beside, bare_s, BARE_RATIO_MAX)


def _memory_row(name: str, what: str, early: dict[str, float], late: dict[str, float], count: int) -> Row:
    beside = f"at instruction {2 * WINDOW}: {early[what]:.2f} MB"
    ratio = round(late[what] / early[what], 4)
    return Row(f"{name} at instruction {count - WINDOW}", round(late[what], 3), "MB", beside, ratio, MEMORY_RATIO_MAX)


def _left_row(early: dict[str, float], late: dict[str, float], count: int, step_bytes: float) -> Row:
    """What an instruction leaves in the executor's memory. It is about 80 bytes: the text of a message's id in the
    cache of texts that pydantic's parser keeps, which has an end (16,384 texts)."""
    left = (late["python"] - early["python"]) * MB / (count - 3 * WINDOW)
    beside = f"what it stores: {step_bytes:.0f} bytes"
    name = "Python objects left by an instruction"
    return Row(name, round(left, 1), "bytes", beside, round(left / step_bytes, 4), LEFT_RATIO_MAX)


def _sizes_row(sizes: list[int]) -> Row:
    """Snapshots as they are stored, of one run."""
    early, late = median(sizes[:WINDOW]), median(sizes[-WINDOW:])
    name = f"a step's snapshot, median of the last {WINDOW}"
    beside = f"of instructions {WINDOW} to {2 * WINDOW}: {early:g} bytes"
    return Row(name, late, "bytes", beside, round(late / early, 4), MEMORY_RATIO_MAX)
