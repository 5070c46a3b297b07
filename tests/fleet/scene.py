"""What the fleet works on: accounts, workflows, robots, and how much of everything. Data only; no clock, no I/O.

The sizes come from the environment: REGENTE_SOAK=1 is the large one, REGENTE_FLEET_TASKS another number of tasks,
REGENTE_FLEET_SEED a seed that was printed by a run that failed (it repeats what was drawn, not how it interleaved).
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass
from typing import Any

from shared.domain.retry import RetryPolicy, RetryPosition

ACCOUNTS = ("acme", "bolt", "crux")
TAG = "sap"
COMPANIES = 5
"""Values of the field that some workflows group by."""
INPUT_SCHEMA = {
    "type": "object",
    "properties": {"company": {"type": "integer"}, "n": {"type": "integer"}},
    "required": ["company", "n"],
}


@dataclass(frozen=True)
class Size:
    """How large a run of the test is."""

    tasks: int
    robots: int
    schedulers: int
    kills_min: int
    """The last tasks are pushed only when so many schedulers have been killed."""
    waiting_max: int
    """Pushed and not yet ended; the pusher waits beyond."""
    pause_s: tuple[float, float]
    """Between two kills: at least, at most; eight times that once `kills_min` is reached."""
    still_max_s: float = 45.0
    """Without a task that ended for so long, the test gives up."""


@dataclass(frozen=True)
class Workflow:
    """A workflow of the scene."""

    account: str
    name: str
    max_tasks: int
    priority: int
    share: int
    """Of all tasks, beside the other workflows' shares."""
    retry: RetryPolicy
    group_by: tuple[str, ...] = ()
    group_runs: int = 1
    """Runs at once with the same values of `group_by`."""
    runs: int | None = None
    """Runs at once in all."""
    tags: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Its `_id` in `workflows`."""
        return f"{self.account}/{self.name}"

    def settings(self) -> dict[str, Any]:
        """As the console stores them."""
        retry = {
            "attempts": self.retry.attempts, "position": self.retry.position.value, "delay_s": self.retry.delay_s,
            "in_doubt": self.retry.in_doubt.value,
        }  # fmt: skip
        return {
            "priority": self.priority, "retry": retry, "tags": [],
            "concurrency": {"runs": self.runs, "group": self.group_runs, "scope": "account"},
            "breaker": {"failures": 50, "login_rejected": True},
        }  # fmt: skip

    def documents(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Its document and its version's."""
        scenario = {
            "name": "only", "when": [], "group_by": list(self.group_by), "tags": list(self.tags),
            "max_tasks": self.max_tasks, "worker": True, "script": "only.py",
        }  # fmt: skip
        workflow = {
            "_id": self.id, "schema_version": 1, "account": self.account, "name": self.name, "title": self.name,
            "current": 1, "settings": self.settings(),
        }  # fmt: skip
        version = {
            "_id": f"{self.id}/1", "schema_version": 1, "account": self.account, "workflow": self.name, "number": 1,
            "input": INPUT_SCHEMA, "scenarios": [scenario], "timeouts": {"task_s": 60.0, "instruction_s": 10.0},
            "files": {"only.py": ""}, "objects": {}, "digest": self.id,
        }  # fmt: skip
        return workflow, version


@dataclass(frozen=True)
class Robot:
    """A robot of the scene, and what it may take."""

    id: str
    account: str | None
    workflows: tuple[str, ...] | None
    tags: tuple[str, ...]

    def may_run(self, workflow: Workflow) -> bool:
        """Whether it may run a workflow, in words of its own: nothing of the scheduler is asked."""
        if self.account is not None and self.account != workflow.account:
            return False
        if self.workflows is not None and workflow.id not in self.workflows:
            return False
        return all(tag in self.tags for tag in workflow.tags)


def size() -> Size:
    """The size that the environment asks for."""
    soak = os.environ.get("REGENTE_SOAK") == "1"
    tasks = int(os.environ.get("REGENTE_FLEET_TASKS") or (100_000 if soak else 5_000))
    if soak:
        return Size(tasks, 200, 8, kills_min=40, waiting_max=20_000, pause_s=(3.0, 12.0))
    return Size(tasks, 200, 8, kills_min=5, waiting_max=1_500, pause_s=(2.0, 5.0))


def seed() -> int:
    """The seed of everything that is drawn."""
    given = os.environ.get("REGENTE_FLEET_SEED")
    return int(given) if given else random.SystemRandom().randrange(1_000_000)


def workflows() -> list[Workflow]:
    """Four workflows for each account: single tasks, few, many, and many of one group or of a special robot."""
    front = RetryPolicy(attempts=3, position=RetryPosition.FRONT, delay_s=0.0)
    end = RetryPolicy(attempts=2, position=RetryPosition.END, delay_s=0.0)
    later = RetryPolicy(attempts=3, position=RetryPosition.END, delay_s=1.0)
    found = []
    for n, account in enumerate(ACCOUNTS):
        found += [
            Workflow(account, "single", 1, (n + 1) % 6, 2, end),
            Workflow(account, "few", 4, (n + 3) % 6, 9, front, runs=None if n else 6),
            Workflow(account, "many", 20, (n + 5) % 6, 50, later, tags=(TAG,) if n == 1 else ()),
            Workflow(account, "company", 12, n % 6, 24, front, group_by=("company",), group_runs=1 + n % 2),
        ]
    return found


def robots(count: int) -> list[Robot]:
    """Most are shared, some belong to one account, some only take some workflows; three of five have the tag."""
    found = []
    for n in range(count):
        account = ACCOUNTS[n % 3] if n % 4 == 1 else None
        some = (f"{account or 'acme'}/single", f"{account or 'bolt'}/company") if n % 10 in (3, 5) else None
        found.append(Robot(f"02fee7{n:06x}", account, some, (TAG,) if n % 5 < 3 else ()))
    return found
