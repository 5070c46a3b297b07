"""Warm standby: a run that has no task left stays on its robot, its session kept alive, until tasks come.

Called by: services/executor/runner.py. Change also: the scheduler, which opens such runs and gives them tasks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

WARM_TASKS_MAX = 1000
"""Of one run; then it ends, and another one is opened: a run's document has a limit."""
KEEP_ALIVE_S = 300.0


def keep_alive_s(scenario: Mapping[str, Any]) -> float:
    """How often a warm session is kept alive, seconds."""
    return float((scenario.get("warm") or {}).get("keep_alive_s") or KEEP_ALIVE_S)


def warm_wait(scenario: Mapping[str, Any], seq: int, now: datetime) -> dict[str, Any]:
    """The wait of a run without tasks: over at the next keep-alive, or when tasks come."""
    due_at = now + timedelta(seconds=keep_alive_s(scenario))
    return {"kind": "warm", "seq": seq, "since": now, "due_at": due_at, "decision": None, "release": False}
