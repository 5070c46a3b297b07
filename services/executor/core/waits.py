"""Waits: for a time, or for a person's decision. What is to be done about one, and how a decision is answered.

Called by: services/executor/waiting.py, which reads and writes; handlers.py (answers). A wait is an instruction like
any other, so it is an entry of the journal before it begins: a short one is sat out in the process, a long one parks
the run as a document, which costs no process and no memory. `until` is counted from the entry's own time, so it does
not matter which executor looks, and how often."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from services.executor.core.reply import Answer, failed
from shared.contracts.messages import ReplyOutcome
from shared.domain.decision import DecisionState, refusal

WAIT = "regente.wait"
DECIDE = "regente.decide"
NOTED_FROM_S = 1.0
"""Shorter waits are no entries: after a crash they begin anew, which nobody notices."""
PARK_FROM_S = 30.0
"""Longer waits park the run."""
WAIT_S_MAX = 30 * 86400.0
DECIDE_S_MAX = 90 * 86400.0
TEARDOWN_S_MAX = 300.0
"""In teardown, and while a session is kept alive, a script may wait for so long at most; it is sat out."""
QUESTION_CHARS_MAX = 2000
OPTIONS_MAX = 20
OPTION_CHARS_MAX = 200


@dataclass(frozen=True)
class WaitHere:
    """Sit the rest out in this process."""

    seconds: float


@dataclass(frozen=True)
class ParkAs:
    """Put the run away until its wait is over."""

    wait: Mapping[str, Any]


@dataclass(frozen=True)
class Expire:
    """The decision's time is over; note that on it, then look again."""


def until(entry: Mapping[str, Any]) -> datetime:
    """When a wait for a time is over."""
    at: datetime = entry["at"]
    return at + timedelta(seconds=float(entry["instruction"]["args"]["seconds"]))


def timer_step(entry: Mapping[str, Any], now: datetime, *, sit_out: bool) -> Answer | WaitHere | ParkAs:
    """What to do about a wait for a time. sit_out: the run can't be parked here."""
    end = until(entry)
    left_s = (end - now).total_seconds()
    if left_s <= 0:
        return Answer(int(entry["seq"]), ReplyOutcome.DONE)
    args = entry["instruction"]["args"]
    if sit_out or (left_s < PARK_FROM_S and not args.get("release")):
        return WaitHere(left_s)
    return ParkAs(_wait(entry, "timer", end, None))


def decision_step(entry: Mapping[str, Any], decision: Mapping[str, Any], now: datetime) -> Answer | ParkAs | Expire:
    """What to do about a decision as it stands."""
    seq, state = int(entry["seq"]), decision["state"]
    if state == DecisionState.ANSWERED:
        return Answer(seq, ReplyOutcome.DONE, value=decision["answer"])
    if state == DecisionState.EXPIRED:
        if decision["default"] is not None:
            return Answer(seq, ReplyOutcome.DONE, value=decision["default"])
        return failed(seq, "TIMEOUT", f"nobody answered in time: {decision['question'][:200]}")
    if state == DecisionState.WITHDRAWN:
        return failed(seq, "NOT_ALLOWED", "the question was withdrawn")
    due = decision["due_at"]
    if due is not None and due <= now:
        return Expire()
    return ParkAs(_wait(entry, "decision", due, decision["_id"]))


def _wait(entry: Mapping[str, Any], kind: str, due_at: datetime | None, decision: str | None) -> dict[str, Any]:
    """A parked run's `wait`."""
    return {
        "kind": kind, "seq": int(entry["seq"]), "since": entry["at"], "due_at": due_at, "decision": decision,
        "release": bool(entry["instruction"]["args"].get("release")),
    }  # fmt: skip


def decision_document(run: Mapping[str, Any], entry: Mapping[str, Any], id: str, image: str | None) -> dict[str, Any]:
    """The document of a question, as it is asked. image: id of the evidence that is shown with it."""
    args = entry["instruction"]["args"]
    timeout_s = args.get("timeout")
    at: datetime = entry["at"]
    return {
        "_id": id, "schema_version": 1, "account": run["account"], "workflow": run["workflow"],
        "task": entry.get("task"), "run": run["_id"], "seq": int(entry["seq"]), "worker": run.get("worker"),
        "question": args["question"], "options": list(args.get("options") or []), "image": image, "asked_at": at,
        "due_at": at + timedelta(seconds=float(timeout_s)) if timeout_s is not None else None,
        "default": args.get("default"), "state": DecisionState.OPEN.value, "answer": None, "by": None, "at": None,
        "woken": False, "op": "",
        "pending": {"to": "delivery", "what": "asked", "since": at, "due_at": at, "claims": 0},
    }  # fmt: skip


def answer_problem(decision: Mapping[str, Any], answer: Any, now: datetime) -> str | None:
    """Why an answer can't be taken, or none."""
    if not isinstance(answer, str):
        return "an answer is a text"
    late = decision["due_at"] is not None and decision["due_at"] <= now
    return refusal(decision, answer) or ("the time for an answer is over" if late else None)


def wait_problem(seconds: float, *, release: bool, phase: str) -> str | None:
    """Why a script may not wait so, or none. phase: where the script is."""
    most = TEARDOWN_S_MAX if phase in ("teardown", "keepalive") else WAIT_S_MAX
    if not 0 <= seconds <= most:
        return f"a script may wait for 0 to {most:.0f} s here"
    if release and phase != "task":
        return "release=True only makes sense in execute: elsewhere the robot's desktop is being prepared"
    return None


def decide_problem(args: Mapping[str, Any], *, phase: str) -> str | None:
    """Why a script may not ask so, or none."""
    if phase in ("teardown", "keepalive"):
        return f"nobody can be asked in {phase}"
    if args.get("release") and phase != "task":
        return "release=True only makes sense in execute: elsewhere the robot's desktop is being prepared"
    question, options, default = args["question"], args.get("options") or [], args.get("default")
    if not question.strip() or len(question) > QUESTION_CHARS_MAX:
        return f"a question has 1 to {QUESTION_CHARS_MAX} characters"
    if len(options) > OPTIONS_MAX or any(
        not isinstance(one, str) or not 0 < len(one) <= OPTION_CHARS_MAX for one in options
    ):
        return f"options are at most {OPTIONS_MAX} texts of 1 to {OPTION_CHARS_MAX} characters"
    if len(set(options)) != len(options):
        return "two options are the same"
    timeout_s = args.get("timeout")
    if timeout_s is not None and not 0 < timeout_s <= DECIDE_S_MAX:
        return f"timeout is more than 0 and at most {DECIDE_S_MAX:.0f} s"
    if default is not None and options and default not in options:
        return "the default is none of the options"
    return None
