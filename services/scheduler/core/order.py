"""Which task is next for a robot, and which go with it.

Called by: dispatch.py, with list heads and tasks that store.queue has read. The order itself stands in
shared.domain.priority; here it is applied to robots that may not run everything, and to a run's further tasks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.contracts.workflow_file import seconds
from shared.domain.priority import Head, ListKey, Priority, level, target
from shared.domain.retry import InDoubtPolicy, RetryPolicy, RetryPosition

TASKS_OF_RUN_MAX = 1000


@dataclass(frozen=True)
class Workflow:
    """What the order of work needs to know about a published workflow."""

    account: str
    name: str
    current: int
    """Number of the version that new runs take."""
    priority: int
    """Of tasks without one of their own, 0 to 5."""

    @property
    def id(self) -> str:
        """Its `_id` in `workflows`."""
        return f"{self.account}/{self.name}"


def workflow_of(document: Mapping[str, Any]) -> Workflow | None:
    """A workflow's document as the order of work sees it, or none when nothing is published."""
    current = document.get("current")
    if current is None:
        return None
    settings = document.get("settings") or {}
    return Workflow(document["account"], document["name"], int(current), int(settings.get("priority", Priority.NORMAL)))


def retry_policy(settings: Mapping[str, Any] | None) -> RetryPolicy:
    """The retry policy in a workflow's settings, with defaults for what they leave out."""
    retry = dict((settings or {}).get("retry") or {})
    default = RetryPolicy()
    return RetryPolicy(
        attempts=int(retry.get("attempts", default.attempts)),
        position=RetryPosition(retry.get("position", default.position)),
        delay_s=float(seconds(retry.get("delay_s", retry.get("delay", default.delay_s)))),
        in_doubt=InDoubtPolicy(retry.get("in_doubt", default.in_doubt)),
    )


def parse_key(text: str) -> ListKey | None:
    """The list that a task's `queue.list` names, or none when it is no list of ours."""
    parts = text.split("/")
    if len(parts) != 3 or not all(parts):
        return None
    return ListKey(*parts)


def head_of(task: Mapping[str, Any], workflows: Mapping[str, Workflow]) -> Head | None:
    """A task that is first in its list as a head, or none when its workflow has nothing published."""
    key = parse_key(task["queue"]["list"])
    if key is None:
        return None
    workflow = workflows.get(f"{key.account}/{key.workflow}")
    if workflow is None:
        return None
    return Head(key=key, task=task["_id"], level=level(key, workflow.priority), rank=int(task["queue"]["rank"]))


def target_for(heads: Iterable[Head], account: str | None) -> Head | None:
    """The task that goes next on a robot of `account` (none: shared by all accounts)."""
    return target(head for head in heads if account is None or head.key.account == account)


def by_level(heads: Iterable[Head], workflow: Workflow) -> list[list[str]]:
    """The workflow's lists that hold tasks, in groups of equal level, the highest first; a group is read as one."""
    groups: dict[int, list[str]] = {}
    for head in heads:
        if (head.key.account, head.key.workflow) == (workflow.account, workflow.name):
            groups.setdefault(level(head.key, workflow.priority), []).append(str(head.key))
    return [sorted(groups[one]) for one in sorted(groups, reverse=True)]


def tasks_of_run(version: Mapping[str, Any]) -> int:
    """How many tasks a run of this version takes: its first scenario's."""
    return max(1, min(int(scenario_of(version).get("max_tasks", 1)), TASKS_OF_RUN_MAX))


def scenario_of(version: Mapping[str, Any]) -> Mapping[str, Any]:
    """The scenario that a run of this version runs.

    Raises: ValueError when the version has none.
    """
    scenarios: Sequence[Mapping[str, Any]] = version.get("scenarios") or ()
    if not scenarios:
        raise ValueError(f"version {version.get('_id')} has no scenario")
    return scenarios[0]
