"""Robots: nobody is let in without a person, nobody gets more than its own, and out is out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pika
import pytest
from pika.exceptions import AMQPError, ChannelClosedByBroker, ProbableAccessDeniedError, ProbableAuthenticationError

from services.scheduler.config import SchedulerSettings
from services.scheduler.main import Scheduler
from shared.contracts.topology import HANDOFFS, WORKER_HEARTBEATS, WORKERS, control_queue, instructions_queue
from shared.obs.clock import monotonic_s
from shared.runtime.commands import wait
from shared.seal.instructions import robot_key
from tests.integration.scheduler.conftest import World, until
from tests.integration.scheduler.robot import WORKER, Robot

OTHER = "00155d01020b"


@pytest.fixture
async def robot() -> AsyncIterator[Robot]:
    """A robot that is logged out at the end."""
    made = Robot()
    yield made
    await made.close()


async def _admitted(world: World, service: Scheduler, robot: Robot) -> dict[str, Any]:
    """Enrol, have a person authorise it, enrol again; how to log in."""
    async with world.http(service) as http:
        assert (await robot.enrol(http)).json() == {"state": "pending", "retry_after_s": 2.0}
        assert (await world.ask("worker.authorise", robot.worker))["state"] == "done"
        answer = (await robot.enrol(http)).json()
    assert answer["state"] == "authorised"
    amqp: dict[str, Any] = answer["amqp"]
    return amqp


async def _until_connected(world: World, worker: str = WORKER, connected: bool = True, within_s: float = 10.0) -> None:
    async def check() -> bool:
        return bool((await world.worker(worker)).get("connected")) is connected

    await until(check, within_s)


async def _logged_in(robot: Robot, amqp: dict[str, Any]) -> bool:
    """Whether it can log in; it tries again and again, as an agent does."""
    try:
        await robot.connect(amqp)
    except AMQPError:
        return False
    return True


async def test_a_robot_is_admitted_by_a_person_and_gets_work(world: World, robot: Robot) -> None:
    service = await world.scheduler(silent_s=60)
    await world.publish()
    await world.tasks()
    amqp = await _admitted(world, service, robot)
    assert amqp["user"] == f"worker.{WORKER}"
    await robot.connect(amqp)
    await robot.beat(epoch=7)
    (run,) = await world.opened()
    assert run["worker"] == WORKER
    assert run["epoch"] == 8, "above what the robot has seen before it was removed and enrolled again"
    await robot.beat(run=run["_id"])

    async def running() -> bool:
        return (await world.worker(WORKER))["status"] == "running"

    await until(running)
    worker = await world.worker(WORKER)
    assert worker["seen"]["run"] == run["_id"]
    assert (worker["authorised_by"], worker["grant"], worker["journal"]) == (
        "ana",
        1,
        {"id": "journal-1", "counter": 1},
    )
    actions = [entry["action"] async for entry in world.mongo["audit"].find({"target": WORKER})]
    assert actions == ["worker.authorise.done"]


async def test_a_robots_user_can_use_nothing_but_its_own(world: World, robot: Robot) -> None:
    service = await world.scheduler()
    await world.robot(0x020B, grant=1)
    other = (await world.mongo["workers"].find_one({"_id": {"$ne": WORKER}}) or {})["_id"]
    await service.rights.follow(other)
    amqp = await _admitted(world, service, robot)
    await robot.connect(amqp)
    mine = instructions_queue(WORKER).name
    await robot.on_channel(lambda channel: channel.basic_consume(mine, lambda *_: None))
    await robot.on_channel(lambda channel: channel.basic_consume(control_queue(WORKER).name, lambda *_: None))
    forbidden = {
        "consume another's instructions": lambda c: c.basic_consume(instructions_queue(other).name, lambda *_: None),
        "consume heartbeats": lambda c: c.basic_consume(WORKER_HEARTBEATS, lambda *_: None),
        "declare a queue": lambda c: c.queue_declare("mine", durable=True),
        "delete a queue": lambda c: c.queue_delete(mine),
        "bind a queue": lambda c: c.queue_bind(mine, WORKERS, "#"),
        "publish a hand-off": lambda c: c.basic_publish(HANDOFFS, "run.finished", b"{}"),
        "publish to a queue": lambda c: c.basic_publish("", mine, b"{}"),
        "beat for another": lambda c: c.basic_publish(WORKERS, f"heartbeat.{other}", b"{}"),
        "reply for another": lambda c: c.basic_publish(WORKERS, f"reply.{other}.executor-1", b"{}"),
        "sign as another": lambda c: c.basic_publish(
            WORKERS, f"heartbeat.{WORKER}", b"{}", pika.BasicProperties(user_id=f"worker.{other}")
        ),
    }
    for what, act in forbidden.items():
        await robot.new_channel()
        with pytest.raises(ChannelClosedByBroker) as refused:
            await robot.on_channel(act)
        assert refused.value.reply_code in (403, 406), what


async def test_without_authorisation_there_is_no_log_in(world: World, robot: Robot) -> None:
    service = await world.scheduler()
    amqp = await _admitted(world, service, robot)
    for password in ("", "guest", "wrong"):
        with pytest.raises((ProbableAuthenticationError, ProbableAccessDeniedError)):
            await robot.connect({**amqp, "password": password})
    with pytest.raises((ProbableAuthenticationError, ProbableAccessDeniedError)):
        await robot.connect({**amqp, "user": f"worker.{OTHER}"})


async def test_revoking_cuts_the_connection_and_ends_the_run(world: World, robot: Robot) -> None:
    service = await world.scheduler(silent_s=60)
    await world.publish()
    await world.tasks()
    amqp = await _admitted(world, service, robot)
    await robot.connect(amqp)
    await robot.beat()
    (run,) = await world.opened()
    assert (await world.ask("worker.revoke", WORKER))["state"] == "done"
    with pytest.raises(AMQPError):
        await robot.beat()
    with pytest.raises((ProbableAuthenticationError, ProbableAccessDeniedError)):
        await robot.connect(amqp)
    worker = await world.worker(WORKER)
    assert (worker["authorisation"], worker["connected"], worker["grant"]) == ("revoked", False, 2)
    command = await until(lambda: world.mongo["commands"].find_one({"kind": "run.robot_lost"}))
    assert (command["_id"], command["to"]) == (f"cmd_lost_{run['_id']}_1", "executor")
    assert command["args"]["reason"] == "the robot is no longer authorised"
    async with world.http(service) as http:
        answer = await robot.enrol(http)
    assert answer.status_code == 403
    assert answer.json()["code"] == "WORKER_REFUSED"
    assert "a person revoked it" in answer.json()["detail"]


async def test_authorising_again_takes_another_password(world: World, robot: Robot) -> None:
    service = await world.scheduler()
    first = await _admitted(world, service, robot)
    await world.ask("worker.revoke", WORKER)
    await world.ask("worker.authorise", WORKER)
    async with world.http(service) as http:
        answer = (await robot.enrol(http, opens_sealed=True)).json()
    second = answer["amqp"]
    assert second["password"] != first["password"]
    worker = await world.worker(WORKER)
    keys = [robot_key(service.sealer, WORKER, grant) for grant in range(worker["grant"] + 1)]
    assert keys.index(answer["seal_key"]) == worker["grant"] == 3, "a key of its own for every grant"
    assert worker["opens_sealed"] is True
    with pytest.raises((ProbableAuthenticationError, ProbableAccessDeniedError)):
        await robot.connect(first)
    await robot.connect(second)


async def test_another_key_is_refused_and_cuts_the_robot_off(world: World, robot: Robot) -> None:
    service = await world.scheduler()
    await robot.connect(await _admitted(world, service, robot))
    async with world.http(service) as http:
        refused = await Robot(key="cd" * 32).enrol(http)
        assert refused.status_code == 403
        assert "another key" in refused.json()["detail"]
        worker = await world.worker(WORKER)
        assert (worker["authorisation"], worker["doubt"]["reason"]) == (
            "revoked", "somebody tried to enrol under its address with another key",
        )  # fmt: skip
        with pytest.raises(AMQPError):
            await robot.beat()
        assert (await robot.enrol(http)).status_code == 403
        assert (await world.ask("worker.authorise", WORKER))["state"] == "done"
        assert (await robot.enrol(http)).json()["state"] == "authorised"
    assert (await world.worker(WORKER))["doubt"] is None


@pytest.mark.parametrize(
    "fields",
    [
        {"worker": "00:15:5d:01:02:0a"}, {"key": "short"}, {"journal": {"id": "j"}},
        {"journal": {"id": "j", "counter": 2**60}},
        {"name": "n" * 300}, {"addresses": ["00155d01020a"] * 100}, {"session": ""}, {"drivers": "browser"},
    ],
)  # fmt: skip
async def test_bad_enrolments_are_refused_and_leave_nothing(world: World, robot: Robot, fields: dict[str, Any]) -> None:
    service = Scheduler(_settings(world))
    async with world.http(service) as http:
        answer = await robot.enrol(http, **fields)
    assert answer.status_code == 422
    assert answer.json()["errors"]
    assert await world.mongo["workers"].count_documents({}) == 0
    await service.mongo.close()


async def test_enrolments_have_limits(world: World) -> None:
    service = Scheduler(_settings(world, robots_pending_max=3, enrol_burst=5, enrol_per_s=0.001))
    async with world.http(service) as http:
        answers = [await Robot(worker=f"00155d01030{n}").enrol(http) for n in range(7)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429, 429, 429]
        assert "3 robots wait" in answers[3].json()["detail"]
        assert "too many requests" in answers[6].json()["detail"]
        assert (await http.post("/v1/workers/enrol", content=b"x" * 40_000)).status_code == 413
    await service.mongo.close()


def _settings(world: World, **settings: Any) -> SchedulerSettings:
    return SchedulerSettings(**{**world.settings, "instance": "scheduler-9", **settings})


async def test_a_wiped_broker_is_rebuilt(world: World, robot: Robot, amqp_admin_url: str) -> None:
    """The virtual host is deleted with everything in it, and so is the robot's user; it comes back empty."""
    service = await world.scheduler()
    amqp = await _admitted(world, service, robot)
    vhost = amqp["vhost"]
    admin_user = urlsplit(amqp_admin_url).username
    async with httpx.AsyncClient(base_url=amqp_admin_url, timeout=20) as admin:
        (await admin.delete(f"/api/users/worker.{WORKER}")).raise_for_status()
        (await admin.delete(f"/api/vhosts/{vhost}")).raise_for_status()
        (await admin.put(f"/api/vhosts/{vhost}")).raise_for_status()
        rights = {"configure": ".*", "write": ".*", "read": ".*"}
        (await admin.put(f"/api/permissions/{vhost}/{admin_user}", json=rights)).raise_for_status()

    await until(lambda: _logged_in(robot, amqp), 15)
    await until(lambda: service.broker.exists(instructions_queue(WORKER).name))
    await robot.on_channel(lambda channel: channel.basic_consume(instructions_queue(WORKER).name, lambda *_: None))
    await robot.beat()
    await _until_connected(world)


