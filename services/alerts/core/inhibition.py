"""Which alerts are held back because another one says it all: a dead broker is one alarm, not a thousand lost robots.

Called by: notify/planner.py. Pure: the moment is an argument. Change also: docs/notifications.md.

A source holds back from when it is first seen (it fires later, but what follows from it may fire sooner) until a
moment after it is over: what follows from it needs that long to recover. What is still wrong then is told.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.domain.alert_rules import RuleKind

GRACE = timedelta(seconds=60)
"""After a source is over, what follows from it is held back for so long."""
_K = RuleKind
_WORK = frozenset(
    {
        _K.WORKFLOW_IDLE, _K.TASK_WAITING, _K.TASK_RUNNING, _K.DEADLINE_DANGER, _K.RUN_STUCK, _K.ROBOT_LOST,
        _K.ROBOT_FROZEN, _K.QUEUE_DEEP, _K.ENDPOINT_DOWN, _K.POLLER_FAILING, _K.DELIVERY_DEAD, _K.CANARY_FAILING,
    }
)  # fmt: skip
SERVERS: Mapping[RuleKind, frozenset[RuleKind]] = {
    _K.DATABASE_UNHEALTHY: _WORK | {_K.SERVICE_DOWN},
    _K.BROKER_UNHEALTHY: _WORK | {_K.SERVICE_DOWN},
}
"""What follows from a server that is not well."""
SERVICES: Mapping[str, frozenset[RuleKind]] = {
    "collector": frozenset({_K.WORKFLOW_IDLE, _K.POLLER_FAILING, _K.QUEUE_DEEP, _K.CANARY_FAILING}),
    "scheduler": frozenset(
        {_K.TASK_WAITING, _K.DEADLINE_DANGER, _K.ROBOT_LOST, _K.ROBOT_FROZEN, _K.QUEUE_DEEP, _K.CANARY_FAILING}
    ),
    "executor": frozenset(
        {_K.TASK_WAITING, _K.TASK_RUNNING, _K.DEADLINE_DANGER, _K.RUN_STUCK, _K.QUEUE_DEEP, _K.CANARY_FAILING}
    ),
    "delivery": frozenset({_K.QUEUE_DEEP, _K.CANARY_FAILING}),
}
"""What follows from a service that does not answer at all; one instance of several is no such thing."""
ROBOTS: Mapping[RuleKind, frozenset[RuleKind]] = {
    _K.ROBOT_LOST: frozenset({_K.ROBOT_FROZEN, _K.RUN_STUCK, _K.TASK_RUNNING}),
    _K.ROBOT_FROZEN: frozenset({_K.RUN_STUCK, _K.TASK_RUNNING}),
}
"""What follows from a robot that is not well, of the same robot."""
SOURCE_KINDS = frozenset({*SERVERS, _K.SERVICE_DOWN, *ROBOTS})


@dataclass(frozen=True)
class Source:
    """An alert that may hold others back."""

    id: str
    kind: RuleKind
    target: str
    resolved_at: datetime | None = None


class Sources:
    """Those that hold back at a moment, ready to be asked about many alerts."""

    def __init__(self, sources: Iterable[Source], now: datetime) -> None:
        """sources: open ones of SOURCE_KINDS, and those that were resolved a moment ago."""
        live = [one for one in sources if one.resolved_at is None or now < one.resolved_at + GRACE]
        self._everywhere = [one for one in live if one.kind in SERVERS]
        self._services = [one for one in live if one.kind is _K.SERVICE_DOWN and one.target.count("/") == 1]
        self._robots = {(one.kind, one.target): one for one in live if one.kind in ROBOTS}

    def holding(self, alert: Mapping[str, Any]) -> str | None:
        """The id of the alert that holds this one back; none: nothing does."""
        kind, id = RuleKind(alert["kind"]), alert["_id"]
        for source in self._everywhere:
            if kind in SERVERS[source.kind] and source.id != id:
                return source.id
        for source in self._services:
            if kind in SERVICES.get(source.target.partition("/")[2], ()) and source.id != id:
                return source.id
        worker = (alert.get("facts") or {}).get("worker")
        for cause, kinds in ROBOTS.items():
            found = self._robots.get((cause, f"worker/{worker}")) if worker and kind in kinds else None
            if found is not None and found.id != id:
                return found.id
        return None


def source_of(document: Mapping[str, Any]) -> Source:
    """A source from an alert's document."""
    return Source(document["_id"], RuleKind(document["kind"]), document["target"], document.get("resolved_at"))
