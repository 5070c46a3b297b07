"""Which of a task's events goes first to an endpoint.

Called by: plan.py, sender.py. Pure. `held` is delivered before the `succeeded` that came after it: while an earlier
event of the same task to the same endpoint is neither delivered nor dead, later ones wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from shared.domain.task_state import EVENTS

LAST = frozenset({"succeeded", "failed", "cancelled", "expired"})
"""Events after which a task has no others."""


def place(task: Mapping[str, Any] | None, *, is_state: bool) -> int:
    """The place of a task's newest event among all of its events: it only grows.

    Every state that partners hear of counts twice, so that what happens between two of them (a question to a person)
    has a place there. is_state: the event is such a state, and is counted on the task already.
    """
    counted = ((task or {}).get("events") or {}).items()
    entered = sum(int(times) for name, times in counted if name in EVENTS)
    return 2 * max(entered, 1) if is_state else 2 * entered + 1


def first_before(delivery: Mapping[str, Any], others: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The delivery that has to end before this one goes, or none. others: live ones to the same endpoint."""
    if delivery.get("task") is None:
        return None
    mine = _key(delivery)
    before = [one for one in others if one.get("task") == delivery["task"] and _key(one) < mine]
    return min(before, key=_key, default=None)


def _key(delivery: Mapping[str, Any]) -> tuple[int, Any, str]:
    return int(delivery.get("order") or 0), delivery["created_at"], str(delivery["_id"])