async def test_what_somebody_meddled_with_is_put_right(world: World, robot: Robot, amqp_admin_url: str) -> None:
    service = await world.scheduler()
    amqp = await _admitted(world, service, robot)
    vhost = amqp["vhost"]
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    async with httpx.AsyncClient(base_url=amqp_admin_url, timeout=20) as admin:
        await admin.put(f"/api/permissions/{vhost}/worker.{WORKER}", json=everything)
        await admin.put(f"/api/users/worker.{OTHER}", json={"password": "x", "tags": ""})
        await admin.put(f"/api/permissions/{vhost}/worker.{OTHER}", json=everything)
        await admin.put(f"/api/queues/{vhost}/worker.{OTHER}.control", json={"durable": True})
        await admin.delete(f"/api/queues/{vhost}/worker.{WORKER}.control")
        await service.rights.compare()
        assert (await service.rights.compare()).empty
        mine = (await admin.get(f"/api/permissions/{vhost}/worker.{WORKER}")).json()
        assert mine["configure"] == "^$"
        assert (await admin.get(f"/api/users/worker.{OTHER}")).status_code == 404
        assert (await admin.get(f"/api/queues/{vhost}/worker.{OTHER}.control")).status_code == 404
        assert (await admin.get(f"/api/queues/{vhost}/worker.{WORKER}.control")).status_code == 200


