"""`regente rule` and `regente alert`, and the API behind them."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from services.alerts.handlers import Handlers
from services.alerts.store import AlertStore
from shared.mongo import Mongo
from tests.integration.console.site import ACME, Site

FILE = """
kind: robot_lost
title: A robot of ours is lost
severity: critical
for_s: 30
"""


@pytest.fixture(autouse=True)
def seeded(console: Site) -> None:
    """Rules as alerts inserts them when it starts."""

    async def seed() -> None:
        mongo = Mongo(console.ground.mongo_url, console.db.name)
        await AlertStore(mongo, keep_days=1).seed(datetime.now(UTC))
        await mongo.close()

    asyncio.run(seed())


def test_rules_are_listed_changed_and_removed(regente: Any, console: Site) -> None:
    assert "robot_frozen" in regente("rule", "list").stdout
    assert regente("rule", "disable", "robot_frozen").stdout == "robot_frozen is off\n"
    stored = console.db["rules"].find_one({"_id": "robot_frozen"})
    assert stored is not None
    assert (stored["enabled"], stored["rev"], stored["params"]["still_s"]) == (False, 2, 300.0)
    own = f"{ACME}/robot_lost"
    assert regente("rule", "put", own, "-", text=FILE).stdout == f"{own} is on\n"
    shown = json.loads(regente("rule", "show", own, "--json").stdout)
    assert (shown["severity"], shown["account"], shown["for_s"]) == ("critical", ACME, 30.0)
    assert "for_s" in regente("rule", "put", own, "-", text=f"{FILE}\nfor_s: -1\n", code=1).stderr
    assert "no rule" not in regente("rule", "list", "--account", ACME).stdout
    regente("rule", "remove", own)
    regente("rule", "show", own, code=1)
    assert "enabled: false" in regente("rule", "remove", "robot_lost", code=1).stderr


def test_an_alert_is_seen_and_acknowledged(regente: Any, console: Site) -> None:
    at = datetime.now(UTC)
    alert = {
        "_id": "alert_1", "schema_version": 1, "rule": "robot_lost", "kind": "robot_lost", "target": "worker/0200",
        "key": "robot_lost#worker/0200", "open": True, "account": ACME, "severity": "error",
        "text": "robot 0200 is lost",
        "facts": {"worker": "0200"}, "state": "firing", "since": at, "fired_at": at, "resolved_at": None, "acked": None,
        "resolved_why": None, "changes": 1, "op": "op_1",
    }  # fmt: skip
    console.db["alerts"].insert_one(alert)
    assert "robot 0200 is lost" in regente("alert", "list").stdout
    assert "worker: 0200" in regente("alert", "show", "alert_1").stdout
    assert regente("alert", "list", "--state", "resolved").stdout.strip() == "no alert"
    asked = json.loads(regente("alert", "ack", "alert_1", "--note", "I go there", "--json").stdout)

    async def serve() -> None:
        """As alerts does, which does not run here."""
        mongo = Mongo(console.ground.mongo_url, console.db.name)
        command = await mongo["commands"].find_one({"_id": asked["command"]})
        assert command is not None
        assert command["to"] == "alerts"
        await Handlers(AlertStore(mongo, keep_days=1), changed=lambda: None).run_command(command)
        await mongo.close()

    asyncio.run(serve())
    assert console.db["commands"].find_one({"_id": asked["command"]})["state"] == "done"  # type: ignore[index]
    listed = json.loads(regente("alert", "list", "--json").stdout)[0]
    assert (listed["acked"]["by"], listed["acked"]["note"]) == ("admin", "I go there")
    regente("alert", "show", "alert_2", code=1)
