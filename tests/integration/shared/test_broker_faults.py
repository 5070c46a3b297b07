"""The broker client through every fault: kill, wipe, refusal, cut connections, blocking."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from shared.broker import Broker, Delivery
from shared.broker.admin import BrokerAdmin
from shared.contracts import topology
from shared.contracts.messages import RunOpened
from shared.contracts.topology import EXECUTOR_HANDOFFS, HANDOFFS, Queue, dead_queue, service_queues
from shared.errors import PermanentError, TemporaryError

PLAIN = Queue("plain", reader="test", dead="plain.dead")


class Seen:
    """A handler that counts what came."""

    def __init__(self) -> None:
        self.bodies: Counter[bytes] = Counter()
        self.runs: list[str] = []

    async def on_bytes(self, body: bytes, _: Delivery) -> None:
        self.bodies[body] += 1

    async def on_run(self, message: RunOpened, _: Delivery) -> None:
        self.runs.append(message.run)


def broker_at(url: str, **more: Any) -> Broker:
    return Broker([url], instance="test-1", **{"publish_timeout_s": 3.0, **more})


@pytest.mark.slow
async def test_broker_restarted_with_its_data_deleted(own_servers, wait_until, lines) -> None:
    broker, seen, connects = broker_at(own_servers.amqp_url, topology=service_queues()), Seen(), []

    async def on_connect() -> None:
        connects.append(1)

    broker.on_connect.append(on_connect)
    await broker.start()
    try:
        await broker.declare(topology.presence_queue("test-1"))
        await broker.consume(EXECUTOR_HANDOFFS, seen.on_run)
        await broker.send(HANDOFFS, "run.opened", RunOpened(run="run_1"), mandatory=True)
        await wait_until(lambda: seen.runs == ["run_1"])
        lines.clear()

        own_servers.kill("broker")
        await wait_until(lambda: not broker.connected, "the loss of the connection")
        for confirm in (True, False):
            with pytest.raises(TemporaryError):
                await broker.send(HANDOFFS, "run.opened", RunOpened(run="lost"), confirm=confirm)
        await asyncio.to_thread(own_servers.restart, "broker", wipe=True)
        await wait_until(lambda: broker.connected and len(connects) == 2, "the reconnect")

        await broker.send(HANDOFFS, "run.opened", RunOpened(run="run_2"), mandatory=True)
        await wait_until(lambda: "run_2" in seen.runs, "the restored consumer")
        await wait_until(lambda: broker.exists("presence.test-1"), "the presence queue")
        for queue in service_queues():
            assert await broker.exists(queue.name), queue.name
    finally:
        await broker.stop()
    told = Counter(line["event"] for line in lines)
    assert told["broker connection lost"] == 1
    assert told["broker connected"] == 1
    assert not [line for line in lines if line["log_level"] == "error" or line.get("exc_info")], lines


@pytest.mark.slow
async def test_what_was_confirmed_survives_a_kill(own_servers, wait_until) -> None:
    broker, seen = broker_at(own_servers.amqp_url, topology=service_queues()), Seen()
    await broker.start()
    try:
        await broker.purge(EXECUTOR_HANDOFFS)

        async def publish(n: int) -> bytes | None:
            body = f"m{n}".encode()
            try:
                await broker.publish(HANDOFFS, "run.opened", body, mandatory=True)
            except TemporaryError:
                return None
            return body

        publishing = [asyncio.create_task(publish(n)) for n in range(3000)]
        await wait_until(lambda: sum(task.done() for task in publishing) > 300, "some confirms")
        own_servers.kill("broker")
        confirmed = {body for body in await asyncio.gather(*publishing) if body}
        assert len(confirmed) > 300
        await asyncio.to_thread(own_servers.restart, "broker")
        await broker.consume(EXECUTOR_HANDOFFS, seen.on_bytes, decode=False, prefetch=500)
        await wait_until(lambda: confirmed <= set(seen.bodies), "every confirmed message")
    finally:
        await broker.stop()


async def test_cut_connection_comes_back_and_the_message_in_hand_comes_again(amqp_url, wait_until, lines) -> None:
    broker = broker_at(amqp_url, topology=(dead_queue("plain"), PLAIN))
    started, release, deliveries = asyncio.Event(), asyncio.Event(), []

    async def on_bytes(_: bytes, delivery: Delivery) -> None:
        deliveries.append(delivery)
        started.set()
        if len(deliveries) == 1:
            await release.wait()

    await broker.start()
    try:
        await broker.consume(PLAIN, on_bytes, decode=False)
        await broker.declare(topology.presence_queue("test-1"))
        await broker.publish("", "plain", b"x")
        await started.wait()
        link = broker._live
        assert link is not None
        link._connection._transport._sock.shutdown(socket.SHUT_RDWR)
        await wait_until(lambda: len(deliveries) == 2, "the second delivery")
        release.set()  # acknowledges on the channel that is no more
        await wait_until(lambda: broker.exists("presence.test-1"), "the presence queue")
        await broker.publish("", "plain", b"y")
        await wait_until(lambda: len(deliveries) == 3)
        assert [each.redelivered for each in deliveries] == [False, True, False]
    finally:
        await broker.stop()
    assert not [line for line in lines if line["log_level"] == "error"], lines


async def test_second_host_is_used_when_the_first_does_not_answer(amqp_url, lines) -> None:
    broker = Broker(["amqp://a:b@127.0.0.1:1/x", amqp_url], instance="test-1", connect_timeout_s=10)
    await broker.start()
    assert broker.connected
    await broker.stop()
    told = [line for line in lines if line["event"] == "broker not connected, trying on"]
    assert len(told) == 1
    assert "127.0.0.1:1" in told[0]["reason"]


async def test_refused_login_says_so_and_names_the_setting(amqp_url, lines) -> None:
    wrong = f"amqp://nobody:wrong@{amqp_url.rsplit('@', 1)[1]}"
    broker = Broker([wrong], instance="test-1", connect_timeout_s=1.5)
    with pytest.raises(TemporaryError, match="refuses the log-in of 'nobody'"):
        await broker.start()
    await broker.stop()
    errors = [line for line in lines if line["log_level"] == "error"]
    assert len(errors) == 1, "told once, not at every try"
    assert "REGENTE_AMQP_URL" in errors[0]["reason"]
    assert "wrong" not in str(lines)


async def test_nothing_listens(lines) -> None:
    broker = Broker(["amqp://a:b@127.0.0.1:1/"], instance="test-1", connect_timeout_s=0.5)
    with pytest.raises(TemporaryError, match="can't be reached"):
        await broker.start()
    await broker.stop()
    assert [line["event"] for line in lines] == ["broker not connected, trying on"]


async def test_blocked_connection_makes_publishers_wait_then_say_so(amqp_url, wait_until, lines) -> None:
    broker = broker_at(amqp_url, topology=(PLAIN,), publish_timeout_s=0.3)
    await broker.start()
    link = broker._live
    assert link is not None
    link._on_blocked(None, SimpleNamespace(method=SimpleNamespace(reason="low on memory")))
    with pytest.raises(TemporaryError, match="not confirmed"):
        await broker.publish("", "plain", b"1")
    with pytest.raises(TemporaryError, match="low on memory"):
        await broker.publish("", "plain", b"1", confirm=False)
    waiting = asyncio.create_task(broker.publish("", "plain", b"2"))
    await asyncio.sleep(0)
    link._on_unblocked(None, None)
    await waiting
    assert await broker.depth("plain") == 1
    await broker.stop()


async def test_exchange_of_ours_that_was_deleted_is_made_again(amqp_url, wait_until) -> None:
    broker = broker_at(amqp_url, topology=service_queues())
    await broker.start()
    channel = await broker._live.channel()
    await channel.call("exchange_delete", HANDOFFS)

    async def published() -> bool:
        try:
            await broker.publish(HANDOFFS, "run.opened", b"{}", mandatory=True)
        except TemporaryError:
            return False
        return True

    await wait_until(published, "the exchange's return")
    await broker.stop()


async def test_robot_user_can_do_its_own_and_nothing_else(amqp_url, amqp_admin_url, wait_until) -> None:
    vhost = amqp_url.rsplit("/", 1)[1]
    admin, worker = BrokerAdmin(amqp_admin_url, vhost), "0a0b0c0d0e0f"
    user = topology.worker_user(worker)
    broker = broker_at(amqp_url, topology=service_queues())
    await broker.start()
    host = amqp_url.rsplit("@", 1)[1]
    robot = broker_at(f"amqp://{user}:secret@{host}")
    robot_declares: list[Any] = []
    try:
        await broker.declare(topology.instructions_queue(worker), topology.control_queue(worker))
        await admin.put_user(user, "secret")
        await admin.put_permissions(user, topology.worker_permissions(worker))
        assert user in await admin.users()
        robot_link = asyncio.create_task(_robot(robot, robot_declares))
        await robot_link
        await wait_until(lambda: admin.connections(user), "the robot's connection in the list")
        await admin.delete_user(user)
        await admin.close_connections(user)
        assert await admin.connections(user) == 0
        names = {queue["name"] for queue in await admin.queues()}
        assert {f"worker.{worker}.instructions", EXECUTOR_HANDOFFS} <= names
        assert await admin.alive()
    finally:
        await robot.stop()
        await broker.stop()
        await admin.delete_user(user)
        await admin.close()
    assert robot_declares == ["own", "refused"]


async def _robot(robot: Broker, told: list[Any]) -> None:
    """A plain connection as the robot: it may write its own keys, and no others."""
    from shared.broker.errors import ChannelClosed
    from shared.broker.link import open_link

    link = await open_link(robot._urls[0], "robot")
    channel = await link.channel()
    await channel.call("confirm_delivery", lambda _: None)
    channel.tell("basic_publish", topology.WORKERS, "heartbeat.0a0b0c0d0e0f", b"{}")
    await channel.call("basic_qos", prefetch_count=1)
    told.append("own")
    channel.tell("basic_publish", topology.WORKERS, "heartbeat.ffffffffffff", b"{}")
    try:
        await channel.call("basic_qos", prefetch_count=1)
        await channel.call("basic_qos", prefetch_count=1)
    except ChannelClosed as closed:
        told.append("refused" if closed.code == 403 else closed.reason)


async def test_admin_with_a_wrong_password_says_what_to_check(amqp_admin_url) -> None:
    parts = amqp_admin_url.rsplit("@", 1)
    admin = BrokerAdmin(f"http://nobody:wrong@{parts[1]}")
    with pytest.raises(PermanentError, match="REGENTE_AMQP_ADMIN_URL"):
        await admin.queues()
    assert not await admin.alive()
    await admin.close()
