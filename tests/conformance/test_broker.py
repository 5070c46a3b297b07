"""What shared.broker promises, on the stub and on the real broker alike."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shared.broker import BrokerClosed, Delivery, Unroutable
from shared.contracts import topology
from shared.contracts.messages import RunOpened, TaskAccepted
from shared.contracts.topology import DEAD, HANDOFFS, Binding, Queue, dead_queue
from shared.errors import ErrorCode, PermanentError, TemporaryError
from shared.obs import trace

CLASSIC = Queue("classic", reader="test", bindings=(Binding(HANDOFFS, "classic.*"),), dead="classic.dead")
QUORUM = Queue(
    "quorum",
    reader="test",
    bindings=(Binding(HANDOFFS, "quorum.#"),),
    dead="quorum.dead",
    arguments={
        "x-queue-type": "quorum",
        "x-delivery-limit": 2,
        "x-dead-letter-exchange": DEAD,
        "x-dead-letter-routing-key": "quorum",
    },
)
BOTH = (CLASSIC, QUORUM)
ALL = (dead_queue("classic"), dead_queue("quorum"), *BOTH)


class Inbox:
    """A handler that keeps what came, and raises what it is told to."""

    def __init__(self, *errors: Exception) -> None:
        self.messages: list[Any] = []
        self.deliveries: list[Delivery] = []
        self.errors = list(errors)

    async def __call__(self, message: Any, delivery: Delivery) -> None:
        self.messages.append(message)
        self.deliveries.append(delivery)
        if self.errors:
            raise self.errors.pop(0)


def task() -> TaskAccepted:
    return TaskAccepted(account="acme", workflow="tax", batch="batch_1", count=1)


async def test_message_arrives_decoded_with_its_envelope(brokers, wait_until) -> None:
    broker, inbox = await brokers.connect("sender-1", topology=ALL), Inbox()
    await broker.consume(CLASSIC, inbox)
    await broker.send(HANDOFFS, "classic.x", task())
    await wait_until(lambda: inbox.messages)
    assert inbox.messages == [task()]
    delivery = inbox.deliveries[0]
    assert (delivery.exchange, delivery.routing_key, delivery.queue) == (HANDOFFS, "classic.x", "classic")
    assert delivery.envelope is not None
    assert delivery.envelope.sender == "sender-1"
    assert not delivery.redelivered
    await wait_until(lambda: _empty(broker, "classic"))


async def _empty(broker: Any, queue: str) -> bool:
    return bool(await broker.depth(queue) == 0)


async def test_trace_travels_with_the_message(brokers, wait_until) -> None:
    broker, seen = await brokers.connect(topology=ALL), []

    async def on_task(_: Any, __: Any) -> None:
        seen.append(trace.trace_id(trace.current()))

    await broker.consume(CLASSIC, on_task)
    with trace.use(None) as mine:
        await broker.send(HANDOFFS, "classic.x", task())
    await wait_until(lambda: seen)
    assert seen == [trace.trace_id(mine)]


async def test_bytes_are_handed_over_undecoded(brokers, wait_until) -> None:
    broker, inbox = await brokers.connect(topology=ALL), Inbox()
    await broker.consume("classic", inbox, decode=False)
    await broker.publish("", "classic", b"\xff raw", headers={"n": 1})
    await wait_until(lambda: inbox.messages)
    assert inbox.messages == [b"\xff raw"]
    assert inbox.deliveries[0].headers["n"] == 1


@pytest.mark.parametrize("confirm", [True, False])
async def test_many_at_once_arrive_in_order(brokers, wait_until, confirm) -> None:
    broker, inbox = await brokers.connect(topology=ALL), Inbox()
    await broker.consume("classic", inbox, decode=False)
    bodies = [str(n).encode() for n in range(500)]
    await asyncio.gather(*(broker.publish("", "classic", body, confirm=confirm) for body in bodies))
    await wait_until(lambda: len(inbox.messages) == 500)
    assert inbox.messages == bodies


async def test_mandatory_message_without_queue_comes_back(brokers) -> None:
    broker = await brokers.connect(topology=ALL)
    with pytest.raises(Unroutable) as caught:
        await broker.publish(HANDOFFS, "nobody.listens", b"{}", mandatory=True)
    assert caught.value.code is ErrorCode.UNROUTABLE
    await broker.publish(HANDOFFS, "nobody.listens", b"{}")
    await broker.publish(HANDOFFS, "classic.x", b"{}", mandatory=True)


async def test_missing_exchange_is_unroutable_and_harms_no_other_message(brokers) -> None:
    broker = await brokers.connect(topology=ALL)
    with pytest.raises(Unroutable):
        await broker.publish("no.such.exchange", "x", b"{}")
    await broker.publish("no.such.exchange", "x", b"{}", confirm=False)
    for _ in range(3):
        await broker.publish("", "classic", b"{}")
    assert await broker.depth("classic") == 3


@pytest.mark.parametrize("queue", BOTH, ids=lambda queue: queue.name)
async def test_undecodable_bytes_are_dead_at_once_and_say_why(brokers, wait_until, queue) -> None:
    broker, inbox, dead = await brokers.connect(topology=ALL), Inbox(), Inbox()
    await broker.consume(queue, inbox)
    await broker.consume(f"{queue.name}.dead", dead, decode=False)
    for body in (b"no json", b"[]", b'{"kind": "regente.unknown.v9", "id": "1"}'):
        await broker.publish("", queue.name, body)
    await broker.send("", queue.name, task())
    await wait_until(lambda: len(dead.messages) == 3 and inbox.messages)
    assert inbox.messages == [task()]
    assert dead.messages[0] == b"no json"
    assert str(dead.deliveries[0].headers["regente-reason"]).startswith("MALFORMED")
    assert dead.deliveries[0].headers["regente-queue"] == queue.name
    await wait_until(lambda: _empty(broker, queue.name))


@pytest.mark.parametrize("queue", BOTH, ids=lambda queue: queue.name)
async def test_permanent_error_makes_a_dead_letter(brokers, wait_until, queue) -> None:
    broker, dead = await brokers.connect(topology=ALL), Inbox()
    inbox = Inbox(PermanentError(ErrorCode.NOT_FOUND, "no such run"))
    await broker.consume(queue, inbox)
    await broker.consume(f"{queue.name}.dead", dead, decode=False)
    await broker.send("", queue.name, task())
    await wait_until(lambda: dead.messages)
    assert len(inbox.messages) == 1
    assert dead.deliveries[0].headers["regente-reason"] == "NOT_FOUND: no such run"


@pytest.mark.parametrize("queue", BOTH, ids=lambda queue: queue.name)
async def test_temporary_error_brings_the_message_again(brokers, wait_until, queue) -> None:
    broker = await brokers.connect(topology=ALL)
    inbox = Inbox(TemporaryError("not now", delay_s=0.02))
    await broker.consume(queue, inbox)
    await broker.send("", queue.name, task())
    await wait_until(lambda: len(inbox.messages) == 2)
    assert [each.redelivered for each in inbox.deliveries] == [False, True]
    assert inbox.deliveries[1].delivery_count == 1
    await wait_until(lambda: _empty(broker, f"{queue.name}.dead"))


async def test_refused_message_of_a_queue_that_only_the_broker_knows(brokers, wait_until) -> None:
    broker, dead = await brokers.connect(topology=(dead_queue("quorum"),)), Inbox()
    await broker.declare(QUORUM)
    await broker.consume("quorum", Inbox(PermanentError(ErrorCode.NOT_FOUND, "no such run")), decode=False)
    await broker.consume("quorum.dead", dead, decode=False)
    await broker.publish("", "quorum", b"x")
    await wait_until(lambda: dead.messages)
    assert dead.deliveries[0].headers["x-first-death-reason"] == "rejected"


async def test_poison_is_dead_after_the_delivery_limit(brokers, wait_until) -> None:
    broker, dead = await brokers.connect(topology=ALL), Inbox()
    inbox = Inbox(*(RuntimeError("poison") for _ in range(20)))
    await broker.consume(QUORUM, inbox)
    await broker.consume("quorum.dead", dead)
    await broker.send("", "quorum", task())
    await wait_until(lambda: dead.messages)
    assert len(inbox.messages) == 3, "a limit of 2 redeliveries makes 3 deliveries"
    assert [each.delivery_count for each in inbox.deliveries] == [0, 1, 2]
    assert dead.messages == [task()]


async def test_poison_in_a_classic_queue_is_dead_after_one_more_try(brokers, wait_until) -> None:
    broker, dead = await brokers.connect(topology=ALL), Inbox()
    inbox = Inbox(*(RuntimeError("poison") for _ in range(20)))
    await broker.consume(CLASSIC, inbox)
    await broker.consume("classic.dead", dead)
    await broker.send("", "classic", task())
    await wait_until(lambda: dead.messages)
    assert len(inbox.messages) == 2
    assert dead.deliveries[0].headers["regente-reason"] == "INTERNAL: RuntimeError: poison"


async def test_prefetch_bounds_what_runs_at_once(brokers, wait_until) -> None:
    broker, running, most, done = await brokers.connect(topology=ALL), 0, 0, 0
    enough = asyncio.Event()

    async def on_task(_: Any, __: Any) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        if most == 3:
            enough.set()
        await asyncio.wait_for(enough.wait(), 5)
        running -= 1
        done += 1

    await broker.consume("classic", on_task, prefetch=3, decode=False)
    for _ in range(12):
        await broker.publish("", "classic", b"{}")
    await wait_until(lambda: done == 12)
    assert most == 3


async def test_cancelled_consumer_gives_the_rest_back(brokers, wait_until) -> None:
    broker, inbox = await brokers.connect(topology=ALL), Inbox()
    started, release = asyncio.Event(), asyncio.Event()

    async def slow(_: Any, __: Any) -> None:
        started.set()
        await release.wait()

    consumer = await broker.consume("classic", slow, prefetch=1, decode=False)
    await broker.publish("", "classic", b"first")
    await broker.publish("", "classic", b"second")
    await started.wait()
    cancelling = asyncio.create_task(consumer.cancel())
    await asyncio.sleep(0)
    release.set()
    await cancelling
    await broker.consume("classic", inbox, decode=False)
    await wait_until(lambda: inbox.messages)
    assert inbox.messages == [b"second"], "the first was finished and acknowledged"


async def test_handler_that_outlasts_the_grace_is_cut_and_its_message_comes_again(brokers, wait_until) -> None:
    broker, inbox = await brokers.connect(topology=ALL), Inbox()
    started = asyncio.Event()

    async def endless(_: Any, __: Any) -> None:
        started.set()
        await asyncio.Event().wait()

    consumer = await broker.consume("classic", endless, decode=False)
    await broker.publish("", "classic", b"again")
    await started.wait()
    await consumer.cancel(grace_s=0.05)
    await broker.consume("classic", inbox, decode=False)
    await wait_until(lambda: inbox.messages)
    assert inbox.deliveries[0].redelivered


async def test_consumer_is_restored_when_its_queue_is_deleted(brokers, wait_until) -> None:
    broker, inbox = await brokers.connect(topology=ALL), Inbox()
    await broker.consume(CLASSIC, inbox)
    await broker.delete_queue("classic")
    await wait_until(lambda: broker.exists("classic"), "the queue's return")
    await broker.send(HANDOFFS, "classic.x", task())
    await wait_until(lambda: inbox.messages)


async def test_single_active_consumer_takes_all_until_it_goes(brokers, wait_until) -> None:
    one, two = await brokers.connect("one"), await brokers.connect("two")
    queue = topology.instructions_queue("0a0b")
    first, second = Inbox(), Inbox()
    consumer = await one.consume(queue, first, decode=False)
    await two.consume(queue, second, decode=False)
    for _ in range(4):
        await one.publish("", queue.name, b"{}")
    await wait_until(lambda: len(first.messages) == 4)
    await consumer.cancel()
    await one.publish("", queue.name, b"{}")
    await wait_until(lambda: len(second.messages) == 1)


async def test_two_consumers_share_a_queue(brokers, wait_until) -> None:
    one, two = await brokers.connect("one", topology=ALL), await brokers.connect("two", topology=ALL)
    first, second = Inbox(), Inbox()
    await one.consume("classic", first, decode=False, prefetch=1)
    await two.consume("classic", second, decode=False, prefetch=1)
    for _ in range(20):
        await one.publish("", "classic", b"{}")
    await wait_until(lambda: len(first.messages) + len(second.messages) == 20)
    assert first.messages
    assert second.messages


async def test_short_queue_drops_its_oldest(brokers, wait_until) -> None:
    broker, inbox = await brokers.connect(), Inbox()
    queue = Queue("short", reader="test", arguments={"x-max-length": 2, "x-overflow": "drop-head"})
    await broker.declare(queue)
    for n in range(4):
        await broker.publish("", "short", str(n).encode())
    await broker.consume(queue, inbox, decode=False)
    await wait_until(lambda: len(inbox.messages) == 2)
    assert inbox.messages == [b"2", b"3"]


async def test_full_queue_refuses_and_says_so(brokers, wait_until) -> None:
    broker = await brokers.connect()
    await broker.declare(Queue("full", reader="t", arguments={"x-max-length": 1, "x-overflow": "reject-publish"}))
    await broker.publish("", "full", b"1")

    async def refused() -> bool:
        try:
            await broker.publish("", "full", b"2")
        except TemporaryError:
            return True
        return False

    await wait_until(refused, "the refusal")


async def test_messages_expire_by_queue_and_by_message(brokers, wait_until) -> None:
    broker = await brokers.connect()
    await broker.declare(Queue("ttl", reader="test", arguments={"x-message-ttl": 80}), Queue("plain", reader="test"))
    await broker.publish("", "ttl", b"1")
    await broker.publish("", "plain", b"2", expiration_ms=80)
    await broker.publish("", "plain", b"3")
    assert await broker.depth("plain") == 2
    await wait_until(lambda: _empty(broker, "ttl"))
    await wait_until(lambda: _left(broker, "plain", 1))


async def _left(broker: Any, queue: str, count: int) -> bool:
    return bool(await broker.depth(queue) == count)


async def test_expired_messages_become_dead_letters(brokers, wait_until) -> None:
    broker, dead = await brokers.connect(topology=(dead_queue("classic"),)), Inbox()
    arguments = {"x-message-ttl": 50, "x-dead-letter-exchange": DEAD, "x-dead-letter-routing-key": "classic"}
    await broker.declare(Queue("dying", reader="test", arguments=arguments))
    await broker.consume("classic.dead", dead, decode=False)
    await broker.publish("", "dying", b"late")
    await wait_until(lambda: _empty(broker, "dying"))
    await wait_until(lambda: dead.messages)
    assert dead.messages == [b"late"]


async def test_exclusive_queue_lives_with_its_connection(brokers, wait_until) -> None:
    owner, other = await brokers.connect("owner"), await brokers.connect("other")
    presence = topology.presence_queue("owner")
    assert not await other.exists(presence.name)
    await owner.declare(presence)
    assert await owner.exists(presence.name)
    assert await other.exists(presence.name), "exclusive to another connection is there, too"
    with pytest.raises(TemporaryError):
        await other.declare(presence)
    await owner.stop()

    async def gone() -> bool:
        return not await other.exists(presence.name)

    await wait_until(gone, "the end of the presence queue")


async def test_declaring_otherwise_is_a_conflict(brokers) -> None:
    broker = await brokers.connect(topology=ALL)
    with pytest.raises(PermanentError) as caught:
        await broker.declare(Queue("classic", reader="test", arguments={"x-max-length": 1}))
    assert caught.value.code is ErrorCode.CONFLICT
    await broker.publish("", "classic", b"{}")


async def test_depth_purge_and_delete(brokers) -> None:
    broker = await brokers.connect(topology=ALL)
    for _ in range(3):
        await broker.publish("", "classic", b"{}")
    assert await broker.depth("classic") == 3
    await broker.purge("classic")
    assert await broker.depth("classic") == 0
    await broker.delete_queue("classic")
    await broker.delete_queue("classic")
    assert not await broker.exists("classic")
    with pytest.raises(PermanentError) as caught:
        await broker.depth("classic")
    assert caught.value.code is ErrorCode.NOT_FOUND


async def test_the_whole_topology_can_be_declared_twice(brokers) -> None:
    one = await brokers.connect("one", topology=topology.service_queues())
    two = await brokers.connect("two", topology=topology.service_queues())
    await one.send(HANDOFFS, "run.opened", RunOpened(run="run_1"), mandatory=True)
    assert await two.depth(topology.EXECUTOR_HANDOFFS) == 1


async def test_on_connect_runs_before_start_returns(brokers) -> None:
    calls: list[str] = []

    async def on_connect() -> None:
        calls.append("connected")

    broker = await brokers.connect(on_connect=[on_connect])
    assert calls == ["connected"]
    assert broker.connected
    await broker.wait_connected(1)


async def test_after_stop_nothing_is_published(brokers) -> None:
    broker = await brokers.connect(topology=ALL)
    await broker.stop()
    assert not broker.connected
    for confirm in (True, False):
        with pytest.raises(BrokerClosed):
            await broker.publish("", "classic", b"{}", confirm=confirm)
    with pytest.raises(BrokerClosed):
        await broker.consume("classic", Inbox())


async def test_message_over_the_limit_is_refused_here(brokers) -> None:
    broker = await brokers.connect(topology=ALL)
    with pytest.raises(PermanentError) as caught:
        await broker.send("", "classic", task().model_copy(update={"workflow": "x" * 5_000_000}))
    assert caught.value.code is ErrorCode.TOO_LARGE
