"""Parks any number of runs in a question, through the executor.

Called by: test_parked.py (some hundred), tests/bench/parked.py (ten thousand)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.integration.executor.conftest import World, until

WAVE = 50
"""Runs opened at once: what one executor has in hand."""
SCRIPT = """
from regente import decide

rows = [str(n) for n in range(200)]

def execute(task: dict[str, str]) -> dict[str, str]:
    return {"answer": decide("Which one?", options=["left", "right"]), "rows": str(len(rows))}
"""
PARKED = {"state": "waiting", "executor": None, "pending": None, "wait.kind": "decision"}


async def park(world: World, count: int, say: Callable[[int], None] = lambda _: None) -> None:
    """Open runs in waves until `count` are parked; the script is published."""
    while (parked := await world.mongo["runs"].count_documents(PARKED)) < count:
        say(parked)
        wanted = min(count, parked + WAVE)
        await asyncio.gather(*(world.open(1, worker=None, epoch=0) for _ in range(wanted - parked)))

        async def all_parked(wanted: int = wanted) -> bool:
            return await world.mongo["runs"].count_documents(PARKED) >= wanted

        await until(all_parked, 120.0)


async def answer(world: World, decision: dict[str, Any]) -> float:
    """Answer a question; seconds until its run has ended."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    await world.ask_only("decision.answer", decision["_id"], answer="left")
    ended = await world.ended(decision["run"])
    took_s = loop.time() - began
    assert ended["end"]["reason"] == "completed"
    (task,) = await world.tasks(decision["run"])
    assert task["result"]["output"] == {"answer": "left", "rows": "200"}
    return took_s
