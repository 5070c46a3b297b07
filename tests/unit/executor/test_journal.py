"""Where a run stands after any journal, and what an attempt may have done, against slow and obvious models."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from services.executor.core.journal import RECENT_MAX, Kind, Phase, Standing, standing_of


def entry(seq: int, kind: Kind, **fields: Any) -> dict[str, Any]:
    return {
        "seq": seq, "kind": kind, "phase": None, "task": None, "attempt": None, "reply": None, "epoch": 1, **fields
    }  # fmt: skip


def begins(seq: int, phase: Phase, task: str | None = None, **fields: Any) -> dict[str, Any]:
    return entry(seq, Kind.PHASE, phase=phase, task=task, attempt=1 if task else None, **fields)


def instruction(
    seq: int, task: str | None, *, effect: str = "act", commit: bool = False, name: str = "browser.click", **fields: Any
) -> dict[str, Any]:
    asked = {"name": name, "effect": effect, "commit": commit}
    phase = Phase.TASK if task else Phase.SETUP
    return entry(
        seq, Kind.INSTRUCTION, **{"phase": phase, "task": task, "attempt": 1, "instruction": asked, **fields}
    )  # fmt: skip


def outcome(seq: int, phase: Phase, state: str = "succeeded", task: str | None = None, **fields: Any) -> dict[str, Any]:
    return entry(seq, Kind.OUTCOME, phase=phase, task=task, attempt=1, outcome={"state": state}, **fields)


def test_a_new_run_begins_with_setup() -> None:
    standing = standing_of([])
    assert (standing.seq, standing.hand, standing.setup_ok, standing.end) == (0, None, None, None)


def test_a_phase_that_began_without_an_instruction_begins_anew() -> None:
    standing = standing_of([begins(1, Phase.SETUP)])
    assert standing.hand is not None
    assert (standing.hand.phase, standing.hand.waiting) == (Phase.SETUP, None)


def test_a_takeover_does_not_change_where_the_work_stands() -> None:
    standing = standing_of([begins(1, Phase.TASK, "t"), instruction(2, "t"), entry(3, Kind.TAKEOVER)])
    assert standing.hand is not None
    assert standing.hand.waiting is not None
    assert (standing.seq, standing.hand.waiting["seq"], standing.hand.task) == (3, 2, "t")


def test_a_lost_robot_is_remembered_with_the_outcome() -> None:
    ended = outcome(3, Phase.TASK, "held", "t", robot_lost=True)
    standing = standing_of([begins(1, Phase.TASK, "t"), instruction(2, "t"), ended])
    assert standing.robot_lost
    assert standing.done == {("t", 1)}
    assert standing.outcome == ended


def test_a_setup_within_a_task_comes_back_to_the_task() -> None:
    """The run gave its robot back at entry 5; the new robot is set up for it, then it goes on where it waited."""
    journal = [
        begins(1, Phase.SETUP), outcome(2, Phase.SETUP), begins(3, Phase.TASK, "t"), instruction(4, "t", commit=True),
        instruction(5, "t", effect="read", name="regente.decide", elapsed_s=7.0, reply={"seq": 4, "outcome": "done"}),
        entry(6, Kind.TAKEOVER), begins(7, Phase.SETUP, epoch=2, worker="w2"), instruction(8, None, epoch=2),
    ]  # fmt: skip
    standing = standing_of(journal)
    assert standing.hand is not None
    assert standing.aside is not None
    assert (standing.hand.phase, standing.aside.task) == (Phase.SETUP, "t")
    standing.add(outcome(9, Phase.SETUP, epoch=2, worker="w2", reply={"seq": 8, "outcome": "done"}))
    assert standing.hand is not None
    assert standing.hand.waiting is not None
    assert (standing.hand.task, standing.hand.waiting["seq"], standing.hand.elapsed_s) == ("t", 5, 7.0)
    assert (standing.aside, standing.setup_seq, standing.setup_desk) == (None, 2, ("w2", 2))
    assert standing.may_have_acted(None), "its commit is not forgotten"
    standing.add(instruction(10, "t", effect="read", reply={"seq": 5, "outcome": "done"}))
    assert standing.recent_with(None)[1]["outcome"] == "done"


def test_a_warm_run_may_have_the_same_task_twice() -> None:
    standing = standing_of([begins(1, Phase.TASK, "t"), outcome(2, Phase.TASK, "retry", "t")])
    standing.add({**begins(3, Phase.TASK, "t"), "attempt": 2})
    assert standing.done == {("t", 1)}
    assert standing.begun == {("t", 1): 1, ("t", 2): 3}


ANSWERS = st.sampled_from([None, "done", "error", "refused", "in_doubt"])
ASKED = st.lists(st.tuples(st.sampled_from(["read", "act"]), st.booleans(), ANSWERS), max_size=8)


@given(ASKED, st.booleans())
def test_what_may_have_been_done_is_never_overlooked(rows: list[tuple[str, bool, str | None]], stored: bool) -> None:
    """Each reply stands in the entry after its instruction; the last one may be noted only, or missing."""
    standing = standing_of([begins(1, Phase.TASK, "t")])
    reply = None
    for n, (effect, commit, answer) in enumerate(rows, 2):
        standing.add(instruction(n, "t", effect=effect, commit=commit, reply=reply))
        reply = {"seq": n, "outcome": answer} if answer else None
    if stored and reply is not None:
        standing.add(entry(len(rows) + 2, Kind.TAKEOVER, reply=reply))
        reply = None
    expected = any(
        effect == "act" and (answer in (None, "in_doubt") or (commit and answer == "done"))
        for effect, commit, answer in rows
    )
    assert standing.may_have_acted(reply) == expected
    assert standing.refused_only(reply) == all(answer == "refused" for _, _, answer in rows)


def test_other_attempts_and_setup_are_not_counted() -> None:
    journal = [
        begins(1, Phase.SETUP), instruction(2, None), outcome(3, Phase.SETUP), begins(4, Phase.TASK, "other"),
        instruction(5, "other", commit=True), outcome(6, Phase.TASK, "held", "other"), begins(7, Phase.TASK, "t"),
    ]  # fmt: skip
    assert not standing_of(journal).may_have_acted(None)


@given(st.integers(1, 400))
def test_its_size_does_not_grow_with_the_journal(count: int) -> None:
    standing = standing_of([begins(1, Phase.TASK, "t")])
    for n in range(2, count + 2):
        standing.add(instruction(n, "t", reply={"seq": n - 1, "outcome": "done", "duration_s": 0.1}))
    assert standing.instructions == count
    assert len(standing.recent) == min(count, RECENT_MAX)
    assert [row["seq"] for row in standing.recent] == list(range(max(2, count + 2 - RECENT_MAX), count + 2))
    assert _held(standing) <= 4 + RECENT_MAX


def _held(standing: Standing) -> int:
    """Entries and rows that it keeps."""
    kept = [standing.outcome, standing.aborted, standing.end, standing.hand and standing.hand.waiting]
    return sum(one is not None for one in kept) + len(standing.recent)
