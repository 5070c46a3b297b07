"""What happened that people may want to be told of: the kinds, and an event as it is stored.

Called by: shared.mongo.events (stores them), scheduler, executor, delivery, console. Pure: id and time are arguments.
Change also: section 'Events' of ARCHITECTURE.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

KEEP_DAYS = 400
TEXT_MAX = 1000


class Severity(StrEnum):
    """How bad it is."""

    INFO = "info"
    """Good to know."""
    WARNING = "warning"
    """Somebody should look at it today."""
    ERROR = "error"
    """Work stands still until somebody does something."""


class EventKind(StrEnum):
    """What happened."""

    LIMIT_WARNING = "limit_warning"
    """A percentage of a limit was used up; once per period and percentage."""
    LIMIT_REACHED = "limit_reached"
    """A limit was used up; once per period."""
    WORKFLOW_HELD = "workflow_held"
    """A workflow takes no more tasks until a person releases it."""
    SCENARIO_HELD = "scenario_held"
    """A scenario's setup failed again and again; it takes no more tasks until a person releases its workflow."""
    WORKFLOW_RELEASED = "workflow_released"
    """A person released it."""
    LOGIN_REJECTED = "login_rejected"
    """A portal refused a log-in."""
    ROBOT_QUARANTINED = "robot_quarantined"
    """A robot failed again and again and gets no work for a while."""
    ROBOT_DRAINED = "robot_drained"
    """A robot that was to be drained has nothing in hand any more."""
    RUN_STALLED = "run_stalled"
    """A run made no progress although its robot beat; it was ended."""
    DECISION_ASKED = "decision_asked"
    """A script asks a person; its run waits for the answer."""
    RUN_WANTS_ROBOT = "run_wants_robot"
    """A run gave its robot back while it waited, and finds none again."""
    SOURCE_DOWN = "source_down"
    """A source failed again and again; what it brings is not there until it works again."""
    SOURCE_UP = "source_up"
    """It works again."""
    SOURCE_UNACKNOWLEDGED = "source_unacknowledged"
    """A partner refuses acknowledgements of its source for good; they are not repeated. Once a day."""
    TASK_TIMED_OUT = "task_timed_out"
    """A task took longer than its time; its run was aborted."""
    ENDPOINT_DOWN = "endpoint_down"
    """A partner's endpoint failed again and again: its circuit opened, and its deliveries wait."""
    ENDPOINT_UP = "endpoint_up"
    """A partner's endpoint takes deliveries again."""
    ENDPOINT_DISABLED = "endpoint_disabled"
    """A partner's endpoint wants nothing more (410); it gets nothing until it is put again."""
    LEADER_REPLACED = "leader_replaced"
    """An instance that led a piece of periodic work did not beat any more; another one leads."""
    TWO_LEADERS = "two_leaders"
    """An instance stood still while it led; two may have led for a moment. Their writes are guarded."""
    UNAUTHORISED_ATTEMPT = "unauthorised_attempt"
    """Somebody came with a robot's address and another key, or a robot did what it may not."""


ALERTED = frozenset(
    {EventKind.LIMIT_WARNING, EventKind.LIMIT_REACHED, EventKind.RUN_STALLED, EventKind.UNAUTHORISED_ATTEMPT}
)
"""Kinds that alerts takes over, once each: they are handed to it in the write that stores them. Of the others it looks
at what lasts (a held workflow, an open question), however it came about."""


def event_document(
    kind: EventKind, *, id: str, at: datetime, service: str, severity: Severity, target: str, text: str,
    account: str | None = None, facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """An event as it is stored.

    id: what makes it the same event when it is raised again. target: what it is about: a workflow, robot, run or task.
    """
    handed = {"to": "alerts", "what": kind.value, "since": at, "due_at": at, "claims": 0} if kind in ALERTED else None
    return {
        "_id": id, "schema_version": 1, "at": at, "kind": kind.value, "severity": severity.value, "account": account,
        "pending": handed, "target": target, "text": text[:TEXT_MAX], "facts": dict(facts or {}), "service": service,
        "expires_at": at + timedelta(days=KEEP_DAYS),
    }  # fmt: skip
