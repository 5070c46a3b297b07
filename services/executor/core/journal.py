"""A run's journal as data: its entries, and where a run stands according to them.

Called by: services/executor/journal.py (adds entries), runner.py (resumes); the console shows the same fields.
Survives a crash: this is what survives; `Standing` only reads it. Change also: ARCHITECTURE.md (steps),
tests/unit/executor, the scheduler's core/zombies.py.

An entry is inserted once under (run, seq) and never changed, so two executors that both believe in a run can't both
go on: the second to insert meets the first one's entry. A `takeover` entry raises the token; whoever holds a lower
one drops the run.

A run that gave its robot back while it waited gets another one, with another epoch, and is set up anew in the middle
of a task: the entries of that setup stand between the wait and what follows it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from services.executor.core.waits import DECIDE
from shared.domain import retry
from shared.domain.task_state import LOGIN_REJECTED

RECENT_MAX = 20
Attempt = tuple[str, int]
"""A task and the number of the attempt: a warm run may have the same task twice."""
Desk = tuple[str | None, int]
"""A robot and its epoch."""


class Kind(StrEnum):
    """What an entry says."""

    PHASE = "phase"
    """Setup, a task, a keep-alive or teardown begins."""
    INSTRUCTION = "instruction"
    """Something is asked for; carries the reply to the one before and the snapshot that waits for this one's."""
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
    KEEPALIVE = "keepalive"
    TEARDOWN = "teardown"


@dataclass(frozen=True)
class Asked:
    """An instruction that was stored, and possibly sent."""

    seq: int
    effect: str
    commit: bool

    def may_have_acted(self, answer: str | None) -> bool:
        """Whether it may have done what can't be taken back. answer: its outcome; none: nobody answered."""
        return retry.may_have_acted(effect=self.effect, commit=self.commit, answer=answer)


@dataclass
class InHand:
    """The phase in hand."""

    phase: Phase
    task: str | None
    attempt: int | None
    waiting: Mapping[str, Any] | None = None
    """The entry of the instruction whose reply is missing; none: nothing of the phase was asked for yet."""
    elapsed_s: float = 0.0
    """Time counted for it so far, seconds; time in which the run was parked does not count."""
    acted: bool = False
    """Whether an answered instruction did, or may have done, what can't be taken back."""
    taken_on: bool = False
    """Whether any instruction was answered by something else than a refusal."""


