"""The reads of a pass: all by an index, none sorting in memory, however much there is beside what they look for."""

from __future__ import annotations

from datetime import timedelta

from shared.obs.clock import now
from tests.integration.alerts.conftest import Alerts
from tests.integration.scheduler.conftest import ago
from tests.integration.scheduler.test_plans import _profiled

BESIDE = 1500
KEYS_MAX = 500
ALL_OF_FEW = {"rules", "workflows", "canaries"}
"""Read whole: as many as people made, with a limit."""


async def test_a_pass_reads_by_index(alerts: Alerts) -> None:
    world = alerts.world
    db = world.mongo
    await world.publish("tax")
    await world.tasks(BESIDE, created_at=ago(days=1))
    await world.tasks(BESIDE, state="succeeded", finished_at=ago(days=2), queue=None)
    await world.tasks(300, state="failed", finished_at=ago(seconds=5), queue=None)
    await world.tasks(3, deadline=now() + timedelta(minutes=5))
    await world.robot(1, run="run_1")
    many = range(BESIDE)
    base = {"account": "acme", "workflow": "tax", "endpoint": "erp", "name": "x"}
    await db["runs"].insert_many(
        [{**base, "_id": f"r{n}", "state": "finished", "progressed_at": ago(days=1), "tasks": []} for n in many]
    )
    await db["deliveries"].insert_many(
        [{**base, "_id": f"d{n}", "state": "delivered", "created_at": now()} for n in many]
    )
    await db["decisions"].insert_many(
        [{**base, "_id": f"q{n}", "state": "answered", "asked_at": now(), "due_at": None} for n in many]
    )
    await db["batches"].insert_many([{**base, "_id": f"b{n}", "count": 1, "created_at": ago(seconds=n)} for n in many])
    await db["circuits"].insert_many([{**base, "_id": f"c{n}", "state": "closed"} for n in many])
    await db["sources"].insert_many([{**base, "_id": f"s{n}", "name": f"s{n}", "down": None} for n in many])
    await db["endpoints"].insert_many([{**base, "_id": f"e{n}", "name": f"e{n}", "enabled": True} for n in many])
    await db["alerts"].insert_many([{"_id": f"a{n}", "key": "k", "state": "resolved", "notify": None} for n in many])
    await db["workers"].insert_many(
        [{"_id": f"w{n}", "authorisation": "revoked", "connected": True, "quarantine": None} for n in many]
    )
    await db.db.command("profile", 2)
    await alerts.run()
    rows = await _profiled(world)
    assert len(rows) > 20
    for row in rows:
        name = row["ns"].partition(".")[2]
        said = {key: row.get(key) for key in ("ns", "op", "planSummary", "keysExamined", "docsExamined", "command")}
        if name in ALL_OF_FEW and row["op"] == "query":
            continue
        assert "COLLSCAN" not in (row.get("planSummary") or ""), said
        assert not row.get("hasSortStage"), said
        if row["op"] != "command" or "aggregate" not in row.get("command", {}):
            assert (row.get("docsExamined") or 0) <= KEYS_MAX, said
    everything = {"$match": {"queue.list": {"$gt": ""}}}
    heads = [row for row in rows if row.get("command", {}).get("pipeline", [None])[0] == everything]
    assert ["DISTINCT_SCAN" in row["planSummary"] for row in heads] == [True], "however long the queue is"
    rate = [row for row in rows if row.get("command", {}).get("hint") == "rate"]
    assert rate
    assert all(not row["docsExamined"] for row in rate), "index entries alone"
