"""The canary through real processes: it comes through, is missed while a service is down, and comes through again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.alerts.canary import Canary
from shared.domain.alert_rules import RuleKind
from shared.domain.canary import ACCOUNT, ROBOT, SERVER, TAG
from shared.obs.clock import now
from shared.seal import Sealer
from tests.integration.alerts.conftest import Alerts
from tests.integration.collector.running import (
    Ground,
    Instance,
    free_port,
    ground,
    launch,
    running,
    until,
    wait_ready,
)

SERVICES = ("console", "collector", "scheduler", "executor", "delivery", "alerts")
DEADLINE_S = 90.0


@dataclass
class Scene:
    on: Ground
    folder: Path
    env: dict[str, str]
    ports: dict[str, int]
    alerts: Instance

    def rounds(self, name: str = SERVER) -> list[dict[str, Any]]:
        found = self.on.db["canaries"].find_one({"_id": name}) or {}
        return list(found.get("rounds") or ())

    def alert(self, state: str) -> dict[str, Any] | None:
        return self.on.db["alerts"].find_one({"kind": "canary_failing", "state": state})


@pytest.fixture(scope="module")
def scene(servers: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("canary")
    with ground(servers.amqp, servers.amqp_admin, servers.mongo) as on, ExitStack() as stack:
        ports = {name: free_port() for name in SERVICES}
        env = {f"REGENTE_{name.upper()}_URL": f"http://127.0.0.1:{port}" for name, port in ports.items()}
        env |= {"REGENTE_CANARY_S": "1", "REGENTE_CANARY_TIMEOUT_S": "3", "REGENTE_PAGES": "false",
                "REGENTE_ALERTS_EVALUATE_S": "0.3", "REGENTE_ALERTS_SERVICES": ""}  # fmt: skip
        made: dict[str, Instance] = {}
        for name in SERVICES:
            if name != "executor":
                entered = running(name, on, folder, port=ports[name], **env)
                made[name] = stack.enter_context(entered)
        yield Scene(on, folder, env, ports, made["alerts"])


@pytest.mark.stack
@pytest.mark.slow
def test_the_canary_is_missed_while_a_service_is_down_and_comes_back(scene: Scene) -> None:
    db = scene.on.db
    firing = until(lambda: scene.alert("firing"), "without an executor the rule fires", DEADLINE_S)
    assert firing["severity"] == "critical"
    assert firing["target"] == f"workflow/{ACCOUNT}/{SERVER}"
    assert "the task is queued" in firing["text"] or "the task is running" in firing["text"], firing["text"]
    executor = launch("executor", scene.on, scene.folder, port=scene.ports["executor"], **scene.env)
    try:
        wait_ready(executor)
        until(lambda: scene.alert("resolved"), "with one it is over", DEADLINE_S)
        newest = scene.rounds()[0]
        assert 0 < newest["seconds"] < 15
        task = db["tasks"].find_one({"_id": newest["task"]}) or {}
        assert (task["account"], task["state"]) == (ACCOUNT, "succeeded")
        metrics = httpx.get(f"{scene.alerts.url}/metrics", timeout=20).text
        assert 'regente_canary_rounds_total{outcome="ok",workflow="server"}' in metrics
        assert 'regente_canary_seconds_count{workflow="server"}' in metrics
        assert not scene.rounds(ROBOT), "no robot is named"
        others = {"kind": {"$ne": "canary_failing"}, "account": ACCOUNT}
        assert db["alerts"].count_documents(others) == 0
        assert db["usage"].count_documents({"account": ACCOUNT}) == 0
        assert len(scene.rounds()) <= 20
    finally:
        executor.process.terminate()
        executor.process.wait(25)


@pytest.mark.stack
def test_what_the_canary_needs_is_made_once_and_stays_as_people_changed_it(scene: Scene) -> None:
    db = scene.on.db
    assert [one["number"] for one in db["versions"].find({"account": ACCOUNT, "workflow": SERVER})] == [1]
    assert db["keys"].count_documents({"account": ACCOUNT}) == 1
    db["workflows"].update_one({"_id": f"{ACCOUNT}/{SERVER}"}, {"$set": {"settings.priority": 2}})
    db["accounts"].update_one({"_id": ACCOUNT}, {"$set": {"settings.retention.results_days": 7}})
    env = {**scene.env, "REGENTE_CONSOLE_URL": "http://127.0.0.1:1"}
    with running("console", scene.on, scene.folder, "console-2", **env):
        pass
    workflow, account = db["workflows"].find_one({"_id": f"{ACCOUNT}/{SERVER}"}), db["accounts"].find_one({})
    assert workflow is not None
    assert workflow["settings"]["priority"] == 2
    assert account is not None
    assert account["settings"]["retention"]["results_days"] == 7
    assert db["keys"].count_documents({"account": ACCOUNT}) == 1
    assert db["versions"].count_documents({"account": ACCOUNT}) == 2


async def noted(alerts: Alerts, *seconds: float | None, age_s: float = 0.0) -> None:
    """Rounds of the server's canary, the newest first."""
    at = now() - timedelta(seconds=age_s)
    rounds = [{"at": at - timedelta(seconds=60 * n), "task": "task_1", "seconds": one, "reason": "the task is queued"}
              for n, one in enumerate(seconds)]  # fmt: skip
    fields = {"at": at, "every_s": 60.0, "timeout_s": 50.0, "rounds": rounds, "ok_at": at}
    await alerts.store.mongo["canaries"].update_one({"_id": SERVER}, {"$set": fields}, upsert=True)


