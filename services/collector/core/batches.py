"""A batch as its partner sees it: the push's figures, and how far its tasks have come.

Called by: api_batches.py. Pure. Change also: services/collector/schemas.py (`BatchView`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.domain.task_state import FINAL, TaskState
from shared.domain.task_view import moment


def batch_view(batch: Mapping[str, Any], states: Mapping[str, int], buried: int) -> dict[str, Any]:
    """A batch's view.

    states: how many of its own tasks are in each state, of those that are stored. buried: how many were deleted after
    their time; they had ended. One that is being deleted is among both for a moment, so no more are told of than the
    push can have made.
    The batch is complete when the push was read to its end and as many tasks were made as its figures say: a push that
    died in between wrote the figures that it expected.
    """
    open_ = sum(count for state, count in states.items() if state not in FINAL)
    made = sum(states.values()) + buried
    expected = batch["count"] - batch["rejected"] - batch.get("duplicates", 0)
    complete = bool(batch.get("complete", True)) and made >= expected
    if complete:
        made = max(expected, sum(states.values()))
    finished = made - open_
    return {
        "id": batch["_id"],
        "workflow": batch["workflow"],
        "created_at": moment(batch["created_at"]),
        "complete": complete,
        "count": batch["count"],
        "rejected": batch["rejected"],
        "duplicates": batch.get("duplicates", 0),
        "tasks": made,
        "finished": finished,
        "progress": round(finished / made, 4) if made else 1.0,
        "done": complete and open_ == 0,
        "states": {state.value: states.get(state.value, 0) for state in TaskState},
    }
