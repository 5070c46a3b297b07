"""Parked runs are documents: the executor keeps nothing of them, looks for what is due by an index, and wakes each
within a second. `make bench BENCH=parked` shows the same with ten thousand."""

from __future__ import annotations

import gc
from typing import Any

from services.executor.interpreter import Session
from services.executor.journal import Journal
from services.executor.main import Executor
from services.executor.runner import RunJob
from services.executor.waking import Waking
from tests.integration.executor.conftest import World, until
from tests.integration.executor.parking import SCRIPT, answer, park

RUNS = 300
ANSWERED = 5
WAKE_S_MAX = 1.0
DOCUMENTS_READ_MAX = 5


async def sweep_once(service: Executor) -> None:
    """Every look of an executor that comes by the clock."""
    crew, handlers = service._crew, service._handlers
    for sweep in (crew.sweep, crew.watch, handlers.sweep_commands, Waking(crew._tools.waits, crew).sweep, crew.trim):
        await sweep()


async def profiled(world: World, service: Executor) -> list[dict[str, Any]]:
    """What one round of sweeps asked the database, as the database says."""
    for sweeper in service._sweepers:
        await sweeper.stop()
    await world.mongo.db.command("profile", 2)
    await sweep_once(service)
    await world.mongo.db.command("profile", 0)
    rows = await world.mongo.db["system.profile"].find({}).to_list(None)
    await world.mongo.db.drop_collection("system.profile")
    for sweeper in service._sweepers:
        await sweeper.start()
    return [row for row in rows if row["ns"].split(".", 1)[1] in ("runs", "decisions", "tasks", "commands")]


async def test_parked_runs_cost_the_executor_nothing(world: World) -> None:
    service = await world.executor(runs_max=50)
    await world.publish(SCRIPT, worker=False)
    await park(world, RUNS)

    async def idle() -> bool:
        return not service._crew._works

    await until(idle)
    gc.collect()
    kept = [one for one in gc.get_objects() if isinstance(one, RunJob | Session | Journal)]
    assert kept == []
    rows = await profiled(world, service)
    assert len(rows) >= 6
    for row in rows:
        said = {key: row.get(key) for key in ("ns", "planSummary", "keysExamined", "docsExamined", "command")}
        assert "COLLSCAN" not in (row.get("planSummary") or ""), said
        assert (row.get("docsExamined") or 0) <= DOCUMENTS_READ_MAX, said
        assert (row.get("keysExamined") or 0) <= 20, said
    decisions = await world.mongo["decisions"].find({"state": "open"}).limit(ANSWERED).to_list(None)
    took_s = [await answer(world, decision) for decision in decisions]
    assert sorted(took_s)[ANSWERED // 2] < WAKE_S_MAX
