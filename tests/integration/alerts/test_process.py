"""The real process, killed with -9 while it works and started again: every alert is there, once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.domain.events import EventKind, Severity, event_document
from tests.integration.collector.running import Ground, ground, launch, running, until, wait_ready

ROBOTS, ATTEMPTS = 60, 60
QUICK = {
    "REGENTE_ALERTS_EVALUATE_S": "0.1", "REGENTE_ALERTS_HEALTH_S": "0.2", "REGENTE_SWEEP_S": "0.1",
    "REGENTE_ALERTS_SERVICES": "",
}  # fmt: skip


@pytest.fixture
def scene(servers: Any) -> Iterator[Ground]:
    with ground(servers.amqp, servers.amqp_admin, servers.mongo) as made:
        yield made


def _wrong(on: Ground) -> None:
    """Robots are lost, and attempts are made."""
    at = datetime.now(UTC)
    robot = {"authorisation": "authorised", "connected": False, "account": None, "run": None, "quarantine": None}
    on.db["workers"].insert_many([{**robot, "_id": f"r{n}", "addresses": [f"r{n}"]} for n in range(ROBOTS)])
    events = [
        event_document(
            EventKind.UNAUTHORISED_ATTEMPT, id=f"e{n}", at=at + timedelta(milliseconds=n), service="scheduler",
            severity=Severity.ERROR, target=f"r{n % 20}", text="x", facts={"worker": f"r{n % 20}"},
        )
        for n in range(ATTEMPTS)
    ]  # fmt: skip
    on.db["events"].insert_many(events)


@pytest.mark.stack
def test_killed_in_the_midst_and_started_again(scene: Ground, tmp_path: Path) -> None:
    first = launch("alerts", scene, tmp_path, "alerts-1", **QUICK)
    try:
        wait_ready(first)
        assert httpx.get(f"{first.url}/healthz").status_code == 200
        assert "regente_alerts_open" in httpx.get(f"{first.url}/metrics").text
        scene.db["rules"].update_one({"_id": "robot_lost"}, {"$set": {"for_s": 0.0}})
        _wrong(scene)
        until(lambda: scene.db["alerts"].find_one(), "it began")
    finally:
        first.kill()
    done = scene.db["alerts"].count_documents({})
    with running("alerts", scene, tmp_path, "alerts-1", **QUICK):
        wanted = ROBOTS + 20
        until(
            lambda: scene.db["alerts"].count_documents({"state": "firing"}) == wanted, f"{done} of {wanted} were there"
        )
        until(lambda: not scene.db["events"].count_documents({"pending": {"$ne": None}}), "all events are taken")
        attempts = scene.db["alerts"].find({"kind": "unauthorised_attempt"})
        assert sorted(alert["count"] for alert in attempts) == [ATTEMPTS // 20] * 20
        scene.db["workers"].update_many({}, {"$set": {"connected": True}})
        until(
            lambda: scene.db["alerts"].count_documents({"kind": "robot_lost", "state": "resolved"}) == ROBOTS,
            "resolved",
        )
    ours = {"kind": {"$in": ["robot_lost", "unauthorised_attempt"]}}
    assert scene.db["alerts"].count_documents(ours) == wanted
