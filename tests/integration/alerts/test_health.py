"""Broker, database and services: what is wrong with them is noticed because it is so, also without a database."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from pymongo.errors import PyMongoError

from services.alerts.config import AlertsSettings
from services.alerts.core.unstored import Unstored
from services.alerts.main import AlertsService
from shared.contracts.messages import CommandIssued
from shared.contracts.topology import HANDOFFS
from shared.domain.alert_rules import RuleKind
from shared.mongo.lease import Lease
from shared.obs.clock import now
from tests.integration.alerts.conftest import Alerts, until
from tests.integration.scheduler.conftest import World

QUICK = {
    "alerts_evaluate_s": 0.1, "alerts_health_s": 0.1, "alerts_still_s": 0.5, "sweep_s": 0.1, "alerts_services": "",
}  # fmt: skip


class Here(AlertsService):
    """The service in this process; who is told of what can't be stored stands in `told`."""

    def __init__(self, settings: AlertsSettings) -> None:
        self.told: list[Unstored] = []
        super().__init__(settings)

    async def tell_unstored(self, one: Unstored) -> bool:
        """Note it."""
        self.told.append(one)
        return True


async def service(world: World, **settings: Any) -> Here:
    """Alerts as its process would be, looking, and ready."""
    made = Here(AlertsSettings(**{**world.settings, "instance": "alerts-1", **QUICK, **settings}))
    made.health.start()
    await made.broker.start()
    await made.start()
    made.started = True
    return made


async def end(made: Here) -> None:
    await made.stop()
    await made.health.stop()
    await made.broker.stop()
    await made.mongo.close()


@pytest.fixture
async def here(world: World) -> AsyncIterator[Here]:
    made = await service(world)
    yield made
    await end(made)


def state(alerts: Alerts, kind: RuleKind, wanted: str) -> Any:
    async def check() -> list[dict[str, Any]]:
        return await alerts.all(kind=kind.value, state=wanted)

    return check


async def test_rules_that_people_edit_are_followed_within_seconds(alerts: Alerts, here: Here) -> None:
    await alerts.rule(RuleKind.ROBOT_LOST, for_s=3600)
    await alerts.world.robot(1, connected=False)
    (alert,) = await until(state(alerts, RuleKind.ROBOT_LOST, "pending"))
    await alerts.rule(RuleKind.ROBOT_LOST, for_s=0)
    await until(state(alerts, RuleKind.ROBOT_LOST, "firing"))
    assert (await alerts.all())[0]["_id"] == alert["_id"]


async def test_an_instance_that_does_not_beat_and_one_that_leaves(alerts: Alerts, here: Here) -> None:
    await alerts.rule(RuleKind.SERVICE_DOWN)
    dies, leaves = (Lease(alerts.world.mongo, f"delivery/{name}", name, beat_s=0.05) for name in ("d-1", "d-2"))
    for lease in (dies, leaves):
        assert await lease.acquire()
    await leaves.release()
    replaced = Lease(alerts.world.mongo, "executor/e-1-0a1b2c3d", "e-1-0a1b2c3d")
    again = Lease(alerts.world.mongo, "executor/e-1-9f8e7d6c", "e-1-9f8e7d6c", beat_s=0.05)
    assert await replaced.acquire()
    again.start()
    (alert,) = await until(state(alerts, RuleKind.SERVICE_DOWN, "firing"))
    assert alert["target"] == "service/delivery/d-1", "nobody misses a process whose place another one took"
    dies.start()
    await until(state(alerts, RuleKind.SERVICE_DOWN, "resolved"))
    assert len(await alerts.all()) == 1
    await asyncio.gather(dies.stop(), again.stop())


async def test_a_service_that_does_not_answer(alerts: Alerts) -> None:
    config = uvicorn.Config(_healthz, port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    socket = config.bind_socket()
    url = f"http://127.0.0.1:{socket.getsockname()[1]}"
    made = await service(alerts.world, alerts_services="collector", collector_url=url)
    await alerts.rule(RuleKind.SERVICE_DOWN, for_s=0)
    socket.close()
    (alert,) = await until(state(alerts, RuleKind.SERVICE_DOWN, "firing"))
    assert alert["target"] == "service/collector"
    config.port = int(urlsplit(url).port or 0)
    serving = asyncio.create_task(server.serve())
    await until(state(alerts, RuleKind.SERVICE_DOWN, "resolved"))
    server.should_exit = True
    await serving
    await end(made)


async def _healthz(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}"})


async def test_a_queue_that_nobody_reads(alerts: Alerts, here: Here) -> None:
    await alerts.rule(RuleKind.QUEUE_DEEP, for_s=0, depth=3)
    for n in range(3):
        await alerts.world.broker.send(HANDOFFS, "command.collector", CommandIssued(command=f"cmd_{n}", to="collector"))

    (alert,) = await until(state(alerts, RuleKind.QUEUE_DEEP, "firing"), 20)
    assert (alert["target"], alert["facts"]["messages"]) == ("queue/collector.handoffs", 3)
    await alerts.world.broker.purge("collector.handoffs")
    await until(state(alerts, RuleKind.QUEUE_DEEP, "resolved"), 20)


def _own(servers: Any) -> Any:
    if servers.own is None:
        assert os.environ.get("REGENTE_MONGO_URL")
        pytest.fail("this test kills the servers: run it without REGENTE_AMQP_URL and REGENTE_MONGO_URL")
    return servers.own


async def test_without_a_database_people_are_told_and_it_is_stored_once_it_is_back(
    alerts: Alerts, here: Here, servers: Any
) -> None:
    own = _own(servers)
    await alerts.rule(RuleKind.DATABASE_UNHEALTHY, for_s=0)
    await asyncio.sleep(0)
    begun = now()
    await until(_rules_known(here, RuleKind.DATABASE_UNHEALTHY))
    own.kill("database")
    try:
        await until(_told(here), 30)
    finally:
        await asyncio.to_thread(own.restart, "database")
    (one,) = here.told
    assert (one.finding.rule.id, one.finding.target) == ("database_unhealthy", "database")
    assert "no primary takes writes" in one.finding.text
    (alert,) = await until(_again(state(alerts, RuleKind.DATABASE_UNHEALTHY, "resolved")), 30)
    assert (alert["_id"], alert["facts"]["unstored"], alert["facts"]["told"]) == (one.id, True, 1)
    assert alert["notify"]["to"] == "notify", "people are told that it is over"
    assert begun < alert["since"] <= alert["fired_at"] <= alert["resolved_at"]
    assert here.health.unstored.held == {}


async def test_without_a_broker(alerts: Alerts, here: Here, servers: Any) -> None:
    own = _own(servers)
    await alerts.rule(RuleKind.BROKER_UNHEALTHY, for_s=0)
    own.kill("broker")
    try:
        (alert,) = await until(state(alerts, RuleKind.BROKER_UNHEALTHY, "firing"), 20)
    finally:
        await asyncio.to_thread(own.restart, "broker")
    assert alert["target"] == "broker"
    assert "no connection" in alert["text"] or "does not answer" in alert["text"]
    await until(state(alerts, RuleKind.BROKER_UNHEALTHY, "resolved"), 40)


def _rules_known(here: Here, kind: RuleKind) -> Any:
    async def check() -> bool:
        return here.health.rules_known[kind.value].for_s == 0

    return check


def _told(here: Here) -> Any:
    async def check() -> bool:
        return bool(here.told)

    return check


def _again(ask: Any) -> Any:
    """As long as the database is away, that is no answer."""

    async def check() -> Any:
        try:
            return await ask()
        except PyMongoError:
            return None

    return check
