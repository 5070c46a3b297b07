"""Why a run that has a task in hand makes no progress: it waits for a person, a time, or a robot.

Called by: shared.mongo.waiting (about a running task, and about a run), the scheduler's event when a run finds no
robot. Pure. Change also: the waits of runs in ARCHITECTURE.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.domain.gates import Gate
from shared.domain.run_state import RunState
from shared.domain.why_waiting import Fleet, no_robot


def wants_robot(run: Mapping[str, Any]) -> bool:
    """Whether a run gave its robot back and waits for another."""
    return run["state"] == RunState.OPENED and bool(run.get("wants_robot"))


def why_parked(run: Mapping[str, Any], fleet: Fleet, gate: Gate | None = None) -> str | None:
    """What a live run waits for, as a clause such as 'its run waits for a person to decide'; none: it is at work.

    fleet: the robots that may run it, when it wants one. gate: what keeps it from setting up anew; none: nothing.
    """
    if wants_robot(run):
        return f"its run gave its robot back while it waited, and wants one again: {_robot(fleet, gate)}"
    if run["state"] != RunState.WAITING:
        return None
    wait = run.get("wait") or {}
    due = wait.get("due_at")
    until = f"until {due.isoformat(timespec='seconds').replace('+00:00', 'Z')}" if due is not None else ""
    match wait.get("kind"):
        case "decision":
            return f"its run waits for a person to decide{f', {until}' if until else ''}"
        case "timer":
            return f"its run waits {until}".rstrip()
    return None


def _robot(fleet: Fleet, gate: Gate | None) -> str:
    if gate is not None and not gate.open:
        return gate.text
    nobody = no_robot(fleet)
    if nobody is not None:
        return nobody
    if fleet.free:
        return "a robot is free and about to take it"
    return "the only robot is busy" if fleet.taking == 1 else f"all {fleet.taking} robots are busy"
