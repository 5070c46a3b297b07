"""Waits and decisions as data: what is done about one at any time, and which answers are taken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.core.calls import DecideCall, Place, WaitCall, noted_call, place_of, read_call
from services.executor.core.reply import Answer, Raise, Resume, follow
from services.executor.core.waits import (
    DECIDE,
    PARK_FROM_S,
    WAIT,
    Expire,
    ParkAs,
    WaitHere,
    answer_problem,
    decision_document,
    decision_step,
    timer_step,
)
from shared.contracts.catalogue import BadCall
from shared.contracts.messages import ReplyOutcome
from shared.domain.decision import ANSWER_LENGTH_MAX, DecisionState

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)
RUN = {"_id": "run_1", "account": "acme", "workflow": "tax", "worker": "w"}


def entry(name: str, **args: Any) -> dict[str, Any]:
    return {"seq": 7, "at": AT, "phase": "task", "task": "t", "instruction": {"name": name, "args": args}}


def question(**args: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    asked = {"question": "Which one?", "options": ["a", "b"], "timeout": None, "default": None, "release": False}
    one = entry(DECIDE, **{**asked, **args})
    return one, decision_document(RUN, one, "run_1/00000007", None)


@given(st.floats(0, 1e6), st.floats(0, 2e6), st.booleans(), st.booleans())
def test_a_wait_ends_at_its_time_whoever_looks_and_when(
    seconds: float, later_s: float, release: bool, sit_out: bool
) -> None:
    one = entry(WAIT, seconds=seconds, release=release)
    now = AT + timedelta(seconds=later_s)
    step, left_s = timer_step(one, now, sit_out=sit_out), seconds - later_s
    if left_s <= -1e-3:
        assert isinstance(step, Answer)
    elif left_s >= 1e-3 and (sit_out or (left_s < PARK_FROM_S - 1e-3 and not release)):
        assert isinstance(step, WaitHere)
        assert step.seconds == pytest.approx(left_s, abs=1e-3)
    elif left_s > PARK_FROM_S or (release and left_s > 1e-3):
        assert isinstance(step, ParkAs)
        assert step.wait["due_at"] == AT + timedelta(seconds=seconds)
        assert step.wait["release"] == release


def test_a_question_parks_the_run_until_somebody_answers() -> None:
    one, decision = question()
    step = decision_step(one, decision, AT + timedelta(days=400))
    assert isinstance(step, ParkAs)
    assert (step.wait["kind"], step.wait["due_at"], step.wait["decision"]) == ("decision", None, decision["_id"])
    answered = {**decision, "state": DecisionState.ANSWERED, "answer": "b"}
    assert decision_step(one, answered, AT) == Answer(7, ReplyOutcome.DONE, value="b")


def test_after_its_time_the_default_counts_or_the_script_is_told() -> None:
    one, decision = question(timeout=60.0, default="a")
    assert isinstance(decision_step(one, decision, AT + timedelta(seconds=59)), ParkAs)
    assert isinstance(decision_step(one, decision, AT + timedelta(seconds=60)), Expire)
    step = decision_step(one, {**decision, "state": DecisionState.EXPIRED}, AT)
    assert isinstance(step, Answer)
    assert follow(step) == Resume("a")
    one, decision = question(timeout=60.0)
    step = decision_step(one, {**decision, "state": DecisionState.EXPIRED}, AT)
    assert isinstance(step, Answer)
    raised = follow(step)
    assert isinstance(raised, Raise)
    assert isinstance(raised.exception, TimeoutError)


@pytest.mark.parametrize(
    ("answer", "says"),
    [("c", "one of: a, b"), ("", "not empty"), (None, "a text"), ("x" * (ANSWER_LENGTH_MAX + 1), "at most")],
)
def test_an_answer_that_does_not_fit_is_refused_and_says_why(answer: Any, says: str) -> None:
    assert says in str(answer_problem(question()[1], answer, AT))


def test_only_an_open_question_in_time_is_answered() -> None:
    decision = question(timeout=60.0)[1]
    assert answer_problem(decision, "a", AT) is None
    assert "over" in str(answer_problem(decision, "a", AT + timedelta(seconds=61)))
    for state in set(DecisionState) - {DecisionState.OPEN}:
        assert state.value in str(answer_problem({**decision, "state": state}, "a", AT))
    assert answer_problem(question(options=[])[1], "anything", AT) is None


def _noted(name: str, *args: Any, phase: str = "task", is_os: bool = False, **kwargs: Any) -> Any:
    call = read_call(name, args, kwargs, is_os=is_os, instruction_s=60.0)
    assert isinstance(call, WaitCall | DecideCall)
    return noted_call(call, phase=phase, noted_from_s=1.0)


def test_sleeping_and_waiting_are_the_same() -> None:
    assert _noted("time.sleep", 40, is_os=True) == _noted("regente.wait", 40)
    assert _noted("regente.wait", seconds=0.5) is None
    assert _noted("regente.wait", 0.5, release=True).args == {"seconds": 0.5, "release": True}
    assert place_of(WAIT) is place_of(DECIDE) is Place.WAIT
    assert (place_of("browser.click"), place_of("http.request")) == (Place.ROBOT, Place.SERVER)


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "phase"),
    [
        ("regente.wait", (-1,), {}, "task"),
        ("regente.wait", (float("nan"),), {}, "task"),
        ("regente.wait", ("5",), {}, "task"),
        ("regente.wait", (True,), {}, "task"),
        ("regente.wait", (31 * 86400,), {}, "task"),
        ("regente.wait", (301,), {}, "teardown"),
        ("regente.wait", (60,), {"release": True}, "setup"),
        ("regente.wait", (60, True), {}, "task"),
        ("regente.wait", (), {}, "task"),
        ("regente.decide", ("",), {}, "task"),
        ("regente.decide", ("x" * 2001,), {}, "task"),
        ("regente.decide", ("x",), {"options": ["a", "a"]}, "task"),
        ("regente.decide", ("x",), {"options": "ab"}, "task"),
        ("regente.decide", ("x",), {"options": [1]}, "task"),
        ("regente.decide", ("x",), {"options": ["a"], "default": "b"}, "task"),
        ("regente.decide", ("x",), {"timeout": 0}, "task"),
        ("regente.decide", ("x",), {"colour": "red"}, "task"),
        ("regente.decide", ("x",), {}, "teardown"),
        ("regente.decide", ("x",), {"release": True}, "setup"),
    ],
)
def test_a_wait_that_makes_no_sense_is_refused(
    name: str, args: tuple[Any, ...], kwargs: dict[str, Any], phase: str
) -> None:
    with pytest.raises(BadCall):
        _noted(name, *args, phase=phase, **kwargs)
