"""Periodic work: regular, never twice at once, not to be stopped by errors."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

from shared.errors import TemporaryError
from shared.obs.logs import get_logger
from shared.runtime.sweeper import Sweeper


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while True:
            if condition():
                return
            await asyncio.sleep(0.002)


async def test_first_sweep_is_at_once_and_others_follow() -> None:
    count = 0

    async def sweep() -> None:
        nonlocal count
        count += 1

    sweeper = Sweeper("test", 0.01, sweep, get_logger("test"))
    await sweeper.start()
    await until(lambda: count >= 4)
    await sweeper.stop()
    at_stop = count
    await asyncio.sleep(0.05)
    assert count == at_stop


async def test_kick_sweeps_now_and_during_a_sweep_once_more() -> None:
    count, running, most = 0, 0, 0
    release = asyncio.Event()

    async def sweep() -> None:
        nonlocal count, running, most
        count, running = count + 1, running + 1
        most = max(most, running)
        await release.wait()
        running -= 1

    sweeper = Sweeper("test", 3600, sweep, get_logger("test"))
    await sweeper.start()
    await until(lambda: count == 1)
    for _ in range(5):
        sweeper.kick()
    release.set()
    await until(lambda: count == 2)
    assert most == 1
    sweeper.kick()
    await until(lambda: count == 3)
    await sweeper.stop()


async def test_errors_are_told_once_and_do_not_stop_it() -> None:
    errors: list[Exception] = [TemporaryError("away"), TemporaryError("away"), RuntimeError("bug")]
    count = 0

    async def sweep() -> None:
        nonlocal count
        count += 1
        if errors:
            raise errors.pop(0)

    with structlog.testing.capture_logs() as lines:
        sweeper = Sweeper("test", 0.005, sweep, get_logger("test"))
        await sweeper.start()
        await until(lambda: count >= 5)
        await sweeper.stop()
    assert [(line["log_level"], "exc_info" in line) for line in lines] == [("warning", False), ("error", True)]


async def test_stop_lets_the_sweep_in_hand_finish() -> None:
    started, finished = asyncio.Event(), False

    async def sweep() -> None:
        nonlocal finished
        started.set()
        await asyncio.sleep(0.05)
        finished = True

    sweeper = Sweeper("test", 3600, sweep, get_logger("test"))
    await sweeper.start()
    await started.wait()
    await sweeper.stop()
    assert finished


async def test_a_kick_at_the_moment_of_the_stop_does_not_keep_it_from_ending() -> None:
    """wait_for swallows a cancellation that arrives together with what it waits for: the sweeper went on for ever."""
    for turns in range(8):
        swept = asyncio.Event()

        async def sweep(swept: asyncio.Event = swept) -> None:
            swept.set()

        sweeper = Sweeper("test", 600.0, sweep, get_logger("test"))
        await sweeper.start()
        await swept.wait()
        sweeper.kick()
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.wait_for(sweeper.stop(), 5.0)
