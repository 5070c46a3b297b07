"""One-off runs: unpublished files on a robot that a person names. What they are called, how long they are kept, and
what stands in their way.

Called by: console (stores the version, asks for the run), scheduler (opens it), shared.mongo.once (says why one waits).
Pure. Change also: docs/adr/0018-decisions-by-link-and-one-off-runs.md.

A task of a one-off run carries `once` {worker, version, scenario, by} and never stands in a list of the queue.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.domain.calendar import Calendar
from shared.domain.fitness import Away, away
from shared.domain.worker_state import Authorisation

KIND = "run.once"
KEEP_DAYS = 32
"""How long a version is kept after it was asked for last: some 30 days after the end of its run."""
WAIT_HOURS_MAX = 24
"""A one-off task that did not get its robot by then expires."""
_DIGEST_LENGTH = 32

_AWAY = {
    Away.UNAUTHORISED: "its robot {robot} is no longer authorised",
    Away.DISCONNECTED: "its robot {robot} is not connected",
    Away.MODE: "its robot {robot} is in mode {mode}, or being drained",
    Away.QUARANTINE: "its robot {robot} is in quarantine",
    Away.SCHEDULE: "its robot {robot} does not work at this time",
    Away.BUSY: "its robot {robot} has a run in hand",
}


def version_id(account: str, workflow: str, digest: str) -> str:
    """The `_id` of an unpublished version: the same files are the same version."""
    return f"{account}/{workflow}/once-{digest[:_DIGEST_LENGTH]}"


def task_of(command: str) -> str:
    """The id of the task that a request makes, so that whoever asked knows it, and asking twice makes one."""
    return f"task_{command.removeprefix('cmd_')}"


def refusal(worker: Mapping[str, Any] | None, id: str, account: str) -> str | None:
    """Why a robot (its document) can't be asked for a one-off run of an account, or none when it can.

    Its tags, its list of workflows and its exclusive mode say which work it is given; here a person chose it by name.
    """
    if worker is None:
        return f"there is no robot {id}"
    if worker.get("account") not in (None, account):
        return f"robot {id} belongs to another account than {account}"
    if worker.get("authorisation") != Authorisation.AUTHORISED:
        return f"robot {id} is not authorised"
    return None if worker.get("connected") else f"robot {id} is not connected"


def why_waiting(
    worker: Mapping[str, Any] | None, robot: str, now: datetime, calendar: Calendar | None, *, group_in_use: bool
) -> str:
    """Why a one-off task is not running yet, in one sentence. calendar: of its robot's schedule."""
    if worker is None:
        return f"its robot {robot} was removed"
    reason = away(worker, now, calendar)
    if reason is not None:
        return _AWAY[reason].format(robot=robot, mode=worker.get("mode"))
    if group_in_use:
        return "another run uses the values that its scenario groups by, such as its certificate"
    return f"its robot {robot} is free; it is about to run"