@pytest.mark.parametrize(
    ("wrong", "age_s", "says"),
    [
        ((None, None, 1.0), 0.0, "does not come through: the task is queued"),
        ((31.5, 30.1, 1.0), 0.0, "takes 31.5 s"),
        ((None, 30.1), 0.0, "does not come through"),
        ((1.0, 1.0), 400.0, "has not been sent since"),
    ],
)
async def test_the_rule_fires_and_resolves(
    alerts: Alerts, wrong: tuple[float | None, ...], age_s: float, says: str
) -> None:
    await alerts.rule(RuleKind.CANARY_FAILING, rounds=2, slow_s=30)
    await noted(alerts, 1.0, None, None)
    await alerts.run()
    assert await alerts.all() == []
    await noted(alerts, *wrong, age_s=age_s)
    await alerts.run()
    alert = await alerts.only("firing")
    assert says in alert["text"]
    await noted(alerts, 1.0, *wrong)
    await alerts.run()
    assert (await alerts.only("resolved"))["resolved_why"] == "over"


async def test_a_canary_that_is_off_is_not_missed_and_one_without_a_robot_neither(alerts: Alerts) -> None:
    mongo = alerts.store.mongo
    await noted(alerts, 1.0, age_s=4000.0)
    await mongo["canaries"].insert_one({"_id": ROBOT, "at": now(), "every_s": 1.0, "timeout_s": 1.0, "rounds": []})
    nowhere = Canary(
        mongo, Sealer(bytes(32)), collector="http://127.0.0.1:1", delivery="http://127.0.0.1:1", every_s=60.0,
        timeout_s=5.0, leads=lambda: True,
    )  # fmt: skip
    await nowhere.sweep()
    assert await mongo["canaries"].distinct("_id") == [SERVER], "no robot is named any more"
    (newest, _) = (await mongo["canaries"].find_one({"_id": SERVER}))["rounds"]  # type: ignore[index]
    assert newest["seconds"] is None
    await mongo["workers"].insert_one({"_id": "00155d0201aa", "tags": [TAG], "authorisation": "authorised"})
    await nowhere.sweep()
    assert sorted(await mongo["canaries"].distinct("_id")) == [ROBOT, SERVER]
    await nowhere.forget()
    await alerts.rule(RuleKind.CANARY_FAILING)
    await alerts.run()
    assert await alerts.all() == []


async def test_who_does_not_lead_sends_none(alerts: Alerts) -> None:
    mongo = alerts.store.mongo
    idle = Canary(
        mongo, Sealer(bytes(32)), collector="http://127.0.0.1:1", delivery="http://127.0.0.1:1", every_s=60.0,
        timeout_s=5.0, leads=lambda: False,
    )  # fmt: skip
    await idle.sweep()
    assert await mongo["canaries"].count_documents({}) == 0
