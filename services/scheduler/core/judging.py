"""What an ended run says about its robot and its workflow: health, quarantine, circuit breaker.

Called by: settling.py, with the run as its executor left it. Pure. A run counts for its robot as a whole (did anything
succeed on it?), for its workflow task by task (how many system failures in a row?), for its scenario by its setup (how
often in a row did it fail?). What says nothing about any of them is left out: tasks given back, cancelled, and
everything that a person ended.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from shared.domain.gates import HoldMode, Rules, circuit_id
from shared.domain.run_state import RunEnd
from shared.domain.task_state import LOGIN_REJECTED, FailureKind, ReturnReason, TaskState

SETUP_FAILURES_MAX = 5
"""Failed setups in a row after which a scenario is held."""
QUARANTINE_AFTER = 3
"""Failed runs in a row."""
QUARANTINE_ANYWAY = 10
"""Failed runs in a row after which it does not matter what else may be to blame."""
QUARANTINE_PAUSES_S = (60.0, 300.0, 900.0, 3600.0)
"""How long the first, second, ... quarantine lasts; the last one is repeated."""
OUR_DOING = frozenset({"ABORTED", "CANCELLED"})
"""Codes of failures that a person brought about."""


@dataclass(frozen=True)
class Judgement:
    """What a run says."""

    robot: bool | None
    """Whether it went well for its robot; none: it says nothing."""
    workflow: tuple[bool, ...]
    """For its workflow: each attempt that says something, in order; true: well."""
    login_rejected: str | None = None
    """What the portal said when it refused the log-in."""
    failure: str = ""
    """The last failure, for people."""
    setup: bool | None = None
    """For its scenario: whether setup did its work; none: it never came to an end."""


def judge(run: Mapping[str, Any]) -> Judgement:
    """What an ended run says. run: its document, with `tasks.failure` {kind, code} of attempts that failed."""
    if run.get("once"):
        return Judgement(None, ())  # somebody tries unpublished files: that says nothing about robot and workflow
    end = run.get("end") or {}
    reason, code = end.get("reason"), str(end.get("code") or "")
    text = str(end.get("text") or (reason if reason != RunEnd.COMPLETED else "") or "")
    verdicts = [verdict for item in run.get("tasks") or () if (verdict := _attempt(item)) is not None]
    rejected = [item for item in run.get("tasks") or () if (item.get("failure") or {}).get("code") == LOGIN_REJECTED]
    setup = False if reason == RunEnd.SETUP_FAILED else True if _began(run) or reason == RunEnd.WARM_LOST else None
    login = text if code == LOGIN_REJECTED else "the portal refused the log-in of a task" if rejected else None
    if reason == RunEnd.ROBOT_LOST:
        return Judgement(False, tuple(one for one in verdicts if one), login, text, setup)
    said = [*verdicts, False] if setup is False else verdicts
    robot = None if not said or login is not None else any(said)
    return Judgement(robot, tuple(verdicts), login, text or _last_failure(run), setup)


def health_after(
    worker: Mapping[str, Any], well: bool | None, reason: str, now: datetime, *, workflow_failures: int = 0
) -> dict[str, Any]:
    """The fields of a robot that follow from a run on it: failures in a row, and quarantine with growing pauses.

    workflow_failures: failed runs in a row of the run's workflow, on whichever robots. As long as they account for the
    robot's own, the workflow is to blame (its circuit breaker sees to it), and the robot may do other work.
    """
    if well is None:
        return {}
    if well:
        return {"failures": 0, "quarantine": None} if worker.get("failures") or worker.get("quarantine") else {}
    failures = int(worker.get("failures") or 0) + 1
    blameless = failures <= workflow_failures and failures < QUARANTINE_ANYWAY
    if failures < QUARANTINE_AFTER or blameless:
        return {"failures": failures}
    times = int((worker.get("quarantine") or {}).get("times") or 0) + 1
    pause_s = QUARANTINE_PAUSES_S[min(times, len(QUARANTINE_PAUSES_S)) - 1]
    until = now + timedelta(seconds=pause_s)
    said = f"{failures} runs in a row failed on it; the last one: {reason}"[:500]
    return {"failures": failures, "quarantine": {"until": until, "times": times, "reason": said, "at": now}}


def circuit_after(
    circuit: Mapping[str, Any] | None, judgement: Judgement, rules: Rules, run: str, now: datetime
) -> dict[str, Any] | None:
    """The fields of a workflow's circuit breaker that follow from a run of it, or none when nothing changes.

    An open one stays as it is: only a person closes it. But a refused log-in is told over a person's own hold, so that
    whoever releases it knows.
    """
    known = circuit or {}
    failures = int(known.get("failures") or 0)
    rejected = judgement.login_rejected is not None and rules.login_rejected_holds
    if known.get("state") == "open" and not (rejected and known.get("reason") == "person"):
        return None
    runs = runs_after(known, judgement)
    if rejected:
        text = f"the portal refused the log-in: {judgement.login_rejected}"
        return {**_open(failures + 1, LOGIN_REJECTED.lower(), text, run, now), "runs": runs}
    counted = failures
    for well in judgement.workflow:
        counted = 0 if well else counted + 1
        if rules.failures_max is not None and counted >= rules.failures_max:
            text = f"{counted} system failures in a row; the last one: {judgement.failure}"
            return {**_open(counted, "failures", text, run, now), "runs": runs}
    if counted == failures and runs == int(known.get("runs") or 0):
        return None
    return {"state": "closed", "failures": counted, "runs": runs}


def scenario_after(
    circuit: Mapping[str, Any] | None, judgement: Judgement, rules: Rules, run: str, now: datetime
) -> dict[str, Any] | None:
    """The fields of a scenario's circuit breaker that follow from a run of it, or none when nothing changes.

    A setup that fails says nothing about the tasks, nor about the workflow's other scenarios; so it holds its own
    scenario. A refused log-in that holds the workflow is not counted here as well. An open one only a person closes.
    """
    known = circuit or {}
    failures = int(known.get("failures") or 0)
    rejected = judgement.login_rejected is not None and rules.login_rejected_holds
    if judgement.setup is None or rejected or known.get("state") == "open":
        return None
    if judgement.setup:
        return {"state": "closed", "failures": 0} if failures else None
    if failures + 1 < SETUP_FAILURES_MAX:
        return {"state": "closed", "failures": failures + 1}
    text = f"its setup failed {failures + 1} times in a row; the last time: {judgement.failure}"
    return _open(failures + 1, "setup", text, run, now)


def runs_after(circuit: Mapping[str, Any] | None, judgement: Judgement) -> int:
    """Failed runs in a row of a workflow, after this one."""
    before = int((circuit or {}).get("runs") or 0)
    if not judgement.workflow and judgement.setup is not False:
        return before
    return 0 if any(judgement.workflow) else before + 1


def failed_by_no_fault(tasks: Sequence[Mapping[str, Any]], rules: Rules) -> list[Mapping[str, Any]]:
    """Tasks of an ended run that are taken out of the limits' counters again: those that failed for good by a system
    failure, unless the workflow counts them."""
    if rules.count_system_failures:
        return []

    def failed(task: Mapping[str, Any]) -> bool:
        return task["state"] == TaskState.FAILED and (task.get("error") or {}).get("kind") == FailureKind.SYSTEM

    return [task for task in tasks if (task.get("counted") or {}).get("in") and failed(task)]


def _began(run: Mapping[str, Any]) -> bool:
    """Whether a task had its turn, so setup had done its work."""
    outcomes = [item.get("outcome") for item in run.get("tasks") or ()]
    return any(outcome not in (None, ReturnReason.NOT_STARTED) for outcome in outcomes)


def _attempt(item: Mapping[str, Any]) -> bool | None:
    """Whether an attempt went well for whoever provides robot and portal; none: it says nothing."""
    outcome, failure = item.get("outcome"), item.get("failure") or {}
    if outcome == TaskState.SUCCEEDED:
        return True
    if failure.get("code") in OUR_DOING:
        return None
    if outcome in (TaskState.FAILED, ReturnReason.RETRY, TaskState.HELD):
        return failure.get("kind") == FailureKind.BUSINESS
    return None


def _last_failure(run: Mapping[str, Any]) -> str:
    failures = [item.get("failure") or {} for item in run.get("tasks") or ()]
    last: Mapping[str, Any] = next((failure for failure in reversed(failures) if failure.get("code")), {})
    return ": ".join(str(last[key]) for key in ("code", "message") if last.get(key))


def _open(
    failures: int, reason: str, text: str, run: str | None, now: datetime, by: str = "scheduler"
) -> dict[str, Any]:
    return {
        "state": "open",
        "failures": failures,
        "reason": reason,
        "text": text[:1000],
        "at": now,
        "by": by,
        "run": run,
    }


def held_by(by: str, text: str, now: datetime, mode: HoldMode = HoldMode.STOP) -> dict[str, Any]:
    """The circuit breaker of a workflow that a person holds. mode: what is wanted of the runs at work."""
    return {**_open(0, "person", text or f"held by {by}", None, now, by), "mode": mode.value}


def closed_circuit(account: str, workflow: str, scenario: str | None = None) -> dict[str, Any]:
    """The document of a circuit breaker that has counted nothing yet."""
    return {
        "_id": circuit_id(account, workflow, scenario), "schema_version": 1, "account": account, "workflow": workflow,
        **({} if scenario is None else {"scenario": scenario}), **released_by(None, None),
    }  # fmt: skip


def released_by(by: str | None, now: datetime | None) -> dict[str, Any]:
    """The fields of a closed circuit breaker that counts from zero."""
    counted = {"state": "closed", "failures": 0, "runs": 0}
    return {**counted, "reason": None, "text": "", "at": now, "by": by, "run": None, "mode": None}
