"""Which task is next for a robot, and which go with it.

Called by: board.py and dispatch.py, with list heads and tasks that store.queue has read. The order itself stands in
shared.domain.priority, what a robot may run in shared.domain.fitness; here both are applied to the queue.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.contracts.parts import seconds
from shared.domain.fitness import unfit
from shared.domain.gates import Rules, Standing, group_lock
from shared.domain.priority import Head, ListKey, aged_level, level
from shared.domain.retry import InDoubtPolicy, RetryPolicy, RetryPosition
from shared.domain.scenario import group_values, layout, needs_robot, parse_key

TASKS_OF_RUN_MAX = 1000
SERVER: dict[str, Any] = {"_id": None}
"""Stands where a robot would for scenarios that need none; it may run all of these and nothing else."""


@dataclass(frozen=True)
class Plan:
    """A version as the order of work reads it; it never changes, so it may be kept."""

    version: str
    """Its `_id` in `versions`."""
    scenarios: tuple[Mapping[str, Any], ...]
    layout: str
    """What stands for all conditions and groupings; the keys of its tasks begin with it."""

    def scenario(self, key: str | None) -> int | None:
        """Number of the scenario that a task with this key belongs to; none: the key is of another version's making,
        or no scenario takes the task."""
        parsed = parse_key(key)
        if parsed is None or parsed.layout != self.layout or parsed.scenario is None:
            return None
        return parsed.scenario if parsed.scenario < len(self.scenarios) else None

    def stale(self, key: str | None) -> bool:
        """Whether a key was made for other scenarios."""
        parsed = parse_key(key)
        return parsed is None or parsed.layout != self.layout


def plan_of(version: Mapping[str, Any]) -> Plan:
    """The plan of a version's document."""
    scenarios = tuple(version.get("scenarios") or ())
    return Plan(version["_id"], scenarios, layout(scenarios))


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


def parse_list(text: str) -> ListKey | None:
    """The list that a task's `queue.list` names, or none when it is no list of ours."""
    parts = text.split("/")
    if len(parts) != 3 or not all(parts):
        return None
    return ListKey(*parts)


def head_of(task: Mapping[str, Any], rules: Rules, now_us: int) -> Head | None:
    """A task that stands in a list as a head of it, with the level that counts now; none when it is no list of ours."""
    key = parse_list(task["queue"]["list"])
    if key is None:
        return None
    rank = int(task["queue"]["rank"])
    counted = aged_level(level(key, rules.priority), rank, now_us=now_us, every_us=rules.every_us)
    return Head(key=key, task=task["_id"], level=counted, rank=rank, group=str(task["queue"].get("key") or ""))


def merge(tasks: Iterable[Mapping[str, Any]], rules: Rules, now_us: int, limit: int) -> list[Mapping[str, Any]]:
    """The first tasks of several lists of one workflow, in the exact order: level with aging, then age, then id."""

    def place(task: Mapping[str, Any]) -> tuple[int, int, str]:
        head = head_of(task, rules, now_us)
        return (0, 0, task["_id"]) if head is None else (-head.level, head.rank, head.task)

    return sorted(tasks, key=place)[:limit]


def batch_max(scenario: Mapping[str, Any], room: int | None) -> int:
    """How many tasks a run of this scenario takes at most, with what limits leave (none: any number)."""
    most = max(1, min(int(scenario.get("max_tasks", 1)), TASKS_OF_RUN_MAX))
    return most if room is None else min(most, room)


def needed_tags(rules: Rules, scenario: Mapping[str, Any]) -> frozenset[str]:
    """What a robot must have for a scenario: the workflow's tags and its own."""
    return rules.tags | frozenset(scenario.get("tags") or ())


def fitting_scenarios(worker: Mapping[str, Any], account: str, name: str, rules: Rules, plan: Plan) -> frozenset[int]:
    """Numbers of the scenarios of a workflow that a robot (or the server) may run."""
    if worker is SERVER:
        return frozenset(number for number, scenario in enumerate(plan.scenarios) if not needs_robot(scenario))
    return frozenset(
        number
        for number, scenario in enumerate(plan.scenarios)
        if needs_robot(scenario)
        and unfit(worker, account=account, workflow=name, tags=needed_tags(rules, scenario)) is None
    )


def held_scenarios(plan: Plan, standing: Standing) -> frozenset[int]:
    """Numbers of the scenarios that take no tasks now, because their setup failed again and again."""
    if not standing.scenarios:
        return frozenset()
    return frozenset(n for n, scenario in enumerate(plan.scenarios) if scenario["name"] in standing.scenarios)


def lock_of_key(account: str, name: str, rules: Rules, key: str) -> str | None:
    """The lock of the group that a task's key names; none: it has no group."""
    parsed = parse_key(key)
    return None if parsed is None else group_lock(account, name, parsed.group, of_workflow=rules.group_of_workflow)


def followers(plan: Plan, key: str, done: Sequence[int]) -> list[tuple[int, str]]:
    """The remaining scenarios of a group, in order, each with the key of its tasks: they come next on the same robot.

    key: of the run before; done: numbers of the scenarios that the robot has run for this group. Only scenarios that
    group by the same fields share a group.
    """
    parsed = parse_key(key)
    if parsed is None or parsed.layout != plan.layout or parsed.scenario is None or not parsed.group:
        return []
    fields = sorted(plan.scenarios[parsed.scenario].get("group_by") or ())
    return [
        (number, f"{plan.layout}.{number:02d}.{parsed.group}")
        for number, scenario in enumerate(plan.scenarios)
        if number not in done and sorted(scenario.get("group_by") or ()) == fields
    ]


def robot_class(worker: Mapping[str, Any]) -> tuple[Any, ...]:
    """What decides which work a robot may take: equal for robots that may stand in for one another."""
    workflows = worker.get("workflows")
    return (
        worker is SERVER,
        worker.get("account"),
        worker.get("exclusive"),
        None if workflows is None else tuple(sorted(workflows)),
        tuple(sorted(worker.get("tags") or ())),
    )


def shared_values(scenario: Mapping[str, Any], task: Mapping[str, Any]) -> dict[str, Any]:
    """What the tasks of a run share with its first task."""
    return group_values(scenario, task["input"])
