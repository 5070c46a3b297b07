"""The document of a run as it is opened: everything the executor needs to begin, and who holds what.

Called by: dispatch.py; inserted by store.opening in one transaction with the robot's epoch and the tasks' `held_by`.
Change also: ARCHITECTURE.md (runs), the executor's store, which owns every later change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.scheduler.core.order import Workflow, scenario_of
from services.scheduler.core.tasks import pending
from shared.domain.run_state import RUN

SCHEMA_VERSION = 1
SEED_BITS = 63
"""The database's integers have 64 bits and a sign."""


@dataclass(frozen=True)
class Opening:
    """What a run is opened with."""

    run: str
    """Its id, made anew for each try."""
    workflow: Workflow
    version: Mapping[str, Any]
    """The document of the version that it keeps to its end."""
    worker: str
    epoch_before: int
    """The robot's epoch as it was read; the run's is one higher."""
    tasks: Sequence[str]
    """Candidates in order; those that are gone by then are left out."""
    seed: int
    at: datetime
    traceparent: str | None = None
    """Of the task that goes first, so that one trace leads from the push to the delivery."""

    @property
    def epoch(self) -> int:
        """The reservation that this run is."""
        return self.epoch_before + 1


def run_document(opening: Opening, taken: Mapping[str, int]) -> dict[str, Any]:
    """The run's document.

    taken: attempt number by task, for those that the run got.
    """
    return {
        "_id": opening.run,
        "schema_version": SCHEMA_VERSION,
        "account": opening.workflow.account,
        "workflow": opening.workflow.name,
        "version": opening.version["_id"],
        "scenario": scenario_of(opening.version)["name"],
        "worker": opening.worker,
        "epoch": opening.epoch,
        "state": RUN.initial.value,
        "tasks": [
            {"task": task, "attempt": taken[task], "state": "waiting", "outcome": None}
            for task in opening.tasks
            if task in taken
        ],
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
    }
