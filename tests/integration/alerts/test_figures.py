"""Figures of the database: what they say, that only the leader says it, and what reading them costs."""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client import REGISTRY
from pymongo.errors import PyMongoError

from services.alerts import figures as published
from services.alerts.figures import Figures
from services.alerts.reads import figures as reads
from shared.obs.metrics import OTHER
from tests.integration.alerts.conftest import Alerts
from tests.integration.scheduler.conftest import ago
from tests.integration.scheduler.test_plans import _profiled

LIMIT = {"limits": [{"per": "day", "max": 50}]}
BESIDE = 1500


def shown(name: str) -> dict[tuple[str, ...], float]:
    """A figure as a scrape would get it, by the values of its labels in the order of their names."""
    found: dict[tuple[str, ...], float] = {}
    for family in REGISTRY.collect():
        if family.name == f"regente_{name}":
            found |= {tuple(one.labels[key] for key in sorted(one.labels)): one.value for one in family.samples}
    return found


async def test_what_stands_in_the_database_is_shown_by_the_leader_alone(alerts: Alerts) -> None:
    world = alerts.world
    await world.publish("tax", settings=LIMIT)
    await world.tasks(3, created_at=ago(seconds=90))
    await world.tasks(1, state="held", queue=None, hold={"reason": "in_doubt", "at": ago(seconds=5)})
    await world.tasks(2, state="succeeded", queue=None)
    await world.mongo["deliveries"].insert_many([{"_id": f"d{n}", "state": "retrying"} for n in range(4)])
    await world.mongo["runs"].insert_one({"_id": "r", "state": "executing"})
    leading = [True]
    figures = Figures(world.mongo, lambda: leading[0])
    await figures.show()
    tasks = {key[1]: count for key, count in shown("tasks").items()}
    assert tasks == {"queued": 3, "running": 0, "held": 1}, "only what is not final"
    assert 90 <= shown("task_oldest_age_seconds")["acme", "tax"] < 600
    assert shown("limit_max")["acme", "day", "tax"] == 50
    assert shown("limit_used")["acme", "day", "tax"] == 0
    assert shown("deliveries") == {("pending",): 0, ("retrying",): 4, ("dead",): 0}
    assert shown("runs")["executing",] == 1
    assert shown("questions_open") == {("decision",): 0, ("in_doubt",): 1}
    assert shown("mongo_members") == {("primary",): 1}
    assert list(shown("mongo_replication_lag_seconds").values()) == [0]
    assert shown("mongo_connections")["current",] >= 1
    assert len(shown("mongo_oplog_window_seconds")) == 1
    leading[0] = False
    await figures.show()
    assert not any(shown(one._name.removeprefix("regente_")) for one in published.ALL)
    assert shown("figures_leads") == {(): 0}


async def test_workflows_beyond_the_cap_are_one(alerts: Alerts, monkeypatch: pytest.MonkeyPatch) -> None:
    world = alerts.world
    monkeypatch.setattr(reads, "WORKFLOWS_MAX", 2)
    await world.mongo["accounts"].update_one({"_id": "acme"}, {"$set": {"schema_version": 1}}, upsert=True)
    for name in ("a", "b", "c", "d"):
        await world.publish(name)
        await world.tasks(2, workflow=name, created_at=ago(seconds=50))
    await Figures(world.mongo, lambda: True).show()
    queued = {key: count for key, count in shown("tasks").items() if key[1] == "queued"}
    assert queued == {
        ("acme", "queued", "a"): 2, ("acme", "queued", "b"): 2, (OTHER, "queued", OTHER): 4,
    }  # fmt: skip
    assert set(shown("task_oldest_age_seconds")) == {("acme", "a"), ("acme", "b"), (OTHER, OTHER)}


async def test_what_can_not_be_read_is_not_shown(alerts: Alerts, monkeypatch: pytest.MonkeyPatch) -> None:
    await alerts.world.publish("tax")
    figures = Figures(alerts.world.mongo, lambda: True)
    await figures.show()
    assert shown("tasks")

    async def lost(self: Any) -> Any:
        raise PyMongoError("no primary")

    monkeypatch.setattr(reads.FigureReads, "replicas", lost)
    with pytest.raises(PyMongoError):
        await figures.show()
    assert not shown("tasks"), "rather nothing than what was so once"


async def test_figures_are_read_by_index(alerts: Alerts) -> None:
    world, db = alerts.world, alerts.world.mongo
    await world.publish("tax", settings=LIMIT)
    await world.tasks(BESIDE, created_at=ago(days=1))
    await world.tasks(BESIDE, state="succeeded", finished_at=ago(days=2), queue=None)
    many = range(BESIDE)
    await db["runs"].insert_many([{"_id": f"r{n}", "state": "finished"} for n in many])
    await db["deliveries"].insert_many([{"_id": f"d{n}", "state": "delivered"} for n in many])
    await db["decisions"].insert_many([{"_id": f"q{n}", "state": "answered", "due_at": None} for n in many])
    await db.db.command("profile", 2)
    await Figures(db, lambda: True).show()
    rows = await _profiled(world)
    assert len(rows) > 8
    for row in rows:
        said = {key: row.get(key) for key in ("ns", "op", "planSummary", "docsExamined", "command")}
        if not row["ns"].endswith(".workflows"):  # as many as people made, with a limit
            assert "COLLSCAN" not in (row.get("planSummary") or ""), said
            assert (row.get("docsExamined") or 0) <= 500, said
