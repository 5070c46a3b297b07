"""The document of a run as it is opened: everything the executor needs to begin, who holds what, and what it uses up.

Called by: dispatch.py; inserted by store.opening in one transaction with the robot's epoch, the tasks' `held_by` and
the limits' counters. Change also: ARCHITECTURE.md (runs), the executor's store, which owns every later change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.scheduler.core.tasks import pending
from shared.domain.gates import Used
from shared.domain.run_state import RUN

SCHEMA_VERSION = 1
SEED_BITS = 63
"""The database's integers have 64 bits and a sign."""


@dataclass(frozen=True)
class Fence:
    """A lock that only so many runs may hold at once."""

    lock: str
    runs_max: int
    parked: bool = True
    """Whether runs that are parked count, too."""


@dataclass(frozen=True)
class Opening:
    """What a run is opened with."""

    run: str
    """Its id, made anew for each try."""
    account: str
    workflow: str
    version: str
    """The version that it keeps to its end."""
    scenario: str
    worker: str | None
    """The robot; none: it needs none."""
    epoch_before: int
    """The robot's epoch as it was read; the run's is one higher."""
    tasks: Sequence[str]
    """Candidates in order; those that are gone by then are left out."""
    seed: int
    at: datetime
    traceparent: str | None = None
    """Of the task that goes first, so that one trace leads from the push to the delivery."""
    group: Mapping[str, Any] = field(default_factory=dict)
    """What the tasks share, by field: all that setup and teardown see."""
    group_key: str = ""
    """Key of scenario and group (shared.domain.scenario)."""
    follow: Mapping[str, Any] | None = None
    """{workflow, key, done}: what the robot has done for this group, so that the remaining scenarios come next."""
    locks: Sequence[str] = ()
    """What it holds until it is put away: of its account, its workflow, its group."""
    fences: Sequence[Fence] = ()
    """The locks among them that have a limit."""
    warm: str | None = None
    """The lock of a run that is to be kept ready, which begins without tasks; none: of any other."""
    used: Sequence[Used] = ()
    """The limits that its tasks use up, as they were read."""
    environment: str | None = None
    """Whose selectors its objects have, to its end."""
    once: Mapping[str, Any] | None = None
    """{task, by} of a one-off run: its task stands in no list, and a held workflow does not stop it."""

    @property
    def epoch(self) -> int:
        """The reservation that this run is; 0 when it needs no robot."""
        return 0 if self.worker is None else self.epoch_before + 1


def run_document(opening: Opening, taken: Mapping[str, int]) -> dict[str, Any]:
    """The run's document.

    taken: attempt number by task, for those that the run got.
    """
    return {
        "_id": opening.run,
        "schema_version": SCHEMA_VERSION,
        "account": opening.account,
        "workflow": opening.workflow,
        "version": opening.version,
        "scenario": opening.scenario,
        "group": dict(opening.group),
        "group_key": opening.group_key,
        "locks": list(opening.locks),
        "environment": opening.environment,
        "worker": opening.worker,
        "wants_robot": False,
        "epoch": opening.epoch,
        "state": RUN.initial.value,
        "warm": opening.warm is not None,
        "tasks": run_items(opening.tasks, taken),
        "token": 0,
        "executor": None,
        "seed": opening.seed,
        "opened_at": opening.at,
        "started_at": None,
        "finished_at": None,
        "progressed_at": opening.at,
        "last_seq": 0,
        "end": None,
        "abort": None,
        "pending": pending("executor", "opened", opening.at),
        "traceparent": opening.traceparent,
        "op": f"open/{opening.run}",
        **({"once": dict(opening.once)} if opening.once else {}),
    }


def run_items(tasks: Sequence[str], taken: Mapping[str, int]) -> list[dict[str, Any]]:
    """Tasks as a run lists them. tasks: in order; taken: attempt number by task, for those that the run got."""
    return [
        {"task": task, "attempt": taken[task], "state": "waiting", "outcome": None} for task in tasks if task in taken
    ]
