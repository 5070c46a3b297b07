"""What becomes of warm runs: which one a free robot opens, when a parked one ends, and pauses after failures.

Called by: standby.py, closing.py, settling.py, with what was read. Pure. What a warm run is stands in
shared.domain.warm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from shared.domain.fitness import quarantined
from shared.domain.retry import backoff_s
from shared.domain.run_state import RunEnd
from shared.domain.warm import Wish
from shared.domain.worker_state import WorkerMode

TASKS_MAX = 1000
"""Tasks ever in one warm run: then it is opened anew, so that its document and its journal stay small."""
PAUSE_FIRST_S = 5.0
PAUSE_MAX_S = 600.0
LIVED_WELL_S = 600.0
"""A warm run that lasted this long did not fail at once: failures before it count no more."""
FAILURES = frozenset({RunEnd.SETUP_FAILED, RunEnd.WARM_LOST, RunEnd.ROBOT_LOST, RunEnd.SCRIPT_BROKEN})


def choose(wanted: Sequence[Wish], key: str | None) -> Wish | None:
    """Which warm run a free robot opens instead of what it would do next.

    wanted: those that may be opened on it now, in order. key: of the task that it would take; none: it has nothing to
    do. Work goes before standby, unless it is the very work that the standby is for.
    """
    if key is None:
        return next(iter(wanted), None)
    return next((wish for wish in wanted if wish.key == key), None)


def why_end(
    run: Mapping[str, Any], robot: Mapping[str, Any] | None, *, workflow: str, version: str, wanted: Sequence[Wish],
    now: datetime,
) -> str | None:  # fmt: skip
    """Why a parked warm run is to end, or none when it may go on standing by.

    robot: its robot's document; none: it is gone, which is for others to see. workflow: the id. version: that new runs
    take. wanted: what is to be kept warm under that version and the settings of now.
    """
    if robot is not None:
        if robot.get("mode") != WorkerMode.RUN:
            return f"its robot is set to {robot.get('mode')}"
        if robot.get("drain"):
            return "its robot is being drained"
        if robot.get("exclusive") != workflow:
            return "its robot is no longer exclusive to its workflow"
        if quarantined(robot, now):
            return "its robot is in quarantine"
    if run["version"] != version:
        return "a new version was published"
    if not any(wish.lock in (run.get("locks") or ()) for wish in wanted):
        return "it is no longer to be kept warm"
    if len(run.get("tasks") or ()) >= TASKS_MAX:
        return f"it has had {TASKS_MAX} tasks, as many as one run may have"
    return None


def pause_after(run: Mapping[str, Any], slot: Mapping[str, Any] | None, now: datetime) -> dict[str, Any]:
    """How often in a row a warm run failed, and until when none is opened again; from one that has ended.

    slot: the document of its lock, with what the runs before it left there.
    """
    if (run.get("end") or {}).get("reason") not in FAILURES:
        return {"failures": 0, "until": None}
    started, finished = run.get("started_at"), run.get("finished_at")
    lived_s = (finished - started).total_seconds() if started and finished else 0.0
    before = 0 if lived_s >= LIVED_WELL_S else int((slot or {}).get("failures") or 0)
    pause_s = backoff_s(before + 1, first_s=PAUSE_FIRST_S, factor=3.0, max_s=PAUSE_MAX_S)
    return {"failures": before + 1, "until": now + timedelta(seconds=pause_s)}


def judged(run: Mapping[str, Any]) -> tuple[int, int]:
    """Of a run's tasks, how many were judged, and how many have ended so far: those between are to be judged now."""
    tasks = run.get("tasks") or ()
    ended = next((n for n, item in enumerate(tasks) if item["state"] not in ("ended", "returned")), len(tasks))
    return int(run.get("judged") or 0), ended
