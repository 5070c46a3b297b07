"""Warm standby: which runs are to be kept ready, and whether one is free.

Called by: scheduler (opens warm runs, gives them tasks, ends them), shared.mongo.waiting and console (what a robot is
doing, why a task waits). Pure. Change also: docs/workflows.md, ARCHITECTURE.md (runs, 'Order of work').

A scenario with `warm` is kept ready on robots that are exclusive to its workflow: setup is done, and tasks of its group
start at once. Where it groups, the settings name the groups (`warm.groups`); else there is one warm run of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.domain.gates import Rules, group_lock, warm_lock
from shared.domain.run_state import RunState
from shared.domain.scenario import group_digest, layout, needs_robot


@dataclass(frozen=True)
class Wish:
    """A run that is to be kept warm."""

    number: int
    """Of its scenario in the version."""
    scenario: str
    values: Mapping[str, Any]
    """Of its group; empty when the scenario does not group."""
    key: str
    """Of the tasks that it is for (shared.domain.scenario)."""
    lock: str
    """What a warm run for it holds, so that there is one at a time."""
    group: str | None
    """The lock of its group; none: it does not group."""


def wishes(account: str, workflow: str, rules: Rules, scenarios: Sequence[Mapping[str, Any]]) -> list[Wish]:
    """The runs of a workflow that are to be kept warm, in the order of its scenarios and of its settings."""
    found: list[Wish] = []
    made = layout(scenarios)
    for number, scenario in enumerate(scenarios):
        if not scenario.get("warm") or not needs_robot(scenario):
            continue
        fields = sorted(scenario.get("group_by") or ())
        groups = [dict(one) for one in rules.warm_groups if sorted(one) == fields] if fields else [{}]
        for values in groups:
            digest, name = group_digest(values), str(scenario["name"])
            wish = Wish(
                number, name, values, f"{made}.{number:02d}.{digest}", warm_lock(account, workflow, name, digest),
                group_lock(account, workflow, digest, of_workflow=rules.group_of_workflow),
            )  # fmt: skip
            if wish.lock not in {one.lock for one in found}:
                found.append(wish)
    return found


def is_parked(run: Mapping[str, Any]) -> bool:
    """Whether a warm run stands ready: set up, with nothing in hand, and nobody about to change that."""
    waits = run["state"] == RunState.WAITING and (run.get("wait") or {}).get("kind") == "warm"
    return waits and run.get("executor") is None and run.get("abort") is None and not run.get("pending")


PARKED_QUERY: Mapping[str, Any] = {
    "warm": True, "state": RunState.WAITING.value, "wait.kind": "warm", "executor": None, "abort": None,
    "pending": None,
}  # fmt: skip
"""The same for the database."""
