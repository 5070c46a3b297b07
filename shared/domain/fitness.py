"""Which robot may run what, and what keeps a robot from taking work.

Called by: scheduler (who gets a run), shared.mongo.waiting and console (why nobody takes a task). Pure. Change also:
ARCHITECTURE.md (workers), shared.contracts.settings_file.WorkerConfig.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.domain.calendar import Calendar, is_open
from shared.domain.worker_state import Authorisation, WorkerMode, WorkerStatus


class Unfit(StrEnum):
    """Why a robot may not run a workflow's scenario, whatever it is doing."""

    ACCOUNT = "account"
    """It belongs to another account."""
    WORKFLOW = "workflow"
    """It runs certain workflows, and this is none of them."""
    EXCLUSIVE = "exclusive"
    """It is in exclusive mode for another workflow."""
    TAGS = "tags"
    """It lacks a tag."""


class Away(StrEnum):
    """Why a robot takes no run now."""

    UNAUTHORISED = "unauthorised"
    """No person has said yes, or a doubt came up."""
    DISCONNECTED = "disconnected"
    """Its heartbeats do not arrive."""
    MODE = "mode"
    """A person paused, stopped or drains it."""
    QUARANTINE = "quarantine"
    """It failed again and again."""
    SCHEDULE = "schedule"
    """Outside the time in which it may work."""
    BUSY = "busy"
    """It has a run."""


def unfit(worker: Mapping[str, Any], *, account: str, workflow: str, tags: frozenset[str]) -> Unfit | None:
    """Why a robot may not run a scenario that needs `tags`, or none when it may.

    worker: its document. account, workflow: names.
    """
    id = f"{account}/{workflow}"
    if worker.get("account") not in (None, account):
        return Unfit.ACCOUNT
    if worker.get("exclusive") not in (None, id):
        return Unfit.EXCLUSIVE
    workflows = worker.get("workflows")
    if workflows is not None and id not in workflows:
        return Unfit.WORKFLOW
    return None if tags <= frozenset(worker.get("tags") or ()) else Unfit.TAGS


def away(worker: Mapping[str, Any], now: datetime, calendar: Calendar | None) -> Away | None:
    """Why a robot takes no run now, or none when it is free; lasting reasons first.

    calendar: of its schedule; none: always.
    """
    if worker.get("authorisation") != Authorisation.AUTHORISED:
        return Away.UNAUTHORISED
    if not worker.get("connected"):
        return Away.DISCONNECTED
    if worker.get("mode") != WorkerMode.RUN or worker.get("drain"):
        return Away.MODE
    if quarantined(worker, now):
        return Away.QUARANTINE
    if calendar is not None and not is_open(calendar, now):
        return Away.SCHEDULE
    if worker.get("run") is not None or worker.get("status") != WorkerStatus.WAITING:
        return Away.BUSY
    return None


def quarantined(worker: Mapping[str, Any], now: datetime) -> bool:
    """Whether a robot's quarantine still lasts."""
    until = (worker.get("quarantine") or {}).get("until")
    return until is not None and until > now


def breadth(worker: Mapping[str, Any]) -> tuple[int, int, int]:
    """Sort key: robots that may run little come first, so that those which may run anything stay free for the rest."""
    workflows = worker.get("workflows")
    return (
        0 if worker.get("exclusive") else 1,
        len(workflows) if workflows is not None else 1_000_000,
        0 if worker.get("account") else 1,
    )