async def test_a_silent_robot_is_disconnected_and_its_run_told(world: World, robot: Robot) -> None:
    service = await world.scheduler(silent_s=1.0)
    await world.publish()
    await world.tasks()
    await robot.connect(await _admitted(world, service, robot))
    await robot.beat()
    (run,) = await world.opened()
    started_s = monotonic_s()
    await _until_connected(world, connected=False)
    assert monotonic_s() - started_s > 0.5
    command = await until(lambda: world.mongo["commands"].find_one({"kind": "run.robot_lost"}))
    assert command["args"] == {"run": run["_id"], "worker": WORKER, "epoch": 1, "reason": "the robot has gone silent"}
    await robot.beat()
    await _until_connected(world)
    assert await world.mongo["commands"].count_documents({"kind": "run.robot_lost"}) == 1


async def test_two_schedulers_share_the_heartbeats_without_a_false_alarm(world: World, robot: Robot) -> None:
    service = await world.scheduler("scheduler-1", silent_s=1.2)
    await world.scheduler("scheduler-2", silent_s=1.2)
    await robot.connect(await _admitted(world, service, robot))
    deadline_s = monotonic_s() + 2.5
    await robot.beat()
    await _until_connected(world)
    while monotonic_s() < deadline_s:
        await robot.beat()
        await asyncio.sleep(0.4)
        worker = await world.worker(WORKER)
        assert (worker["connected"], worker["authorisation"]) == (True, "authorised")


