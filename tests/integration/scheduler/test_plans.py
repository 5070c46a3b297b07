"""The queries of a pass over the queue: all by an index, none sorting in memory, none reading the backlog.

The database itself says how it ran them (its profiler), so the queries checked are the ones that are really sent.
"""

from __future__ import annotations

from typing import Any

from services.scheduler.dispatch import Dispatcher
from services.scheduler.hints import Hints
from services.scheduler.recovery import Recovery
from shared.mongo.waiting import explain
from tests.integration.scheduler.conftest import World, ago

GROUPED = [{"name": "only", "group_by": ["certificate"], "max_tasks": 5, "worker": True, "script": "a.py"}]
BACKLOG = 3000
READ_MAX = 60
"""Documents that one query may look at: robots, a batch; never the backlog. Index entries: what is looked ahead."""


async def _profiled(world: World) -> list[dict[str, Any]]:
    """What ran since the profiler was switched on."""
    await world.mongo.db.command("profile", 0)
    rows = await world.mongo.db["system.profile"].find({}).to_list(None)
    await world.mongo.db.drop_collection("system.profile")
    return [row for row in rows if not row["ns"].endswith("system.profile")]


async def _backlog(world: World) -> None:
    await world.publish("tax", scenarios=GROUPED, settings={"aging": {"every_s": 900}})
    await world.publish("land", max_tasks=5, settings={"limits": [{"per": "day", "max": 10_000}]})
    for n in range(10):
        await world.tasks(BACKLOG // 20, input={"certificate": f"c{n}"}, priority=None if n % 2 else 2)
    await world.tasks(BACKLOG // 2, workflow="land")
    for n in range(3):
        await world.robot(n)


def _check(rows: list[dict[str, Any]], *, read_max: int, keys_max: int = 600) -> None:
    assert len(rows) > 3
    for row in rows:
        said = {key: row.get(key) for key in ("ns", "op", "planSummary", "keysExamined", "docsExamined", "command")}
        assert "COLLSCAN" not in (row.get("planSummary") or ""), said
        assert not row.get("hasSortStage"), said
        assert (row.get("docsExamined") or 0) <= read_max, said
        assert (row.get("keysExamined") or 0) <= keys_max, said


async def test_choosing_and_claiming_reads_a_few_index_entries_however_long_the_queue_is(world: World) -> None:
    await _backlog(world)
    dispatcher = Dispatcher(world.mongo, Hints(world.broker))
    await world.mongo.db.command("profile", 2)
    opened = await dispatcher.run_turn()
    rows = await _profiled(world)
    assert opened == 3
    _check(rows, read_max=READ_MAX)
    heads = [row for row in rows if row.get("command", {}).get("aggregate") == "tasks"]
    assert any("DISTINCT_SCAN" in row["planSummary"] for row in heads)


async def test_looking_past_a_group_in_use_is_bounded(world: World) -> None:
    await world.publish("tax", scenarios=GROUPED)
    await world.tasks(2000, input={"certificate": "a"})
    await world.tasks(1, input={"certificate": "b"})
    for n in range(2):
        await world.robot(n)
    dispatcher = Dispatcher(world.mongo, Hints(world.broker))
    await world.mongo.db.command("profile", 2)
    opened = await dispatcher.run_turn()
    rows = await _profiled(world)
    assert opened == 2
    _check(rows, read_max=READ_MAX)
    looked = [row["keysExamined"] for row in rows if row["op"] == "query" and (row.get("keysExamined") or 0) > READ_MAX]
    assert looked, "it looked past the group in use, in the index alone"


async def test_runs_that_wait_and_versions_are_found_by_index(world: World) -> None:
    """Without a free robot: is there work that needs none? Warm runs and those that want a robot, among thousands."""
    warm = [{"name": "only", "when": [], "warm": {"keep_alive_s": 60}, "script": "a.py"}]
    await world.publish("flow", scenarios=warm, settings={"warm": {"groups": []}})
    await world.mongo["versions"].insert_many(
        [{"_id": f"v{n}", "number": n, "scenarios": [{"worker": True}]} for n in range(1000)]
    )
    ended = {"account": "acme", "workflow": "flow", "state": "finished", "pending": None, "settled_at": ago(days=1)}
    await world.mongo["runs"].insert_many([{**ended, "_id": f"run_{n}", "warm": n % 2 == 0} for n in range(2000)])
    await world.tasks(2, workflow="flow")
    dispatcher = Dispatcher(world.mongo, Hints(world.broker))
    await world.mongo.db.command("profile", 2)
    assert await dispatcher.run_turn() == 0
    await world.robot(1, exclusive="acme/flow")
    assert await dispatcher.run_turn() == 1
    rows = await _profiled(world)
    _check(rows, read_max=READ_MAX)
    assert await world.mongo["runs"].count_documents({"warm": True, "state": "opened"}) == 1


async def test_sweeps_read_only_what_is_due(world: World) -> None:
    await _backlog(world)
    await world.tasks(1, deadline=ago(seconds=1))
    recovery = Recovery(world.mongo, Hints(world.broker), kick=lambda: None)
    await world.mongo.db.command("profile", 2)
    await recovery.sweep_due()
    await recovery.sweep_handed_over()
    rows = await _profiled(world)
    _check(rows, read_max=READ_MAX)


async def test_asking_why_reads_no_more_than_it_counts(world: World) -> None:
    await _backlog(world)
    task = await world.mongo["tasks"].find_one({"workflow": "tax"}, sort=[("queue.rank", -1)]) or {}
    await world.mongo.db.command("profile", 2)
    said = await explain(world.mongo, task)
    rows = await _profiled(world)
    assert said.facts["ahead"] > 1000
    _check(rows, read_max=READ_MAX, keys_max=BACKLOG + READ_MAX)
