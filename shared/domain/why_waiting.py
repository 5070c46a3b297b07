"""Why a task is not running, as one sentence made from facts.

Called by: shared.mongo.waiting, which gathers the facts for collector and console. The first reason that applies is
told: what stands in the way of the task itself, then of its workflow, then of its robots, then of its turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from shared.domain.calendar import Calendar
from shared.domain.fitness import Away, Unfit, away, unfit
from shared.domain.gates import Gate, GateReason
from shared.domain.task_state import FINAL, HoldReason, TaskState

WARM_READY, WARM_BUSY = "ready", "busy"
"""Whether a run that is kept warm stands ready; else it is at work, or being prepared."""
AHEAD_COUNTED_MAX = 1000
"""Tasks in front are counted up to here; more are told as 'more than'."""

_WARM_BUSY = "the robot that is kept warm for it is at work, or being prepared"
_HELD = {
    HoldReason.PERSON: "held by a person",
    HoldReason.IN_DOUBT: "held: nobody knows whether its last act took effect, and a person has to say",
    HoldReason.INPUT: "held: its input does not fit the workflow's current version",
    HoldReason.SETUP: "held: the scenario's setup failed again and again before its turn",
    HoldReason.POISON: "held: handing it over failed again and again",
}


@dataclass(frozen=True)
class Fleet:
    """The robots that may run the task: those of its account and the shared ones."""

    authorised: int = 0
    connected: int = 0
    """Of the authorised ones that may run its scenario."""
    taking: int = 0
    """Of the connected ones: in mode run, in no quarantine, inside the time in which they may work."""
    free: int = 0
    """Of those: without a run."""
    unfit: Mapping[str, int] = field(default_factory=dict)
    """Of the authorised ones: how many may not run its scenario, by reason (shared.domain.fitness.Unfit)."""
    away: Mapping[str, int] = field(default_factory=dict)
    """Of the connected ones that may: how many take nothing now, by reason (Away)."""
    tags: tuple[str, ...] = ()
    """What its scenario needs."""

    @property
    def fit(self) -> int:
        """Authorised robots that may run its scenario."""
        return self.authorised - sum(self.unfit.values())


def fleet_of(
    robots: Sequence[tuple[Mapping[str, Any], Calendar | None]], *, account: str, workflow: str, tags: frozenset[str],
    now: datetime,
) -> Fleet:  # fmt: skip
    """What the robots of an account and the shared ones are to a task.

    robots: documents of authorised ones, each with the calendar of its schedule. tags: what the task's scenario needs.
    """
    unfits: dict[str, int] = {}
    aways: dict[str, int] = {}
    connected = taking = free = 0
    for worker, calendar in robots:
        reason = unfit(worker, account=account, workflow=workflow, tags=tags)
        if reason is not None:
            unfits[reason.value] = unfits.get(reason.value, 0) + 1
            continue
        gone = away(worker, now, calendar)
        connected += gone not in (Away.UNAUTHORISED, Away.DISCONNECTED)
        taking += gone in (None, Away.BUSY)
        free += gone is None
        if gone in (Away.MODE, Away.QUARANTINE, Away.SCHEDULE):
            aways[gone.value] = aways.get(gone.value, 0) + 1
    return Fleet(len(robots), connected, taking, free, unfits, aways, tuple(sorted(tags)))


@dataclass(frozen=True)
class Facts:
    """All that the sentence is made from."""

    state: TaskState
    now: datetime
    workflow: str
    gate: Gate = field(default_factory=Gate)
    """Whether its workflow takes tasks now."""
    group_runs: int = 0
    """Runs at work with its group values, when no further one is allowed; else 0."""
    group_fields: tuple[str, ...] = ()
    """What its group is made of, such as `certificate`."""
    not_before: datetime | None = None
    deadline: datetime | None = None
    in_queue: bool = True
    """Whether it stands in a list; false while its time has not come."""
    hold_reason: str | None = None
    hold_text: str = ""
    run: str | None = None
    """The run that holds it."""
    run_waits: str | None = None
    """What that run waits for (shared.domain.why_parked); none: it is at work."""
    ahead: int = 0
    """Tasks that go first, counted up to AHEAD_COUNTED_MAX + 1."""
    fleet: Fleet = field(default_factory=Fleet)
    needs_robot: bool = True
    server_runs: int = 0
    """Runs without a robot at work, when its scenario needs none."""
    server_runs_max: int | None = None
    """How many of them may be; none: nobody has said."""

    warm: str | None = None
    """The run that is kept warm for its scenario and group: WARM_READY, WARM_BUSY; none: there is none."""

    @property
    def server_full(self) -> bool:
        """Whether no further run without a robot may be opened."""
        return self.server_runs_max is not None and self.server_runs >= self.server_runs_max


def why_waiting(facts: Facts) -> str:
    """One sentence, without a full stop at its end, such as 'behind 12 others; all 2 robots are busy'."""
    if facts.state in FINAL:
        return f"it is not waiting: it is {facts.state}"
    if facts.state is TaskState.RUNNING:
        return facts.run_waits or f"it is not waiting: {facts.run or 'a run'} works on it"
    if facts.state is TaskState.HELD:
        return _held(facts)
    if facts.deadline is not None and facts.deadline <= facts.now:
        return "its deadline has passed; it is about to expire"
    if facts.gate.reason in (GateReason.HELD, GateReason.UNPUBLISHED):
        return facts.gate.text  # only a person ends it, so it counts for more than a delay
    if facts.not_before is not None and facts.not_before > facts.now:
        return f"delayed until {_moment(facts.not_before)}"
    enough_runs = facts.gate.reason is GateReason.RUNS  # one that is kept warm for it is among them
    if not facts.gate.open and not (enough_runs and facts.warm):
        return facts.gate.text
    if not facts.in_queue:
        return "its time has come; it is about to join the queue"
    if facts.warm == WARM_READY:
        return "a robot is kept warm for it, and is about to take it"
    if enough_runs:
        return _WARM_BUSY
    nobody = no_robot(facts.fleet) if facts.needs_robot else None
    return nobody or _group(facts) or _turn(facts)


def facts_view(facts: Facts) -> dict[str, Any]:
    """The facts behind the sentence, for people and programs; times stay times."""
    fleet = facts.fleet
    robots: dict[str, Any] = {
        "authorised": fleet.authorised, "may_run_it": fleet.fit, "connected": fleet.connected, "taking": fleet.taking,
        "free": fleet.free, "unfit": dict(fleet.unfit), "away": dict(fleet.away), "tags": list(fleet.tags),
    }  # fmt: skip
    gate: dict[str, Any] = {
        "open": facts.gate.open, "reason": facts.gate.reason, "until": facts.gate.until, "room": facts.gate.room,
        **facts.gate.facts,
    }  # fmt: skip
    return {
        "state": facts.state.value, "workflow": facts.workflow, "not_before": facts.not_before,
        "deadline": facts.deadline, "ahead": facts.ahead, "gate": gate, "robots": robots,
        "warm": facts.warm,
        "server": None if facts.needs_robot else {"runs": facts.server_runs, "max": facts.server_runs_max},
        "group": {"fields": list(facts.group_fields), "runs": facts.group_runs},
        "hold": {"reason": facts.hold_reason, "text": facts.hold_text} if facts.hold_reason else None,
    }  # fmt: skip


def _held(facts: Facts) -> str:
    try:
        said = _HELD[HoldReason(facts.hold_reason or HoldReason.PERSON)]
    except ValueError:
        said = f"held ({facts.hold_reason})"
    text = facts.hold_text.strip().rstrip(".")
    return f"{said}: {text}" if text and text not in said else said


def no_robot(fleet: Fleet) -> str | None:
    """What keeps every robot from taking any task; none: a robot takes work."""
    if fleet.authorised == 0:
        return "no robot is authorised for its account"
    if fleet.fit == 0:
        return _unfit(fleet)
    if fleet.connected == 0:
        may = "" if fleet.fit == fleet.authorised else " that may run it"
        one = (
            f"the authorised robot{may} is" if fleet.fit == 1 else f"none of the {fleet.fit} authorised robots{may} is"
        )
        return f"{one} not connected" if fleet.fit == 1 else f"{one} connected"
    if fleet.taking == 0:
        return _nobody_takes(fleet)
    return None


_AWAY = {
    Away.MODE.value: "paused or stopped",
    Away.QUARANTINE.value: "in quarantine after failures",
    Away.SCHEDULE.value: "outside its time to work",
}


def _nobody_takes(fleet: Fleet) -> str:
    """Every connected robot that may run it takes nothing now, and why."""
    said = [f"{n} {_AWAY[reason]}" for reason, n in fleet.away.items() if reason in _AWAY]
    if len(said) == 1:
        return f"every connected robot is {_AWAY[next(iter(fleet.away))]}"
    return f"no connected robot takes work: {', '.join(said)}" if said else "every connected robot is paused or stopped"


def _unfit(fleet: Fleet) -> str:
    """Why no authorised robot may run it."""
    reason = max(fleet.unfit, key=lambda key: fleet.unfit[key])
    if reason == Unfit.TAGS:
        return f"no authorised robot has all the tags that it needs ({', '.join(fleet.tags)})"
    if reason == Unfit.EXCLUSIVE:
        return "every authorised robot is in exclusive mode for another workflow"
    return "no authorised robot may run its workflow"


def _group(facts: Facts) -> str | None:
    if facts.group_runs == 0:
        return None
    if facts.warm == WARM_BUSY:
        return _WARM_BUSY
    what = " and ".join(facts.group_fields) or "group"
    runs = "a run is" if facts.group_runs == 1 else f"{facts.group_runs} runs are"
    return f"{runs} at work with the same {what}, as many as may be at once"


def _turn(facts: Facts) -> str:
    """Whose turn it is, when robots are there, or none is needed."""
    busy = ""
    if not facts.needs_robot:
        busy = f"{facts.server_runs} runs without a robot are at work, as many as may be" if facts.server_full else ""
    elif facts.fleet.free == 0:
        busy = "the only robot is busy" if facts.fleet.taking == 1 else f"all {facts.fleet.taking} robots are busy"
    if facts.ahead == 0:
        soon = (
            "a robot is free and about to take it" if facts.needs_robot else "it needs no robot and is about to start"
        )
        return f"it is the next one; {busy or soon}"
    count = f"more than {AHEAD_COUNTED_MAX}" if facts.ahead > AHEAD_COUNTED_MAX else str(facts.ahead)
    behind = f"behind {count} other{'' if facts.ahead == 1 else 's'}"
    return f"{behind}; {busy}" if busy else behind


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
