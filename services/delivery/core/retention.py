"""How long things are kept: what may be archived, deleted, or lose its evidence. Pure. Called by: retention/.

The account's settings say it (`settings.retention`); what they don't say is kept for ever. Days are counted from the
end of a task (results, evidence) and from its archiving (archive).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.domain.delivery_state import DeliveryState
from shared.domain.legal_hold import covered, of_task
from shared.domain.run_state import FINAL as RUN_FINAL
from shared.domain.task_state import FINAL as TASK_FINAL

ENDED = (DeliveryState.DELIVERED.value, DeliveryState.DEAD.value)
"""Deliveries of which nothing more is to be done, unless a person replays them."""
TASK_ENDED = tuple(sorted(state.value for state in TASK_FINAL))
RUN_ENDED = tuple(sorted(state.value for state in RUN_FINAL))


@dataclass(frozen=True)
class Cutoffs:
    """What is older than these moments goes; none: nothing does."""

    results: datetime | None
    """Tasks that ended before it are archived."""
    archive: datetime | None
    """What was archived before it is deleted."""
    evidence: datetime | None
    """Evidence from before it is deleted."""

    @property
    def any(self) -> bool:
        """Whether anything ever goes."""
        return self.results is not None or self.evidence is not None


def cutoffs(settings: Mapping[str, Any] | None, now: datetime) -> Cutoffs:
    """The moments that follow from an account's settings."""
    days = (settings or {}).get("retention") or {}
    results, archive, evidence = (days.get(name) for name in ("results_days", "archive_days", "evidence_days"))
    return Cutoffs(
        _before(now, results), _before(now, archive) if results is not None else None, _before(now, evidence)
    )


def obstacle(
    task: Mapping[str, Any],
    *,
    before: datetime,
    holds: Sequence[Mapping[str, Any]],
    deliveries: Iterable[str],
    runs: Iterable[Mapping[str, Any]],
) -> str | None:
    """Why a task may not be archived yet, or none.

    before: the cutoff of results. deliveries: states of its deliveries. runs: those that have or had it.
    """
    if task["state"] not in TASK_ENDED:
        return "it has not ended"
    if task.get("finished_at") is None or task["finished_at"] >= before:
        return "it is not old enough"
    if task.get("pending") is not None or task.get("held_by") is not None:
        return "somebody has still to go on with it"
    if covered(holds, of_task(task)):
        return "a legal hold covers it"
    if any(state not in ENDED for state in deliveries):
        return "a delivery is under way"
    if any(run["state"] not in RUN_ENDED or run.get("pending") is not None for run in runs):
        return "its run has not ended"
    return None


def _before(now: datetime, days: int | None) -> datetime | None:
    return None if days is None else now - timedelta(days=days)
