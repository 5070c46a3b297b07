"""A run's journal as data: its entries, and where a run stands according to them.

Called by: services/executor/runner.py (resumes), store.py (shapes of documents), console shows the same fields.
Survives a crash: this is what survives; the functions only read it. Change also: ARCHITECTURE.md (steps),
tests/unit/executor.

An entry is inserted once under (run, seq) and never changed, so two executors that both believe in a run can't both
go on: the second to insert meets the first one's entry. A `takeover` entry raises the token; whoever holds a lower
one drops the run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from shared.domain import retry


class Kind(StrEnum):
    """What an entry says."""

    PHASE = "phase"
    """Setup, a task or teardown begins."""
    INSTRUCTION = "instruction"
    """The robot is asked for something; carries the reply to the one before and the snapshot that waits for this
    one's."""
    OUTCOME = "outcome"
    """A phase ended; carries the reply to its last instruction, and for setup the session as it left it."""
    TAKEOVER = "takeover"
    """Another executor goes on."""
    ABORT = "abort"
    """Somebody, or the loss of the robot, ended the phase in hand."""
    END = "end"
    """Nothing follows."""


class Phase(StrEnum):
    """Where in the scenario the script is."""

    SETUP = "setup"
    TASK = "task"
    TEARDOWN = "teardown"


@dataclass(frozen=True)
class Asked:
    """An instruction that was stored, and possibly sent."""

    seq: int
    name: str
    effect: str
    commit: bool
    answered: str | None
    """Outcome of the reply as the next entry holds it; none: no reply was ever stored."""


@dataclass(frozen=True)
class Position:
    """Where a run stands: what an executor that takes it has to do next."""

    seq: int
    """The last seq used."""
    phase: Phase | None
    """The phase in hand, or none between phases."""
    task: str | None
    attempt: int | None
    waiting: int | None
    """Seq of the instruction whose reply is missing; none: the phase in hand begins anew (nothing of it was sent)."""
    outcome: Mapping[str, Any] | None
    """The last outcome entry, which may not have been applied to the task yet."""
    setup_ok: bool | None
    """Whether setup succeeded; none while it has not ended."""
    setup_seq: int | None
    """Entry that holds the session as setup left it."""
    done: frozenset[str]
    """Tasks that have an outcome."""
    torn_down: bool
    robot_lost: bool
    """Whether the desktop that setup prepared went away."""
    aborted: Mapping[str, Any] | None
    ended: bool
    elapsed_s: float
    """Time counted so far for the phase in hand, seconds."""


def read_position(entries: Iterable[Mapping[str, Any]]) -> Position:
    """Where a run stands after these entries, given in order of seq."""
    state: dict[str, Any] = {
        "seq": 0, "phase": None, "task": None, "attempt": None, "waiting": None, "outcome": None, "setup_ok": None,
        "setup_seq": None, "torn_down": False, "robot_lost": False, "aborted": None, "ended": False, "elapsed_s": 0.0,
    }  # fmt: skip
    done: set[str] = set()
    for entry in entries:
        state["seq"] = entry["seq"]
        _READERS[Kind(entry["kind"])](state, done, entry)
    return Position(done=frozenset(done), **state)


def _read_phase(state: dict[str, Any], done: set[str], entry: Mapping[str, Any]) -> None:
    state.update(phase=Phase(entry["phase"]), task=entry.get("task"), attempt=entry.get("attempt"))
    state.update(waiting=None, outcome=None, elapsed_s=0.0)


def _read_instruction(state: dict[str, Any], done: set[str], entry: Mapping[str, Any]) -> None:
    state.update(waiting=entry["seq"], elapsed_s=float(entry.get("elapsed_s", 0.0)))


def _read_outcome(state: dict[str, Any], done: set[str], entry: Mapping[str, Any]) -> None:
    phase = Phase(entry["phase"])
    if phase is Phase.SETUP:
        state.update(setup_ok=entry["outcome"]["state"] == "succeeded", setup_seq=entry["seq"])
    elif phase is Phase.TASK:
        done.add(entry["task"])
    else:
        state["torn_down"] = True
    state["robot_lost"] = state["robot_lost"] or bool(entry.get("robot_lost"))
    state.update(phase=None, task=entry.get("task"), waiting=None, outcome=entry, elapsed_s=0.0)


def _read_abort(state: dict[str, Any], done: set[str], entry: Mapping[str, Any]) -> None:
    state["aborted"] = entry["abort"]
    state["robot_lost"] = state["robot_lost"] or entry["abort"]["kind"] == "robot_lost"


def _read_takeover(state: dict[str, Any], done: set[str], entry: Mapping[str, Any]) -> None:
    """A takeover changes who works, not where the work stands."""


def _read_end(state: dict[str, Any], done: set[str], entry: Mapping[str, Any]) -> None:
    state["ended"] = True


_READERS = {
    Kind.PHASE: _read_phase,
    Kind.INSTRUCTION: _read_instruction,
    Kind.OUTCOME: _read_outcome,
    Kind.TAKEOVER: _read_takeover,
    Kind.ABORT: _read_abort,
    Kind.END: _read_end,
}


def asked_in_task(entries: Sequence[Mapping[str, Any]], task: str, attempt: int) -> list[Asked]:
    """The instructions of one attempt at one task, each with the outcome of its reply if the journal holds one."""
    asked: list[Asked] = []
    for entry in entries:
        if entry.get("task") != task or entry.get("attempt") != attempt:
            continue
        reply = entry.get("reply")
        if reply is not None:
            asked = [_answered(one, reply) for one in asked]
        if entry["kind"] == Kind.INSTRUCTION:
            instruction = entry["instruction"]
            asked.append(
                Asked(entry["seq"], instruction["name"], instruction["effect"], bool(instruction["commit"]), None)
            )
    return asked


def _answered(one: Asked, reply: Mapping[str, Any]) -> Asked:
    if one.seq != reply["seq"]:
        return one
    return Asked(one.seq, one.name, one.effect, one.commit, str(reply["outcome"]))


def may_have_acted(asked: Iterable[Asked]) -> bool:
    """Whether an attempt may have done what can't be taken back, by the rule of shared.domain.retry."""
    return any(retry.may_have_acted(effect=one.effect, commit=one.commit, answer=one.answered) for one in asked)