@pytest.mark.parametrize("change", ["journal", "counter"])
async def test_a_restored_robot_is_unauthorised(world: World, robot: Robot, change: str) -> None:
    service = await world.scheduler()
    robot.counter = 40
    await robot.connect(await _admitted(world, service, robot))
    await robot.beat()
    await _until_connected(world)
    robot.session = "after the restore"
    robot.counter, robot.journal = (39, robot.journal) if change == "counter" else (50, "another")
    with contextlib.suppress(AMQPError):  # its connection may be cut before this returns
        await robot.beat()

    async def revoked() -> bool:
        return (await world.worker(WORKER))["authorisation"] == "revoked"

    await until(revoked)
    assert "journal" in (await world.worker(WORKER))["doubt"]["reason"]

    async def cut() -> bool:
        try:
            await robot.beat()
        except AMQPError:
            return True
        return False

    await until(cut)


async def test_a_heartbeat_about_another_robot_is_a_dead_letter_and_a_doubt(world: World, robot: Robot) -> None:
    service = await world.scheduler()
    other = await world.robot(2, connected=False)
    await robot.connect(await _admitted(world, service, robot))
    with contextlib.suppress(AMQPError):  # its connection may be cut before this returns
        await robot.beat(worker=other)
    await until(lambda: world.broker.depth(f"{WORKER_HEARTBEATS}.dead"))

    async def revoked() -> bool:
        return (await world.worker(WORKER))["authorisation"] == "revoked"

    await until(revoked)
    assert (await world.worker(other))["connected"] is False


async def test_nonsense_from_robots_is_a_dead_letter_and_the_scheduler_goes_on(world: World, robot: Robot) -> None:
    service = await world.scheduler()
    await robot.connect(await _admitted(world, service, robot))
    await robot.on_channel(lambda channel: channel.basic_publish(WORKERS, f"heartbeat.{WORKER}", b"\xff{"))
    await robot.beat(seq=2**70)

    async def buried() -> bool:
        return await world.broker.depth(f"{WORKER_HEARTBEATS}.dead") == 2

    await until(buried)
    await robot.beat()
    await _until_connected(world)


async def test_robots_lines_are_stored_once_under_their_own_name(world: World, robot: Robot) -> None:
    service = await world.scheduler()
    await robot.connect(await _admitted(world, service, robot))
    await robot.log(1, 2, 3)
    await robot.log(2, 3, 4)

    async def stored() -> list[dict[str, Any]]:
        lines = await world.mongo["logs"].find({"service": "agent"}).sort("_id", 1).to_list(None)
        return lines if len(lines) == 4 else []

    lines = await until(stored)
    assert [line["_id"] for line in lines] == [f"{WORKER}/journal-1/{n}" for n in (1, 2, 3, 4)]
    assert lines[0]["worker"] == lines[0]["instance"] == WORKER
    assert lines[0]["fields"] == {"a_b": 1}


