"""A run's journal as plays: each phase with what its script asked for, what it was told, and how it ended.

Called by: core/trial.py, services/executor/trial.py. Pure. Change also: core/journal.py, which says what the entries
mean; a run that gave its robot back has the entries of another setup in the middle of a task, so they are told apart
here as `Standing` does it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from services.executor.core.ending import EndKind, PhaseEnd, checked_output
from services.executor.core.journal import Kind, Phase
from services.executor.core.reply import Answer, stored_answer

SCHEMA = 1
"""Of entries that can be played."""
NOT_THE_SCRIPTS = frozenset(
    {
        "ABORTED", "ROBOT_LOST", "TASK_TIMEOUT", "IN_DOUBT", "CANCELLED", "NOT_STARTED", "SETUP_FAILED",
        "REPLAY_DIVERGED", "SESSION_UNREADABLE",
    }
)  # fmt: skip
"""Codes of ends that came from outside: nobody knows how the script would have gone on."""
LIMIT = "SCRIPT_LIMIT"


class Unplayable(Exception):
    """The journal can't be played; the text says why."""


@dataclass(frozen=True)
class Asked:
    """What a script asked for, then or now."""

    name: str
    args: Mapping[str, Any]
    commit: bool
    line: int | None
    function: str | None = None
    seq: int | None = None
    """Its entry; none for what is asked now."""

    def same_as(self, other: Asked) -> bool:
        """Whether both ask for the same. Where they stand in the script doesn't count."""
        mine = (self.name, self.commit, canonical(self.args))
        return mine == (other.name, other.commit, canonical(other.args))


@dataclass(frozen=True)
class Ended:
    """How a script ended a phase, then or now."""

    kind: str
    """returned, business or system."""
    code: str = ""
    message: str = ""
    output: Any = None
    """What `execute` returned; none for the other phases, whose values nobody reads."""
    line: int | None = None

    def same_as(self, other: Ended) -> bool:
        """Whether both mean the same to whoever waits for the outcome. Where they stand in the script doesn't count."""
        return self._meaning() == other._meaning()

    def _meaning(self) -> tuple[str, str, str, str]:
        message = "" if self.code == LIMIT else self.message  # it names the seconds or bytes of that one time
        return self.kind, self.code, message, canonical(self.output)


@dataclass
class Play:
    """One phase of a run, as it was."""

    phase: Phase
    task: str | None
    attempt: int | None
    seq: int
    """Entry with which it began."""
    begun_at: datetime
    asked: list[Asked] = field(default_factory=list)
    asked_at: list[datetime] = field(default_factory=list)
    answers: dict[int, Answer] = field(default_factory=dict)
    """What became of an instruction, by its seq."""
    times: list[list[datetime]] = field(default_factory=lambda: [[]])
    """What the script was told when it asked for the time: before the first instruction, after it, and so on."""
    ended: Ended | None = None
    """How the script ended it; none: it was ended from outside, or never."""
    ended_seq: int | None = None
    """Entry that says how it ended."""


def plays_of(entries: Iterable[Mapping[str, Any]]) -> list[Play]:
    """The phases of a run in the order in which they began. entries: in order of seq, without snapshots.

    Raises: Unplayable.
    """
    plays: list[Play] = []
    waiting: list[Play] = []  # the phase in hand on top; below it a task that waits for another setup
    by_seq: dict[int, Play] = {}
    for entry in entries:
        _check(entry)
        reply = entry.get("reply")
        if reply is not None and reply["seq"] in by_seq:
            by_seq[reply["seq"]].answers[int(reply["seq"])] = stored_answer(reply)
        match Kind(entry["kind"]):
            case Kind.PHASE:
                if waiting and not (entry["phase"] == Phase.SETUP and waiting[-1].phase is Phase.TASK):
                    waiting.clear()
                waiting.append(_begun(entry))
                plays.append(waiting[-1])
            case Kind.INSTRUCTION:
                play = _in_hand(waiting, entry)
                play.times[-1].extend(_times(entry))
                by_seq[int(entry["seq"])] = play
                play.asked.append(_asked(entry))
                play.asked_at.append(_utc(entry["at"]))
                play.times.append([])
            case Kind.OUTCOME:
                play = _in_hand(waiting, entry)
                play.times[-1].extend(_times(entry))
                play.ended, play.ended_seq = script_end(entry), int(entry["seq"])
                waiting.pop()
            case _:
                pass  # takeovers, aborts and the run's end say nothing about the script
    return plays


def script_end(entry: Mapping[str, Any]) -> Ended | None:
    """How the script ended its phase, by the phase's outcome entry; none when it was ended from outside."""
    outcome = entry["outcome"]
    error = outcome.get("error")
    if error is None:
        output = outcome.get("output") if entry["phase"] == Phase.TASK else None
        return Ended(EndKind.RETURNED.value, output=output) if outcome["state"] == "succeeded" else None
    code = str(error.get("code") or "")
    # the number of instructions or the size of the state, which the run counts, not the interpreter
    counted = code == LIMIT and not error.get("traceback") and error.get("line") is not None
    if code in NOT_THE_SCRIPTS or counted:
        return None
    return Ended(str(error["kind"]), code, str(error.get("message") or ""), line=error.get("line"))


def ended_now(end: PhaseEnd, phase: Phase) -> Ended:
    """How a script ends a phase now, in the words of the journal."""
    if end.kind is not EndKind.RETURNED:
        return Ended(end.kind.value, end.code or end.kind.value.upper(), end.message, line=end.line)
    if phase is not Phase.TASK:
        return Ended(end.kind.value)
    output, problem = checked_output(end.output)
    if problem is not None:
        return Ended(EndKind.SYSTEM.value, "BAD_RESULT", problem)
    return Ended(end.kind.value, output=output)


def canonical(value: Any) -> str:
    """JSON that is equal for equal values."""
    return json.dumps(value, sort_keys=True, default=str)


def _check(entry: Mapping[str, Any]) -> None:
    """Raises: Unplayable for an entry of another time."""
    if entry.get("schema_version") != SCHEMA:
        raise Unplayable(f"entry {entry.get('seq')} is of schema {entry.get('schema_version')}, not {SCHEMA}")
    if entry["kind"] == Kind.INSTRUCTION and "answers" not in entry:
        raise Unplayable(f"entry {entry['seq']} is too old: it does not say what time the script was told")


def _in_hand(waiting: Sequence[Play], entry: Mapping[str, Any]) -> Play:
    if not waiting or waiting[-1].phase != entry["phase"] or waiting[-1].task != entry.get("task"):
        raise Unplayable(f"entry {entry['seq']} belongs to a phase whose beginning is not in the journal")
    return waiting[-1]


def _begun(entry: Mapping[str, Any]) -> Play:
    return Play(
        Phase(entry["phase"]), entry.get("task"), entry.get("attempt"), int(entry["seq"]), _utc(entry["at"])
    )  # fmt: skip


def _asked(entry: Mapping[str, Any]) -> Asked:
    stored = entry["instruction"]
    return Asked(
        str(stored["name"]), stored["args"], bool(stored["commit"]), stored.get("line"), stored.get("function"),
        int(entry["seq"]),
    )  # fmt: skip


def _times(entry: Mapping[str, Any]) -> list[datetime]:
    return [_utc(at) for at in entry.get("answers") or []]


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at
