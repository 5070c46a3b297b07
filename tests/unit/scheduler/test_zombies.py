"""A run that ended without a word about a task: its journal says whether the task may be repeated."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.core.zombies import verdict
from shared.domain.retry import InDoubtPolicy, RetryPolicy, Verdict

POLICY = RetryPolicy(attempts=3)


def _asked(
    seq: int, effect: str, *, commit: bool = False, task: str = "t", attempt: int = 1, **more: Any
) -> dict[str, Any]:
    instruction = {"effect": effect, "commit": commit}
    return {"seq": seq, "kind": "instruction", "task": task, "attempt": attempt, "instruction": instruction, **more}


def _reply(seq: int, outcome: str) -> dict[str, Any]:
    return {"reply": {"seq": seq, "outcome": outcome}}


BEGAN = {"seq": 1, "kind": "phase", "task": "t", "attempt": 1}
END = {"seq": 9, "kind": "end"}


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], None),
        ([BEGAN], None),
        ([BEGAN, _asked(2, "act", commit=True, task="other")], None),
        ([BEGAN, _asked(2, "act", commit=True, attempt=2)], None),
        ([BEGAN, _asked(2, "read")], Verdict.RETRY),
        ([BEGAN, _asked(2, "act")], Verdict.HOLD),
        ([BEGAN, _asked(2, "act"), {**END, **_reply(2, "in_doubt")}], Verdict.HOLD),
        ([BEGAN, _asked(2, "act"), {**END, **_reply(2, "done")}], Verdict.RETRY),
        ([BEGAN, _asked(2, "act"), {**END, **_reply(2, "error")}], Verdict.RETRY),
        ([BEGAN, _asked(2, "act", commit=True), {**END, **_reply(2, "done")}], Verdict.HOLD),
        ([BEGAN, _asked(2, "act", commit=True), {**END, **_reply(2, "refused")}], Verdict.RETRY),
        ([BEGAN, _asked(2, "act"), _asked(3, "read", **_reply(2, "done"))], Verdict.RETRY),
        ([BEGAN, _asked(2, "act", commit=True), _asked(3, "read", **_reply(2, "done"))], Verdict.HOLD),
    ],
)
def test_verdicts(steps: list[dict[str, Any]], expected: Verdict | None) -> None:
    assert verdict(steps, task="t", attempt=1, policy=POLICY) is expected


@given(
    st.lists(
        st.tuples(st.sampled_from(["read", "act"]), st.booleans(), st.sampled_from(["done", "error", "in_doubt", None]))
    ),
    st.integers(1, 5),
)
def test_what_may_have_been_done_is_never_repeated_by_itself(
    calls: list[tuple[str, bool, str | None]], attempt: int
) -> None:
    """Against the rule read aloud: hold when any act is unanswered or in doubt, or a commit was done."""
    steps: list[dict[str, Any]] = []
    before: str | None = None
    for seq, (effect, commit, answer) in enumerate(calls, start=1):
        reply = _reply(seq - 1, before) if before else {}
        steps.append(_asked(seq, effect, commit=commit, attempt=attempt, **reply))
        before = answer
    if before:
        steps.append({"seq": len(calls) + 1, "kind": "end", **_reply(len(calls), before)})
    doubtful = any(
        effect == "act" and (answer in (None, "in_doubt") or (commit and answer == "done"))
        for effect, commit, answer in calls
    )
    found = verdict(steps, task="t", attempt=attempt, policy=POLICY)
    if not calls:
        assert found is None
    elif doubtful:
        assert found is Verdict.HOLD
    else:
        assert found is (Verdict.RETRY if attempt < POLICY.attempts else Verdict.FAIL)


def test_a_workflow_may_choose_otherwise() -> None:
    steps = [_asked(1, "act", commit=True)]
    for choice, expected in ((InDoubtPolicy.FAIL, Verdict.FAIL), (InDoubtPolicy.RETRY, Verdict.RETRY)):
        policy = RetryPolicy(attempts=3, in_doubt=choice)
        assert verdict(steps, task="t", attempt=1, policy=policy) is expected
