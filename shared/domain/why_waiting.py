"""Why a task is not running, as one sentence made from facts.

Called by: shared.mongo.waiting, which gathers the facts for collector and console. The first reason that applies is
told: what stands in the way of the task itself, then of its workflow, then of its robots, then of its turn."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from shared.domain.task_state import FINAL, HoldReason, TaskState

AHEAD_COUNTED_MAX = 1000
"""Tasks in front are counted up to here; more are told as 'more than'."""

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
    """Of the authorised ones."""
    taking: int = 0
    """Of the connected ones: in mode run."""
    free: int = 0
    """Of those: without a run."""


@dataclass(frozen=True)
class Facts:
    """All that the sentence is made from."""

    state: TaskState
    now: datetime
    workflow: str
    published: bool = True
    """Whether the workflow has a current version."""
    not_before: datetime | None = None
    deadline: datetime | None = None
    in_queue: bool = True
    """Whether it stands in a list; false while its time has not come."""
    hold_reason: str | None = None
    hold_text: str = ""
    run: str | None = None
    """The run that holds it."""
    ahead: int = 0
    """Tasks that go first, counted up to AHEAD_COUNTED_MAX + 1."""
    fleet: Fleet = field(default_factory=Fleet)


def why_waiting(facts: Facts) -> str:
    """One sentence, without a full stop at its end, such as 'behind 12 others; all 2 robots are busy'."""
    if facts.state in FINAL:
        return f"it is not waiting: it is {facts.state}"
    if facts.state is TaskState.RUNNING:
        return f"it is not waiting: {facts.run or 'a run'} works on it"
    if facts.state is TaskState.HELD:
        return _held(facts)
    if facts.deadline is not None and facts.deadline <= facts.now:
        return "its deadline has passed; it is about to expire"
    if facts.not_before is not None and facts.not_before > facts.now:
        return f"delayed until {_moment(facts.not_before)}"
    if not facts.published:
        return f"its workflow {facts.workflow} has no published version"
    if not facts.in_queue:
        return "its time has come; it is about to join the queue"
    return _no_robot(facts.fleet) or _turn(facts)


def _held(facts: Facts) -> str:
    try:
        said = _HELD[HoldReason(facts.hold_reason or HoldReason.PERSON)]
    except ValueError:
        said = f"held ({facts.hold_reason})"
    text = facts.hold_text.strip().rstrip(".")
    return f"{said}: {text}" if text and text not in said else said


def _no_robot(fleet: Fleet) -> str | None:
    """What keeps every robot from taking any task."""
    if fleet.authorised == 0:
        return "no robot is authorised for its account"
    if fleet.connected == 0:
        one = (
            "the authorised robot is"
            if fleet.authorised == 1
            else f"none of the {fleet.authorised} authorised robots is"
        )
        return f"{one} not connected" if fleet.authorised == 1 else f"{one} connected"
    if fleet.taking == 0:
        return "every connected robot is paused or stopped"
    return None


def _turn(facts: Facts) -> str:
    """Whose turn it is, when robots are there."""
    busy = ""
    if facts.fleet.free == 0:
        busy = "the only robot is busy" if facts.fleet.taking == 1 else f"all {facts.fleet.taking} robots are busy"
    if facts.ahead == 0:
        return f"it is the next one; {busy or 'a robot is free and about to take it'}"
    count = f"more than {AHEAD_COUNTED_MAX}" if facts.ahead > AHEAD_COUNTED_MAX else str(facts.ahead)
    behind = f"behind {count} other{'' if facts.ahead == 1 else 's'}"
    return f"{behind}; {busy}" if busy else behind


def _moment(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")
