"""What each service's user may do at the broker: as little as its work needs.

Called by: shared/runtime/users.py, which makes the users; shared/runtime/service.py. Pure. Sources: topology.py (who
reads which queue), section 'Hand-offs' of ARCHITECTURE.md (who sends which hint),
https://www.rabbitmq.com/docs/access-control. Change also: shared/mongo/rights.py, and
tests/integration/shared/test_rights.py.

A queue with a dead-letter exchange may only be declared by who may read it, and an exchange by who may configure it. So
a service that comes as its own user declares its own queues, and those of others are their readers' to declare; hints
that are lost meanwhile are swept. Robots' queues are reached by the default exchange, which knows no keys: who may
send there, the executor alone, could send to any queue.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from shared.contracts.topology import EXCHANGES, HANDOFFS, WORKERS, Queue, service_queues

SERVICES = ("console", "collector", "scheduler", "executor", "delivery", "alerts")
PREFIX = "regente-"
_NOTHING = "^$"
_MANAGED: Mapping[str, tuple[str, ...]] = {
    "scheduler": (r"worker\.[^.]+\.(instructions|control)",),
    "executor": (r"executor\.[^.]+\.replies", r"presence\.[^.]+"),
}
"""Queues beside the services' common ones that a service makes and removes; patterns."""
_REPLIES = r"reply\.\*\.[^.]+"
_SENDS: Mapping[str, str] = {
    "collector": r"task\.accepted",
    "scheduler": r"run\.opened|task\.finished",
    "executor": r"task\.(finished|returned)|run\.(opened|finished)|decision\.asked",
}
"""Routing keys of hints on HANDOFFS, beside commands, which everybody issues; patterns."""
_TAGS: Mapping[str, str] = {"console": "monitoring", "alerts": "monitoring", "scheduler": "administrator"}
"""Of the management API: console and alerts look, the scheduler makes robots' users."""


@dataclass(frozen=True)
class BrokerRights:
    """Regular expressions for the broker's permission calls, and tags for its management API."""

    configure: str
    write: str
    read: str
    topics: tuple[tuple[str, str, str], ...]
    """Exchange, routing keys that it may send, routing keys that it may bind."""
    tags: str = ""


def user_of(service: str) -> str:
    """Name of a service's own user, at the broker and in the database."""
    return f"{PREFIX}{service}"


def own_queues(service: str) -> tuple[Queue, ...]:
    """The common queues that a service reads, each with its dead-letter queue; those of its robots' replies, too."""
    mine = {queue.name for queue in service_queues() if queue.reader == service}
    return tuple(q for q in service_queues() if q.name in mine or _of_dead(q.name) in mine | _replies(service))


def broker_rights(service: str) -> BrokerRights:
    """The rights of a service's user.

    Raises: KeyError for a service that there is not.
    """
    if service not in SERVICES:
        raise KeyError(service)
    own = [re.escape(queue.name) for queue in own_queues(service)]
    exchanges = [re.escape(exchange.name) for exchange in EXCHANGES]
    mine = [*own, *_MANAGED.get(service, ())]
    # What is bound is written to, and the exchange read; people look into dead letters by the console.
    robots = ["amq\\.default"] if service == "executor" else []
    dead = [r"[a-z_.]+\.dead"] if service == "console" else []
    sends = "|".join(filter(None, [_SENDS.get(service, ""), r"command\.[a-z]+"]))
    return BrokerRights(
        configure=_either([*exchanges, *mine]),
        write=_either([re.escape(HANDOFFS), r"regente\.dead", *mine, *robots]),
        read=_either([*exchanges, *mine, *dead]),
        topics=(
            (HANDOFFS, _either([sends]), _binds(service, HANDOFFS)),
            (WORKERS, _NOTHING, _binds(service, WORKERS)),
        ),
        tags=_TAGS.get(service, ""),
    )


def _binds(service: str, exchange: str) -> str:
    keys = [re.escape(b.routing_key) for q in own_queues(service) for b in q.bindings if b.exchange == exchange]
    if service == "executor" and exchange == WORKERS:
        keys.append(_REPLIES)
    return _either(keys) if keys else _NOTHING


def _of_dead(name: str) -> str:
    return name.removesuffix(".dead") if name.endswith(".dead") else ""


def _replies(service: str) -> set[str]:
    return {"executor.replies"} if service == "executor" else set()


def _either(patterns: list[str]) -> str:
    return f"^({'|'.join(patterns)})$"