@dataclass
class Standing:
    """Where a run stands after the entries added so far; its size does not grow with their number."""

    seq: int = 0
    """The last seq used."""
    instructions: int = 0
    decisions: int = 0
    """Questions to people among them."""
    calls: int = 0
    """Host calls of the script, all phases together."""
    hand: InHand | None = None
    """The phase in hand; none between phases."""
    aside: InHand | None = None
    """The task that waits while a new robot is set up for it."""
    outcome: Mapping[str, Any] | None = None
    """The last outcome entry, which may not have been applied to the task yet."""
    setup_ok: bool | None = None
    """Whether setup succeeded; none while it has not ended."""
    setup_seq: int | None = None
    """Entry that holds the session as the first setup left it: what tasks begin from."""
    setup_desk: Desk | None = None
    """The reservation that the last setup was made for."""
    setup_error: Mapping[str, Any] = field(default_factory=dict)
    begun: dict[Attempt, int] = field(default_factory=dict)
    """Seq at which each attempt at a task began."""
    done: set[Attempt] = field(default_factory=set)
    """Attempts that have an outcome."""
    torn_down: bool = False
    robot_lost: bool = False
    """Whether the desktop that setup prepared went away."""
    warm_lost: bool = False
    """Whether a keep-alive failed."""
    aborted: Mapping[str, Any] | None = None
    end: Mapping[str, Any] | None = None
    """How the run ended."""
    recent: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=RECENT_MAX))
    """The last instructions and what became of them, oldest first."""
    token: int = 0
    """The highest token under which an entry was written."""
    login_rejected: str | None = None
    """What the portal said when it refused the log-in of a task."""
    phase_seq: int = 0
    """Entry with which the phase in hand began."""
    _open: Asked | None = None

    @property
    def mark(self) -> str:
        """How far the run has come, for telling whether it gets any further; takeovers bring it no further."""
        return f"{self.instructions}/{len(self.done)}/{self.setup_ok}/{self.torn_down}"

    def add(self, entry: Mapping[str, Any]) -> None:
        """Take in the next entry, in order of seq."""
        self.seq = int(entry["seq"])
        self.calls = int(entry.get("calls") or self.calls)
        self.token = max(self.token, int(entry.get("token") or 0))
        if entry.get("reply") is not None:
            self._read_reply(entry["reply"])
        match Kind(entry["kind"]):
            case Kind.PHASE:
                self._read_phase(entry)
            case Kind.INSTRUCTION:
                self._read_instruction(entry)
            case Kind.OUTCOME:
                self._read_outcome(entry)
            case Kind.ABORT:
                self.aborted = entry["abort"]
                self.robot_lost = self.robot_lost or entry["abort"]["kind"] == "robot_lost"
            case Kind.END:
                self.end = entry["end"]
            case Kind.TAKEOVER:
                pass  # it changes who works, not where the work stands

    def may_have_acted(self, noted: Mapping[str, Any] | None) -> bool:
        """Whether the attempt in hand may have done what can't be taken back. noted: a reply that is not stored yet."""
        hand = self.hand
        if hand is None:
            return False
        return hand.acted or (self._open is not None and self._open.may_have_acted(self._answer(noted)))

    def refused_only(self, noted: Mapping[str, Any] | None) -> bool:
        """Whether nobody took on anything of the attempt in hand: each instruction was refused."""
        hand = self.hand
        if hand is None or hand.taken_on:
            return False
        return self._open is None or self._answer(noted) == "refused"

    def recent_with(self, noted: Mapping[str, Any] | None) -> list[dict[str, Any]]:
        """The last instructions and what became of them, with a reply that is not stored yet."""
        rows = [dict(one) for one in self.recent]
        if noted is not None:
            for row in rows:
                _note_outcome(row, noted)
        return rows

    def _answer(self, noted: Mapping[str, Any] | None) -> str | None:
        if noted is None or self._open is None or noted["seq"] != self._open.seq:
            return None
        return str(noted["outcome"])

    def _read_reply(self, reply: Mapping[str, Any]) -> None:
        asked = self._open
        if asked is None or reply["seq"] != asked.seq:
            return
        outcome = str(reply["outcome"])
        if self.hand is not None:
            self.hand.acted = self.hand.acted or asked.may_have_acted(outcome)
            self.hand.taken_on = self.hand.taken_on or outcome != "refused"
        for row in self.recent:
            _note_outcome(row, reply)
        self._open = None

    def _read_phase(self, entry: Mapping[str, Any]) -> None:
        phase = Phase(entry["phase"])
        if phase is Phase.SETUP and self.hand is not None and self.hand.phase is Phase.TASK:
            self.aside = self.hand
        self.hand = InHand(phase, entry.get("task"), entry.get("attempt"))
        self.outcome, self._open, self.phase_seq = None, None, self.seq
        if phase is Phase.TASK:
            self.begun[attempt_of(entry)] = self.seq

    def _read_instruction(self, entry: Mapping[str, Any]) -> None:
        instruction = entry["instruction"]
        self.instructions += 1
        self.decisions += instruction["name"] == DECIDE
        if self._open is not None and self.hand is not None:  # nobody will answer it any more
            self.hand.acted = self.hand.acted or self._open.may_have_acted(None)
            self.hand.taken_on = True
        self._open = Asked(self.seq, instruction["effect"], bool(instruction["commit"]))
        if self.hand is not None:
            self.hand.waiting = entry
            self.hand.elapsed_s = float(entry.get("elapsed_s", 0.0))
        self.recent.append(_recent(entry))

    def _read_outcome(self, entry: Mapping[str, Any]) -> None:
        phase = Phase(entry["phase"])
        well = entry["outcome"]["state"] == "succeeded"
        self.robot_lost = self.robot_lost or bool(entry.get("robot_lost"))
        self.hand, self.outcome, self._open = None, entry, None
        if phase is Phase.SETUP:
            self.setup_ok, self.setup_desk = well, desk_of(entry)
            self.setup_error = entry["outcome"].get("error") or {}
            if self.aside is None:
                self.setup_seq = self.seq
            else:  # back to the task that waited; what its wait has to say comes next
                self.hand, self.aside = self.aside, None
                waiting = self.hand.waiting
                self._open = Asked(int(waiting["seq"]), "read", False) if waiting else None
        elif phase is Phase.TASK:
            self.done.add(attempt_of(entry))
            error = entry["outcome"].get("error") or {}
            if error.get("code") == LOGIN_REJECTED:
                self.login_rejected = str(error.get("message") or "")
        elif phase is Phase.KEEPALIVE:
            self.warm_lost = self.warm_lost or not well
        else:
            self.torn_down = True


def attempt_of(item: Mapping[str, Any]) -> Attempt:
    """The attempt that an entry, or an item of a run's `tasks`, is about."""
    return str(item["task"]), int(item["attempt"] or 0)


def desk_of(document: Mapping[str, Any]) -> Desk:
    """The reservation that a run has, or that an entry was made under. Two robots may have the same epoch."""
    return document.get("worker"), int(document.get("epoch") or 0)


def standing_of(entries: Iterable[Mapping[str, Any]]) -> Standing:
    """Where a run stands after these entries, given in order of seq."""
    standing = Standing()
    for entry in entries:
        standing.add(entry)
    return standing


def _recent(entry: Mapping[str, Any]) -> dict[str, Any]:
    instruction = entry["instruction"]
    return {
        "seq": entry["seq"], "name": instruction["name"], "line": instruction.get("line"), "outcome": None,
        "error": None, "duration_s": None,
    }  # fmt: skip


def _note_outcome(row: dict[str, Any], reply: Mapping[str, Any]) -> None:
    if row["seq"] == reply["seq"]:
        row["outcome"] = reply["outcome"]
        row["error"] = (reply.get("error") or {}).get("code")
        row["duration_s"] = reply.get("duration_s")
