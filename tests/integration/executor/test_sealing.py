"""Secrets travel to robots sealed: for the robot that runs the script, under the grant that it has just then."""

from __future__ import annotations

import json
from typing import Any

from shared.seal.instructions import robot_key
from shared.testing.robot import FakeRobot
from tests.integration.executor.conftest import ACCOUNT, SEALER, World, until

SECRET = "PLANTED-to-be-typed"
SCRIPT = """
from robot import browser
from regente import objects, secrets

def execute(task: dict[str, str]) -> dict[str, str]:
    browser.fill(objects.go, "seen by all")
    browser.fill(objects.go, secrets.get("portal/password"))
    return {}
"""


async def ready(world: World, *, grant: int = 1, opens_sealed: bool = True, **settings: Any) -> FakeRobot:
    """A robot that is known, an executor, a secret, and a script that types it."""
    await world.executor(**settings)
    robot = await world.robot()
    fields = {"grant": grant, "opens_sealed": opens_sealed}
    await world.mongo["workers"].update_one({"_id": robot.worker}, {"$set": fields})
    id = f"{ACCOUNT}/portal/password"
    content = json.dumps({"kind": "text", "text": SECRET}).encode()
    sealed = SEALER.seal("document", content, id.encode())
    document = {"_id": id, "account": ACCOUNT, "name": "portal/password", "kind": "text", "sealed": sealed}
    await world.mongo["documents"].insert_one(document)
    await world.publish(SCRIPT)
    return robot


async def test_only_what_holds_a_secret_is_sealed_and_only_the_robot_reads_it(world: World) -> None:
    robot = await ready(world)
    run = await world.open(1, worker=robot.worker)
    await world.ended(run)
    (task,) = await world.tasks(run)
    assert task["state"] == "succeeded", task["error"]
    plain, typed = robot.done
    assert [plain.args["text"], typed.args["text"]] == ["seen by all", SECRET]
    assert [one.sealed is None for one in robot.asked] == [True, False]
    assert robot.asked[1].args == {}
    assert SECRET not in repr(robot.asked)


async def test_a_robot_that_is_authorised_anew_meanwhile_is_sent_what_its_new_key_opens(world: World) -> None:
    robot = await ready(world, grant=2)  # its document is ahead of it
    run = await world.open(1, worker=robot.worker)

    async def refused() -> bool:
        return len(robot.asked) >= 3

    await until(refused)
    assert len(robot.done) == 1, "what it can't open it does not do"
    robot.key = robot_key(SEALER, robot.worker, 2)
    await world.ended(run)
    (task,) = await world.tasks(run)
    assert task["state"] == "succeeded", task["error"]
    assert [one.args["text"] for one in robot.done] == ["seen by all", SECRET]
    assert SECRET not in repr(robot.asked)


async def test_a_robot_that_never_opens_it_fails_the_task_with_words(world: World) -> None:
    robot = await ready(world)
    robot.key = None
    run = await world.open(1, worker=robot.worker)
    await world.ended(run)
    (task,) = await world.tasks(run)
    assert (task["state"], task["error"]["failed"]["code"]) == ("failed", "SEALED"), task["error"]
    assert "SEALED: sealed for another key" in task["error"]["message"]
    assert len(robot.done) == 1


async def test_an_agent_that_cannot_open_anything_is_sent_no_secret(world: World) -> None:
    robot = await ready(world, opens_sealed=False)
    run = await world.open(1, worker=robot.worker)
    await world.ended(run)
    assert len(robot.asked) == 1
    assert "NOT_ALLOWED: robot 00155d020001 is sent no secrets" in str(await world.steps(run))


async def test_unless_people_allow_it(world: World) -> None:
    robot = await ready(world, opens_sealed=False, unsealed_robots_allowed=True)
    run = await world.open(1, worker=robot.worker)
    await world.ended(run)
    assert [one.args["text"] for one in robot.asked] == ["seen by all", SECRET]


async def test_an_act_that_was_sent_and_can_be_sent_no_more_is_in_doubt(world: World) -> None:
    """The executor dies after it sent the secret; then its robot's agent is one that opens nothing."""
    robot = await ready(world)
    robot.table["browser.fill"] = _second_is_silent(robot)
    run = await world.open(1, worker=robot.worker)

    async def typed() -> bool:
        return len(robot.done) == 2

    await until(typed)
    await world.mongo["workers"].update_one({"_id": robot.worker}, {"$set": {"opens_sealed": False}})
    await world.leave(world.executors[0])
    robot.silent = False
    await world.executor("executor-2")
    await world.ended(run)
    (task,) = await world.tasks(run)
    assert (task["state"], (task["hold"] or {}).get("reason")) == ("held", "in_doubt"), task["error"]


def _second_is_silent(robot: FakeRobot) -> Any:
    """From the second instruction on the robot does what it is asked, and its answers are lost."""

    def answer(_: Any) -> None:
        robot.silent = len(robot.done) >= 1

    return answer
