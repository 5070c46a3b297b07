"""Where a run stands after any journal, and what an attempt may have done, against slow and obvious models."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.executor.core.journal import Asked, Kind, Phase, asked_in_task, may_have_acted, read_position


def entry(seq: int, kind: Kind, **fields: Any) -> dict[str, Any]:
    return {"seq": seq, "kind": kind, "phase": None, "task": None, "attempt": None, "reply": None, **fields}


def instruction(seq: int, task: str, *, effect: str = "act", commit: bool = False, reply: Any = None) -> dict[str, Any]:
    asked = {"name": "browser.click", "effect": effect, "commit": commit}
    return entry(seq, Kind.INSTRUCTION, phase=Phase.TASK, task=task, attempt=1, instruction=asked, reply=reply)


def test_a_new_run_begins_with_setup() -> None:
    position = read_position([])
    assert (position.seq, position.phase, position.setup_ok, position.ended) == (0, None, None, False)


def test_a_phase_that_began_without_an_instruction_begins_anew() -> None:
    position = read_position([entry(1, Kind.PHASE, phase=Phase.SETUP)])
    assert position.phase is Phase.SETUP
    assert position.waiting is None


def test_a_takeover_does_not_change_where_the_work_stands() -> None:
    journal = [
        entry(1, Kind.PHASE, phase=Phase.TASK, task="t", attempt=1),
        instruction(2, "t"),
        entry(3, Kind.TAKEOVER),
    ]
    position = read_position(journal)
    assert (position.seq, position.waiting, position.task) == (3, 2, "t")


def test_a_lost_robot_is_remembered_with_the_outcome() -> None:
    outcome = entry(3, Kind.OUTCOME, phase=Phase.TASK, task="t", outcome={"state": "held"}, robot_lost=True)
    position = read_position([entry(1, Kind.PHASE, phase=Phase.TASK, task="t"), instruction(2, "t"), outcome])
    assert position.robot_lost
    assert position.done == {"t"}
    assert position.outcome == outcome


ANSWERS = st.sampled_from([None, "done", "error", "refused", "in_doubt"])
ASKED = st.lists(st.tuples(st.sampled_from(["read", "act"]), st.booleans(), ANSWERS), max_size=8)


@given(ASKED)
def test_what_may_have_been_done_is_never_overlooked(rows: list[tuple[str, bool, str | None]]) -> None:
    asked = [Asked(n, "x.y", effect, commit, answer) for n, (effect, commit, answer) in enumerate(rows, 1)]
    model = False
    for effect, commit, answer in rows:
        unanswered = effect == "act" and answer is None
        doubtful = effect == "act" and answer == "in_doubt"
        committed = effect == "act" and commit and answer == "done"
        model = model or unanswered or doubtful or committed
    assert may_have_acted(asked) == model


@given(ASKED)
def test_replies_are_matched_to_what_was_asked(rows: list[tuple[str, bool, str | None]]) -> None:
    """Each reply stands in the entry after its instruction; the last one may be missing."""
    journal: list[dict[str, Any]] = []
    reply = None
    for n, (effect, commit, answer) in enumerate(rows, 1):
        journal.append(instruction(n, "t", effect=effect, commit=commit, reply=reply))
        reply = {"seq": n, "outcome": answer} if answer else None
    journal.append(entry(len(rows) + 1, Kind.OUTCOME, phase=Phase.TASK, task="t", attempt=1, outcome={}, reply=reply))
    found = asked_in_task(journal, "t", 1)
    assert [(one.effect, one.commit, one.answered) for one in found] == rows


def test_other_attempts_and_setup_are_not_counted() -> None:
    journal = [
        entry(
            1,
            Kind.INSTRUCTION,
            phase=Phase.SETUP,
            instruction={"name": "browser.open", "effect": "act", "commit": False},
        ),
        instruction(2, "other", commit=True, reply={"seq": 1, "outcome": "done"}),
        entry(
            3, Kind.OUTCOME, phase=Phase.TASK, task="other", attempt=1, outcome={}, reply={"seq": 2, "outcome": "done"}
        ),
    ]
    assert asked_in_task(journal, "t", 1) == []
