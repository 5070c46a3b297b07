"""Every exchange, queue and dead-letter queue by name, with who writes and who reads it. The only place that names
them.

Called by: shared.broker (declares), the services (publish and consume), tests and docs/asyncapi.yaml (generated).
Survives a crash: declarations are repeated after every reconnect, so a wiped broker is whole again within a second.
Change also: the permissions of robots' broker users (`worker_permissions` below), and the agent's `wire.py`.

Hand-offs between services use quorum queues with a delivery limit and a dead-letter queue. Instructions and replies are
transient messages through durable classic queues: the executor re-sends them anyway. Everything here exists in
RabbitMQ 3.10 and 4.x alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

HANDOFFS = "regente.handoffs"
"""Topic exchange between services; the routing key is the message's kind without `regente.` and version."""
WORKERS = "regente.workers"
"""Topic exchange that robots write to: reply.<worker>.<executor>, heartbeat.<worker>, log.<worker>."""
DEAD = "regente.dead"
"""Direct exchange for dead letters; the routing key is the queue that they died in."""

COLLECTOR_HANDOFFS = "collector.handoffs"
SCHEDULER_HANDOFFS = "scheduler.handoffs"
EXECUTOR_HANDOFFS = "executor.handoffs"
DELIVERY_HANDOFFS = "delivery.handoffs"
ALERTS_HANDOFFS = "alerts.handoffs"
WORKER_HEARTBEATS = "scheduler.heartbeats"
WORKER_LOGS = "scheduler.worker_logs"

DELIVERY_LIMIT = 5
"""Redeliveries of a hand-off before it goes to its dead-letter queue."""
HANDOFFS_LENGTH_MAX = 100_000
DEAD_LENGTH_MAX = 10_000
INSTRUCTIONS_LENGTH_MAX = 16
INSTRUCTION_TTL_MS = 60_000
CONTROL_LENGTH_MAX = 100
CONTROL_TTL_MS = 300_000
HEARTBEATS_LENGTH_MAX = 50_000
HEARTBEAT_TTL_MS = 10_000
REPLIES_LENGTH_MAX = 20_000
REPLIES_EXPIRE_MS = 600_000
"""A dead executor's reply queue goes away by itself after this time."""


@dataclass(frozen=True)
class Exchange:
    """A durable exchange."""

    name: str
    type: str
    writers: str
    """Who publishes to it, for people."""


@dataclass(frozen=True)
class Binding:
    """A routing key (pattern) that brings messages of an exchange into a queue."""

    exchange: str
    routing_key: str


@dataclass(frozen=True)
class Queue:
    """A queue, its bindings and its arguments (RabbitMQ's x- arguments)."""

    name: str
    reader: str
    """Who consumes it, for people."""
    bindings: tuple[Binding, ...] = ()
    arguments: dict[str, Any] = field(default_factory=dict)
    exclusive: bool = False
    """True only for presence queues: the queue lives as long as its owner's connection."""
    dead: str | None = None
    """Its dead-letter queue, if it has one."""


EXCHANGES = (
    Exchange(HANDOFFS, "topic", "every service"),
    Exchange(WORKERS, "topic", "robots"),
    Exchange(DEAD, "direct", "the broker itself, and services for what can't be parsed"),
)


def _handoff_queue(name: str, reader: str, *keys: str, exchange: str = HANDOFFS) -> Queue:
    return Queue(
        name=name,
        reader=reader,
        bindings=tuple(Binding(exchange, key) for key in keys),
        dead=f"{name}.dead",
        arguments={
            "x-queue-type": "quorum",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-max-length": HANDOFFS_LENGTH_MAX,
            "x-overflow": "reject-publish",
            "x-dead-letter-strategy": "at-least-once",
            "x-dead-letter-exchange": DEAD,
            "x-dead-letter-routing-key": name,
        },
    )


def dead_queue(of: str) -> Queue:
    """The dead-letter queue of the queue named `of`."""
    return Queue(
        name=f"{of}.dead",
        reader="people (console, `regente doctor`)",
        bindings=(Binding(DEAD, of),),
        arguments={"x-queue-type": "quorum", "x-max-length": DEAD_LENGTH_MAX},
    )


