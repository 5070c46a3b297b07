"""Calls, replies, endings and arguments: what follows from each."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.executor.core.args import checked, resolve, secret_names, secret_value
from services.executor.core.calls import (
    BusinessErrorCall,
    ClockCall,
    LogCall,
    RobotCall,
    SecretCall,
    ServerCall,
    WaitCall,
    read_call,
)
from services.executor.core.ending import (
    EndKind,
    PhaseEnd,
    aborted_by_its_canceller,
    checked_output,
    given_back,
    task_outcome,
)
from services.executor.core.reply import Again, Answer, InDoubt, Raise, Resume, RobotLost, answer_of, follow
from services.executor.interpreter import clock_answer
from shared.contracts.catalogue import BadCall, catalogue
from shared.contracts.messages import JournalPosition, ReplyError, ReplyOutcome, SessionState, WorkerReply
from shared.domain.retry import InDoubtPolicy, RetryPolicy
from shared.domain.run_state import RunEnd
from shared.script.modules import object_handle, secret_handle


def call(name: str, /, *args: Any, is_os: bool = False, **kwargs: Any) -> Any:
    return read_call(name, args, kwargs, is_os=is_os, instruction_s=0.0)


def reply(outcome: str, code: str = "", *, desktop: str = "kept", **fields: Any) -> WorkerReply:
    error = ReplyError(code=code, message="why") if code else None
    return WorkerReply(
        worker="w", session="s", journal=JournalPosition(id="j", counter=1), run="r", seq=1, epoch=1,
        outcome=ReplyOutcome(outcome), error=error, desktop=SessionState(desktop), **fields,
    )  # fmt: skip


def answer(outcome: str, code: str = "", *, desktop: str = "kept", **fields: Any) -> Answer:
    return answer_of(reply(outcome, code, desktop=desktop, **fields))


def test_an_instruction_gets_its_arguments_by_name() -> None:
    found = call("robot.browser.click", object_handle("go"), commit=True)
    assert isinstance(found, RobotCall)
    assert (found.args, found.commit, found.instruction.effect) == ({"target": {"$object": "go"}}, True, "act")


def test_a_wait_of_the_script_lengthens_the_robots_time() -> None:
    found = call("robot.browser.wait", object_handle("go"), timeout=120)
    assert found.timeout_s == 130


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("robot.browser.clik", (), {}),
        ("robot.browser.click", (), {}),
        ("robot.browser.click", ({}, 1), {}),
        ("robot.browser.click", ({},), {"speed": 3}),
        ("robot.browser.click", ({},), {"commit": "yes"}),
        ("robot.browser.wait", ({},), {"timeout": -1}),
        ("robot.browser.wait", ({},), {"timeout": True}),
        ("regente.secrets.get", (), {}),
        ("regente.secrets.get", (3,), {}),
        ("regente.nothing", ("x",), {}),
        ("os.system", ("rm",), {}),
    ],
)
def test_a_call_that_does_not_exist_is_refused(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    with pytest.raises(BadCall):
        call(name, *args, **kwargs)


def test_the_servers_own_calls() -> None:
    assert call("regente.secrets.get", "portal/a") == SecretCall("portal/a")
    assert call("regente.business_error", message="no") == BusinessErrorCall("no")
    assert call("regente.log.info", "hello", n=3) == LogCall("info", "hello", {"n": 3})
    assert call("time.sleep", 2, is_os=True) == WaitCall(2.0)
    assert call("date.today", is_os=True) == ClockCall("date.today")
    with pytest.raises(BadCall):
        call("open", "/etc/passwd", is_os=True)


def test_the_clock_answers_in_the_type_that_was_asked_for() -> None:
    at = dt.datetime(2026, 11, 24, 1, 2, 3, tzinfo=dt.UTC)
    assert clock_answer("time.time", at) == at.timestamp()
    assert clock_answer("date.today", at) == dt.date(2026, 11, 24)
    assert clock_answer("datetime.now", at) == at


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("TIMEOUT", TimeoutError),
        ("NOT_FOUND", LookupError),
        ("BAD_ARGUMENT", ValueError),
        ("NOT_ALLOWED", PermissionError),
        ("X", RuntimeError),
    ],
)
def test_a_robots_error_is_a_builtin_with_its_code(code: str, kind: type[Exception]) -> None:
    following = follow(answer("error", code))
    assert isinstance(following, Raise)
    assert type(following.exception) is kind
    assert str(following.exception) == f"{code}: why"


@given(
    st.sampled_from(list(ReplyOutcome)),
    st.sampled_from(["", "TIMEOUT", "BUSY", "STALE_EPOCH", "SESSION_LOST", "MALFORMED"]),
    st.booleans(),
)
def test_doubt_and_a_lost_desktop_never_reach_the_script(outcome: ReplyOutcome, code: str, lost: bool) -> None:
    following = follow(answer(outcome, code, desktop="lost" if lost else "kept"))
    if outcome is ReplyOutcome.IN_DOUBT:
        assert following == InDoubt(following.text, desktop_lost=lost)  # type: ignore[union-attr]
    elif outcome is ReplyOutcome.REFUSED and code == "BUSY":
        assert isinstance(following, Again)
    elif outcome is ReplyOutcome.REFUSED and code == "MALFORMED":
        assert isinstance(following, InDoubt)
    elif lost or (outcome is ReplyOutcome.REFUSED and code in ("STALE_EPOCH", "SESSION_LOST")):
        assert isinstance(following, RobotLost)
    else:
        assert isinstance(following, Resume | Raise)


def test_a_value_that_did_not_fit_is_no_silence() -> None:
    following = follow(answer("done", value_too_large=True))
    assert isinstance(following, Raise)
    assert "VALUE_TOO_LARGE" in str(following.exception)


POLICIES = st.builds(RetryPolicy, attempts=st.integers(1, 5), in_doubt=st.sampled_from(list(InDoubtPolicy)))


@given(POLICIES, st.sampled_from(list(EndKind)), st.integers(1, 6), st.booleans())
def test_what_may_have_been_done_is_repeated_only_where_the_workflow_says_so(
    policy: RetryPolicy, kind: EndKind, attempt: int, acted: bool
) -> None:
    outcome = task_outcome(PhaseEnd(kind, output={}), policy=policy, attempt=attempt, may_have_acted=acted)
    if kind is EndKind.RETURNED:
        assert outcome.state == "succeeded"
    elif kind is EndKind.BUSINESS:
        assert outcome.state == "failed"
    elif kind is EndKind.CANCELLED:
        assert outcome.state == "cancelled"
    elif outcome.state == "retry":
        assert attempt < policy.attempts
        assert policy.in_doubt is InDoubtPolicy.RETRY or not (acted or kind is EndKind.IN_DOUBT)
    elif outcome.state == "held":
        assert policy.in_doubt is InDoubtPolicy.HOLD
        assert acted or kind is EndKind.IN_DOUBT


@pytest.mark.parametrize("output", [[1], "x", {"a": float("nan")}, {"a": object()}, {"a": "x" * 300_000}])
def test_a_result_that_is_no_plain_dict_fails_the_attempt(output: Any) -> None:
    value, problem = checked_output(output)
    assert value is None
    assert problem
    assert (
        task_outcome(
            PhaseEnd(EndKind.RETURNED, output=output), policy=RetryPolicy(), attempt=1, may_have_acted=False
        ).state
        == "failed"
    )


def test_a_failing_setup_does_not_spin() -> None:
    outcomes = [given_back(RunEnd.SETUP_FAILED, "log-in refused", setup_failures=n) for n in range(8)]
    assert {one.state for one in outcomes} == {"not_started"}, "the scenario is held, not its tasks"
    assert [one.delay_s for one in outcomes] == [5, 15, 45, 135, 405, 600, 600, 600]
    assert given_back(RunEnd.ROBOT_LOST, "", setup_failures=9).delay_s == 0


def test_secrets_and_objects_become_values_only_in_the_message() -> None:
    args = {"target": object_handle("go"), "text": secret_handle("portal/pin"), "n": 1}
    assert secret_names(args) == {"portal/pin"}
    resolved = resolve(checked(args), {"go": {"selectors": ["css=#go"]}}, {"portal/pin": "1234"})
    assert resolved == {"target": {"$object": "go", "selectors": ["css=#go"]}, "text": "1234", "n": 1}
    with pytest.raises(BadCall):
        resolve({"t": object_handle("gone")}, {}, {})
    with pytest.raises(BadCall):
        checked({"x": b"bytes"})
    assert secret_value({"kind": "text", "text": "t"}) == "t"


def test_every_instruction_of_the_catalogue_can_be_called() -> None:
    assert len(catalogue()) >= 20
    for name, instruction in catalogue().items():
        args = {p.name: "x" for p in instruction.parameters if p.required}
        if instruction.place == "robot":
            assert isinstance(call(f"robot.{name}", **args), RobotCall)
            continue
        assert isinstance(call(f"regente.{name}", **args), ServerCall)
        with pytest.raises(BadCall):
            call(f"robot.{name}", **args)


@pytest.mark.parametrize(
    ("code", "cancelled", "acted", "state"),
    [
        ("ABORTED", True, False, "cancelled"),
        ("ABORTED", True, True, "held"),
        ("ABORTED", False, False, "failed"),
        ("TASK_TIMEOUT", True, False, "failed"),
    ],
)
def test_an_aborted_task_is_cancelled_unless_it_may_have_acted(
    code: str, cancelled: bool, acted: bool, state: str
) -> None:
    end = PhaseEnd(EndKind.SYSTEM, code=code, message="why")
    ended = aborted_by_its_canceller(end, cancelled=cancelled, may_have_acted=acted)
    assert task_outcome(ended, policy=RetryPolicy(attempts=1), attempt=1, may_have_acted=acted).state == state
