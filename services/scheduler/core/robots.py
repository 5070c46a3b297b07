"""What a robot's status becomes, and whether its run has lost it.

Called by: robots.py, recovery.py, presence.py. All edges of the robot's machine belong to the scheduler.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.domain.events import EventKind, Severity, event_document
from shared.domain.machine import IllegalTransition
from shared.domain.worker_state import WORKER, Authorisation, WorkerMode, WorkerStatus

IDLE = {
    WorkerMode.RUN: WorkerStatus.WAITING,
    WorkerMode.PAUSE: WorkerStatus.PAUSED,
    WorkerMode.STOP: WorkerStatus.STOPPED,
    WorkerMode.ABORT: WorkerStatus.STOPPED,
}
"""Status of a robot with nothing in hand, by what people want of it."""
BUSY = frozenset({WorkerStatus.RESERVED, WorkerStatus.RUNNING})


def status_after_release(status: WorkerStatus, mode: WorkerMode) -> WorkerStatus:
    """Status of a robot whose run ended.

    Raises: IllegalTransition when it had no run.
    """
    if status not in BUSY:
        raise IllegalTransition(f"robot: {status} is not the status of a robot that has a run")
    after = IDLE[mode]
    WORKER.check(status, after, owner="scheduler")
    return after


def superseded(worker: Mapping[str, Any], command: Mapping[str, Any]) -> bool:
    """Whether a mode was set that was asked for later than this request: carried out late, it would undo what a person
    wanted after it. Both times are of the services that took the requests from people."""
    last, asked = worker.get("mode_asked_at"), command.get("created_at")
    return last is not None and asked is not None and bool(asked < last)


def released(worker: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a robot whose run ended: free, or what a person wanted of it meanwhile.

    One that is drained stops, now that it has nothing in hand. Raises: IllegalTransition when it had no run.
    """
    drained = bool(worker.get("drain"))
    mode = WorkerMode.STOP if drained and worker["mode"] == WorkerMode.RUN else WorkerMode(worker["mode"])
    fields: dict[str, Any] = {"run": None, "status": status_after_release(WorkerStatus(worker["status"]), mode)}
    return {**fields, "mode": mode, "drain": None} if drained else fields


def drained_event(worker: Mapping[str, Any], fields: Mapping[str, Any], at: datetime) -> dict[str, Any] | None:
    """The event of a robot that was to be drained and is free now. fields: as `released` gave them."""
    drain = worker.get("drain")
    if not drain or fields.get("drain", drain) is not None:
        return None
    return event_document(
        EventKind.ROBOT_DRAINED, id=f"drained/{worker['_id']}/{worker['epoch']}", at=at, service="scheduler",
        severity=Severity.INFO, target=worker["_id"], account=worker.get("account"),
        text=f"robot {worker.get('name') or worker['_id']} has nothing in hand any more, and takes no more work",
    )  # fmt: skip


def status_after_mode(status: WorkerStatus, mode: WorkerMode) -> WorkerStatus:
    """Status of a robot when a person sets its mode: what is in hand goes on, nothing in hand follows the mode."""
    after = status if status in BUSY else IDLE[mode]
    if after != status:
        WORKER.check(status, after, owner="scheduler")
    return after


def lost(worker: Mapping[str, Any] | None, *, run: str, epoch: int) -> str | None:
    """Why a live run has lost its robot, or none when it still has it.

    worker: the robot's document now, none when it was removed; run, epoch: as the run says.
    """
    if worker is None:
        return "the robot was removed"
    if worker.get("run") != run or worker.get("epoch") != epoch:
        return "the robot was given to another run"
    if worker["authorisation"] != Authorisation.AUTHORISED:
        return "the robot is no longer authorised"
    if not worker["connected"]:
        return "the robot has gone silent"
    return None
