"""What the services count about a task's way, in the same words: by account and workflow, the many as `other`.

Called by: collector (in), executor (begun, ended), scheduler (ended without a run). Survives a crash: nothing; whoever
takes a run over may count an end once more. Change also: deploy/monitoring (dashboards and rules read these names).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from shared.obs.metrics import Capped, counter, histogram

WORKFLOWS_MAX = 100
"""Pairs of account and workflow with series of their own, in one process."""
WAIT_BUCKETS = (0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14_400, 86_400)
HANDLING_BUCKETS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 1800, 3600, 14_400)
ACCEPTED = counter("tasks_accepted_total", "Tasks that came in and were stored.", ["account", "workflow"])
FINISHED = counter(
    "tasks_finished_total", "Tasks that came out, by the state they reached; held ones wait for a person.",
    ["account", "workflow", "outcome"],
)  # fmt: skip
WAIT = histogram(
    "task_wait_seconds", "From when a task might run to its first beginning.", ["account", "workflow"], WAIT_BUCKETS
)
HANDLING = histogram(
    "task_handling_seconds", "From a task's last beginning to its end.", ["account", "workflow", "outcome"],
    HANDLING_BUCKETS,
)  # fmt: skip

_workflows = Capped(WORKFLOWS_MAX)


def workflow_labels(account: str, workflow: str) -> tuple[str, ...]:
    """Account and workflow as labels."""
    return _workflows.of(account, workflow)


def came_in(account: str, workflow: str, count: int) -> None:
    """So many tasks of a workflow were stored."""
    ACCEPTED.labels(*workflow_labels(account, workflow)).inc(count)


def began(task: Mapping[str, Any]) -> None:
    """A task begins: its document, `started_at` as it is now. Only the first attempt has waited."""
    times = [at for at in (task.get("created_at"), task.get("not_before")) if at is not None]
    if times and int(task.get("attempts") or 1) == 1:
        since = max(times)
        WAIT.labels(*workflow_labels(task["account"], task["workflow"])).observe(_seconds(since, task["started_at"]))


def came_out(task: Mapping[str, Any], outcome: str, at: datetime | None = None) -> None:
    """A task reached a state in which nobody works on it any more. at: when its handling ended; none: it ended without
    being handled (cancelled in the queue, expired, settled by a person)."""
    labels = workflow_labels(task["account"], task["workflow"])
    FINISHED.labels(*labels, outcome).inc()
    if at is not None and task.get("started_at"):
        HANDLING.labels(*labels, outcome).observe(_seconds(task["started_at"], at))


def _seconds(since: datetime, until: datetime) -> float:
    return max(0.0, (until - since).total_seconds())
