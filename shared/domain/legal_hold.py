"""Legal holds: what may be neither archived, deleted nor erased until a person lifts the hold.

Called by: delivery (retention, erasure), console (API). Pure. A hold covers an account, or one workflow, task or
reference of it; what it covers are tasks that are there and tasks that will come. Not to be mistaken for a task that is
held. Change also: ARCHITECTURE.md (Data), docs/retention.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

SCOPES = ("workflow", "task", "reference")


def covers(hold: Mapping[str, Any], thing: Mapping[str, Any]) -> bool:
    """Whether a hold covers a thing (a task, or something of one): everything that the hold names is the same there.

    thing: account, workflow, task (or _id), reference; what it lacks is not covered by a hold that names it.
    """
    if hold.get("lifted_at") is not None or hold["account"] != thing.get("account"):
        return False
    own = {"workflow": thing.get("workflow"), "task": thing.get("task"), "reference": thing.get("reference")}
    return all(hold.get(scope) is None or hold[scope] == own[scope] for scope in SCOPES)


def covered(holds: Iterable[Mapping[str, Any]], thing: Mapping[str, Any]) -> bool:
    """Whether any of these holds covers it."""
    return any(covers(hold, thing) for hold in holds)


def of_task(task: Mapping[str, Any]) -> dict[str, Any]:
    """A task's document as `covers` reads it."""
    return {
        "account": task["account"],
        "workflow": task["workflow"],
        "task": task["_id"],
        "reference": task.get("reference"),
    }