@pytest.mark.parametrize(("mode", "kind"), [("abort", "run.abort"), ("stop", "run.stop"), ("pause", None)])
async def test_modes(world: World, mode: str, kind: str | None) -> None:
    await world.publish()
    await world.tasks()
    robot = await world.robot()
    await world.scheduler()
    (run,) = await world.opened()
    assert (await world.ask("worker.mode", robot, mode=mode))["state"] == "done"
    worker = await world.worker(robot)
    assert (worker["mode"], worker["status"]) == (mode, "reserved")
    asked = [c["kind"] async for c in world.mongo["commands"].find({"to": "executor", "target": run["_id"]})]
    assert asked == ([kind] if kind else [])
    await world.tasks()
    await world.end_run(run["_id"])

    async def idle() -> bool:
        return (await world.worker(robot))["status"] == ("paused" if mode == "pause" else "stopped")

    await until(idle)
    assert (await world.ask("worker.mode", robot, mode="run"))["state"] == "done"
    assert len(await world.opened()) == 1


@pytest.mark.parametrize("late", ["worker.mode", "worker.drain"])
async def test_an_older_request_does_not_undo_a_newer_mode(world: World, late: str) -> None:
    """A request whose hint was lost came after one that was made later, and the robot stayed stopped."""
    robot = await world.robot()
    await world.scheduler()
    assert (await world.ask("worker.mode", robot, mode="pause"))["state"] == "done"
    assert (await world.ask("worker.mode", robot, mode="run"))["state"] == "done"
    at = (await world.worker(robot))["mode_asked_at"] - timedelta(milliseconds=1)
    about = {"kind": late, "to": "scheduler", "target": robot, "args": {"mode": "abort"}, "by": "ana", "reason": None}
    times = {"state": "pending", "claims": 0, "created_at": at, "due_at": at, "schema_version": 1}
    await world.mongo["commands"].insert_one({"_id": "cmd_late", **about, **times})
    answer = await wait(world.mongo, "cmd_late", 10.0)
    assert (answer["state"], answer["reason"].partition(":")[0]) == ("refused", "CONFLICT")
    worker = await world.worker(robot)
    assert (worker["mode"], worker["status"], worker["drain"]) == ("run", "waiting", None)


async def test_removing_waits_for_the_run_and_forgets_the_robot(world: World) -> None:
    await world.publish()
    await world.tasks()
    robot = await world.robot()
    await world.scheduler()
    (run,) = await world.opened()
    removal = asyncio.create_task(world.ask("worker.remove", robot))
    lost = await until(lambda: world.mongo["commands"].find_one({"kind": "run.robot_lost"}))
    assert lost["target"] == run["_id"]
    await world.end_run(run["_id"], state="aborted")
    assert (await removal)["state"] == "done"
    assert await world.worker(robot) == {}


@pytest.mark.parametrize("kind", ["worker.authorise", "worker.revoke", "worker.remove", "worker.mode", "worker.dance"])
async def test_requests_that_cannot_be_granted_say_why(world: World, kind: str) -> None:
    await world.scheduler()
    answer = await world.ask(kind, "00155d0fffff", mode="run")
    assert answer["state"] == "refused"
    assert answer["reason"].startswith(("NOT_FOUND: ", "UNKNOWN_COMMAND: "))


async def test_people_who_change_their_minds_are_followed_to_the_end(
    world: World, robot: Robot, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Authorised again while the broker is still being made to forget the robot: the last word counts."""
    service = await world.scheduler(rights_sweep_s=600)
    await _admitted(world, service, robot)
    workers, cut = world.mongo["workers"], service._admin.close_connections

    async def meanwhile(user: str) -> None:
        await cut(user)
        await workers.update_one({"_id": WORKER}, {"$set": {"authorisation": "authorised", "grant": 3}})

    monkeypatch.setattr(service._admin, "close_connections", meanwhile)
    await workers.update_one({"_id": WORKER}, {"$set": {"authorisation": "revoked", "grant": 2}})
    await service.rights.follow(WORKER)
    assert (await service.rights.compare()).empty
    async with world.http(service) as http:
        await robot.connect((await robot.enrol(http)).json()["amqp"])
