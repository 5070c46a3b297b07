"""The sentence that says why a task is not running."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.gates import Gate, GateReason
from shared.domain.task_state import FINAL, HoldReason, TaskState
from shared.domain.why_waiting import AHEAD_COUNTED_MAX, Facts, Fleet, why_waiting

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
FREE = Fleet(authorised=2, connected=2, taking=2, free=1)
BUSY = Fleet(authorised=2, connected=2, taking=2, free=0)


def _facts(**fields: object) -> Facts:
    known = {"state": TaskState.QUEUED, "now": NOW, "workflow": "tax", "fleet": FREE}
    return Facts(**{**known, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (
            _facts(gate=Gate(GateReason.UNPUBLISHED, "its workflow tax has no published version")),
            "its workflow tax has no published version",
        ),
        (
            _facts(gate=Gate(GateReason.HELD, "its workflow tax is held"), not_before=NOW + timedelta(hours=1)),
            "its workflow tax is held",
        ),
        (
            _facts(gate=Gate(GateReason.CLOSED, "closed"), not_before=NOW + timedelta(hours=1)),
            "delayed until 2026-11-24T13:00:00Z",
        ),
        (
            _facts(group_runs=1, group_fields=("certificate",)),
            "a run is at work with the same certificate, as many as may be at once",
        ),
        (
            _facts(fleet=Fleet(2, 0, 0, 0, {"tags": 2}, {}, ("sap",))),
            "no authorised robot has all the tags that it needs (sap)",
        ),
        (
            _facts(fleet=Fleet(3, 0, 0, 0, {"tags": 2}, {}, ("sap",))),
            "the authorised robot that may run it is not connected",
        ),
        (
            _facts(fleet=Fleet(2, 2, 0, 0, {}, {"quarantine": 2})),
            "every connected robot is in quarantine after failures",
        ),
        (
            _facts(fleet=Fleet(2, 2, 0, 0, {}, {"quarantine": 1, "mode": 1})),
            "no connected robot takes work: 1 in quarantine after failures, 1 paused or stopped",
        ),
        (_facts(fleet=Fleet()), "no robot is authorised for its account"),
        (_facts(fleet=Fleet(authorised=1)), "the authorised robot is not connected"),
        (_facts(fleet=Fleet(authorised=3)), "none of the 3 authorised robots is connected"),
        (_facts(fleet=Fleet(authorised=3, connected=2)), "every connected robot is paused or stopped"),
        (_facts(fleet=BUSY), "it is the next one; all 2 robots are busy"),
        (_facts(fleet=Fleet(1, 1, 1, 0)), "it is the next one; the only robot is busy"),
        (_facts(), "it is the next one; a robot is free and about to take it"),
        (_facts(ahead=1), "behind 1 other"),
        (_facts(ahead=12, fleet=BUSY), "behind 12 others; all 2 robots are busy"),
        (_facts(ahead=AHEAD_COUNTED_MAX + 1), "behind more than 1000 others"),
        (_facts(not_before=NOW + timedelta(hours=1), in_queue=False), "delayed until 2026-11-24T13:00:00Z"),
        (_facts(not_before=NOW, in_queue=False), "its time has come; it is about to join the queue"),
        (_facts(deadline=NOW), "its deadline has passed; it is about to expire"),
        (_facts(state=TaskState.RUNNING, run="run_1"), "it is not waiting: run_1 works on it"),
        (_facts(state=TaskState.SUCCEEDED), "it is not waiting: it is succeeded"),
        (
            _facts(state=TaskState.HELD, hold_reason="person", hold_text="ask Ana first."),
            "held by a person: ask Ana first",
        ),
    ],
)
def test_sentences(facts: Facts, sentence: str) -> None:
    assert why_waiting(facts) == sentence


@pytest.mark.parametrize("reason", list(HoldReason))
def test_every_reason_for_a_hold_has_words(reason: HoldReason) -> None:
    said = why_waiting(_facts(state=TaskState.HELD, hold_reason=reason.value))
    assert said.startswith("held")
    assert f"({reason.value})" not in said


GATES = {True: Gate(), False: Gate(GateReason.HELD, "its workflow tax is held")}
fleets = st.lists(st.integers(0, 5), min_size=4, max_size=4).map(lambda n: Fleet(*sorted(n, reverse=True)))


@given(
    state=st.sampled_from(TaskState),
    published=st.booleans(),
    in_queue=st.booleans(),
    ahead=st.integers(0, AHEAD_COUNTED_MAX + 1),
    fleet=fleets,
    delay_s=st.none() | st.integers(-100, 100),
    hold_reason=st.none() | st.sampled_from([reason.value for reason in HoldReason]) | st.just("breaker"),
    hold_text=st.text(max_size=50),
)
def test_there_is_always_one_line_to_say(
    state: TaskState, published: bool, in_queue: bool, ahead: int, fleet: Fleet, delay_s: int | None,
    hold_reason: str | None, hold_text: str,
) -> None:  # fmt: skip
    not_before = None if delay_s is None else NOW + timedelta(seconds=delay_s)
    facts = Facts(
        state=state, now=NOW, workflow="tax", gate=GATES[published], not_before=not_before, in_queue=in_queue,
        hold_reason=hold_reason, hold_text=hold_text, ahead=ahead, fleet=fleet,
    )  # fmt: skip
    said = why_waiting(facts)
    assert said.strip()
    assert ("not waiting" in said) == (state in FINAL | {TaskState.RUNNING})