SERVICE_QUEUES = (
    _handoff_queue(COLLECTOR_HANDOFFS, "collector", "command.collector"),
    _handoff_queue(
        SCHEDULER_HANDOFFS, "scheduler", "task.accepted", "task.returned", "run.finished", "command.scheduler"
    ),
    _handoff_queue(EXECUTOR_HANDOFFS, "executor", "run.opened", "command.executor"),
    _handoff_queue(DELIVERY_HANDOFFS, "delivery", "task.finished", "decision.asked", "command.delivery"),
    _handoff_queue(ALERTS_HANDOFFS, "alerts", "command.alerts"),
    _handoff_queue(WORKER_LOGS, "scheduler", "log.*", exchange=WORKERS),
    Queue(
        name=WORKER_HEARTBEATS,
        reader="scheduler",
        bindings=(Binding(WORKERS, "heartbeat.*"),),
        dead=f"{WORKER_HEARTBEATS}.dead",
        arguments={
            "x-max-length": HEARTBEATS_LENGTH_MAX,
            "x-message-ttl": HEARTBEAT_TTL_MS,
            "x-overflow": "drop-head",
        },
    ),
)
"""Queues that every service declares at every connect, in any order. Each has a dead-letter queue beside it."""


def service_queues() -> tuple[Queue, ...]:
    """The service queues and their dead-letter queues, the latter first (a quorum queue needs its target)."""
    return tuple(dead_queue(queue.name) for queue in (*SERVICE_QUEUES, _REPLIES)) + SERVICE_QUEUES


_REPLIES = Queue(name="executor.replies", reader="executor")
"""Stands for all reply queues where dead letters are concerned: they share `executor.replies.dead`."""
REPLIES_DEAD_KEY = _REPLIES.name


def replies_queue(executor: str) -> Queue:
    """The queue of one executor instance for robots' replies; it outlives a reconnect, and expires when unused."""
    return Queue(
        name=f"executor.{executor}.replies",
        reader=f"executor {executor}",
        bindings=(Binding(WORKERS, f"reply.*.{executor}"),),
        dead=f"{_REPLIES.name}.dead",
        arguments={
            "x-max-length": REPLIES_LENGTH_MAX,
            "x-overflow": "drop-head",
            "x-expires": REPLIES_EXPIRE_MS,
        },
    )


def presence_queue(instance: str) -> Queue:
    """An exclusive queue without messages: it exists exactly as long as the instance's connection."""
    return Queue(name=f"presence.{instance}", reader="nobody", exclusive=True)


def instructions_queue(worker: str) -> Queue:
    """The instructions of one robot: one active consumer, short, and forgetful."""
    return Queue(
        name=f"worker.{worker}.instructions",
        reader=f"robot {worker}",
        arguments={
            "x-single-active-consumer": True,
            "x-max-length": INSTRUCTIONS_LENGTH_MAX,
            "x-message-ttl": INSTRUCTION_TTL_MS,
            "x-overflow": "drop-head",
        },
    )


def control_queue(worker: str) -> Queue:
    """The control messages of one robot, never blocked by an instruction in flight."""
    return Queue(
        name=f"worker.{worker}.control",
        reader=f"robot {worker}",
        arguments={"x-max-length": CONTROL_LENGTH_MAX, "x-message-ttl": CONTROL_TTL_MS, "x-overflow": "drop-head"},
    )


def worker_user(worker: str) -> str:
    """Name of the broker user that is this robot's own."""
    return f"worker.{worker}"


@dataclass(frozen=True)
class WorkerPermissions:
    """What a robot's broker user may do: read its two queues, write its three routing keys, configure nothing."""

    configure: str
    write: str
    read: str
    topic_exchange: str
    topic_write: str
    topic_read: str


def worker_permissions(worker: str) -> WorkerPermissions:
    """Regular expressions for the broker's permission calls (https://www.rabbitmq.com/docs/access-control)."""
    return WorkerPermissions(
        configure="^$",
        write="^regente\\.workers$",
        read=f"^worker\\.{worker}\\.(instructions|control)$",
        topic_exchange=WORKERS,
        topic_write=f"^(reply\\.{worker}\\.[A-Za-z0-9_-]+|(heartbeat|log)\\.{worker})$",
        topic_read="^$",
    )


def reply_key(worker: str, executor: str) -> str:
    """Routing key of a reply on WORKERS. An instance's name holds no dot."""
    return f"reply.{worker}.{executor}"
