"""From what really happens, through the scheduler, to the alert: a robot goes silent, another machine has its key, runs
fail again and again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.domain.alert_rules import RuleKind
from tests.integration.alerts.conftest import Alerts
from tests.integration.scheduler.robot import WORKER, Robot
from tests.integration.scheduler.test_robots import _admitted, _until_connected


@pytest.fixture
async def robot() -> AsyncIterator[Robot]:
    """A robot that is logged out at the end."""
    made = Robot()
    yield made
    await made.close()


async def _only(alerts: Alerts, *kinds: RuleKind) -> None:
    """These rules, at once; the others are disabled."""
    await alerts.store.mongo["rules"].update_many({}, {"$set": {"enabled": False}})
    names = [kind.value for kind in kinds]
    await alerts.store.mongo["rules"].update_many({"_id": {"$in": names}}, {"$set": {"enabled": True, "for_s": 0.0}})


async def test_a_robot_that_goes_silent_and_comes_back(alerts: Alerts, robot: Robot) -> None:
    world = alerts.world
    service = await world.scheduler(silent_s=1.0)
    await _only(alerts, RuleKind.ROBOT_LOST)
    await robot.connect(await _admitted(world, service, robot))
    await robot.beat()
    await _until_connected(world)
    await alerts.run()
    assert await alerts.all(state="firing") == []
    await _until_connected(world, connected=False)
    await alerts.run()
    (alert,) = await alerts.all(state="firing")
    assert alert["target"] == f"worker/{WORKER}"
    await robot.beat()
    await _until_connected(world)
    await alerts.run()
    assert await alerts.all(state="firing") == []


async def test_another_machine_with_a_robots_address(alerts: Alerts, robot: Robot) -> None:
    world = alerts.world
    service = await world.scheduler()
    await _only(alerts, RuleKind.UNAUTHORISED_ATTEMPT)
    await _admitted(world, service, robot)
    async with world.http(service) as http:
        assert (await Robot(key="cd" * 32).enrol(http)).status_code == 403
    await alerts.handlers.sweep_events()
    alert = await alerts.only("firing")
    assert (alert["target"], alert["severity"]) == (f"worker/{WORKER}", "error")


CASES = [
    (3, RuleKind.WORKFLOW_HELD, "workflow/acme/tax", "workflow.release", "acme/tax", "3 system failures in a row"),
    (None, RuleKind.ROBOT_QUARANTINED, "worker/00155d010001", "worker.release", "00155d010001", "gets no work until"),
]


@pytest.mark.parametrize(("breaker", "kind", "target", "release", "what", "says"), CASES, ids=["workflow", "robot"])
async def test_runs_that_fail_again_and_again(
    alerts: Alerts, breaker: int | None, kind: RuleKind, target: str, release: str, what: str, says: str
) -> None:
    """Where the workflow's circuit breaker may open it does; else the robot is put in quarantine."""
    world = alerts.world
    await _only(alerts, kind)
    await world.publish(
        max_tasks=1, settings={"breaker": {"failures": breaker}, "retry": {"attempts": 9, "delay_s": 0}}
    )
    await world.robot()
    await world.tasks(1)
    await world.scheduler(dispatch_sweep_s=0.2)
    for _ in range(3):
        (run,) = await world.opened()
        await world.finish_run(run, "retry")
        await world.settled(run["_id"])
    await alerts.run()
    alert = await alerts.only("firing")
    assert alert["target"] == target
    assert says in alert["text"]
    assert (await world.ask(release, what))["state"] == "done"
    await alerts.run()
    await alerts.only("resolved")
