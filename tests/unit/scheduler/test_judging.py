"""What a run says about its robot and its workflow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.core.judging import (
    QUARANTINE_AFTER,
    QUARANTINE_ANYWAY,
    QUARANTINE_PAUSES_S,
    SETUP_FAILURES_MAX,
    Judgement,
    circuit_after,
    failed_by_no_fault,
    health_after,
    judge,
    runs_after,
    scenario_after,
)
from shared.domain.gates import Rules

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
GOOD: dict[str, Any] = {"outcome": "succeeded"}
BUSINESS: dict[str, Any] = {"outcome": "failed", "failure": {"kind": "business", "code": "BUSINESS"}}
SYSTEM: dict[str, Any] = {"outcome": "failed", "failure": {"kind": "system", "code": "NOT_FOUND"}}
RETRY: dict[str, Any] = {"outcome": "retry", "failure": {"kind": "system", "code": "TIMEOUT"}}
DOUBT: dict[str, Any] = {"outcome": "held", "failure": {"kind": "in_doubt", "code": "IN_DOUBT"}}
BACK: dict[str, Any] = {"outcome": "not_started"}
CANCELLED: dict[str, Any] = {"outcome": "cancelled", "failure": {"kind": "system", "code": "CANCELLED"}}
ABORTED: dict[str, Any] = {"outcome": "retry", "failure": {"kind": "system", "code": "ABORTED"}}
LOGIN: dict[str, Any] = {"outcome": "retry", "failure": {"kind": "system", "code": "LOGIN_REJECTED"}}


def _run(*tasks: dict[str, Any], reason: str = "completed", **end: Any) -> dict[str, Any]:
    return {"tasks": list(tasks), "end": {"reason": reason, "text": "", **end}}


@pytest.mark.parametrize(
    ("run", "robot", "workflow"),
    [
        (_run(GOOD, SYSTEM, BUSINESS), True, (True, False, True)),
        (_run(SYSTEM, RETRY, DOUBT, BACK), False, (False, False, False)),
        (_run(BUSINESS), True, (True,)),
        (_run(CANCELLED, BACK, ABORTED), None, ()),
        (_run(BACK, reason="setup_failed", text="no page"), False, ()),
        (_run(GOOD, SYSTEM, BACK, reason="robot_lost"), False, (True,)),
        (_run(BACK, reason="setup_failed", code="LOGIN_REJECTED", text="no"), None, ()),
        (_run(), None, ()),
    ],
)
def test_judgements(run: dict[str, Any], robot: bool | None, workflow: tuple[bool, ...]) -> None:
    judgement = judge(run)
    assert (judgement.robot, judgement.workflow) == (robot, workflow)


def test_a_rejected_login_is_told_wherever_it_happened() -> None:
    assert judge(_run(BACK, reason="setup_failed", code="LOGIN_REJECTED", text="wrong")).login_rejected == "wrong"
    assert judge(_run(GOOD, LOGIN)).login_rejected
    assert judge(_run(GOOD, SYSTEM)).login_rejected is None


def test_a_rejected_login_holds_the_workflow_at_once() -> None:
    judgement = judge(_run(BACK, reason="setup_failed", code="LOGIN_REJECTED", text="wrong password"))
    fields = circuit_after(None, judgement, Rules(), "run_1", NOW) or {}
    assert (fields["state"], fields["reason"], fields["run"]) == ("open", "login_rejected", "run_1")
    assert "wrong password" in fields["text"]
    ignoring = circuit_after(None, judgement, Rules(login_rejected_holds=False), "run_1", NOW) or {}
    assert ignoring == {"state": "closed", "failures": 0, "runs": 1}


@given(st.lists(st.lists(st.booleans(), max_size=5), max_size=12), st.none() | st.integers(1, 6))
def test_the_breaker_opens_at_the_nth_failure_in_a_row(runs: list[list[bool]], most: int | None) -> None:
    """Against the obvious model: all attempts of all runs in one line."""
    circuit: dict[str, Any] = {"state": "closed", "failures": 0}
    for n, attempts in enumerate(runs):
        judgement = Judgement(robot=None, workflow=tuple(attempts))
        circuit.update(circuit_after(circuit, judgement, Rules(failures_max=most), f"run_{n}", NOW) or {})
    streak = longest = 0
    for well in (well for attempts in runs for well in attempts):
        streak = 0 if well else streak + 1
        longest = max(longest, streak)
    assert (circuit["state"] == "open") is (most is not None and longest >= most)
    if circuit["state"] == "closed":
        assert circuit["failures"] == streak


@given(st.lists(st.sampled_from([True, False, None]), max_size=25))
def test_a_scenario_is_held_at_the_nth_setup_in_a_row_that_fails(setups: list[bool | None]) -> None:
    """Against the obvious model: setups that came to an end, in one line."""
    circuit: dict[str, Any] = {}
    for n, well in enumerate(setups):
        judgement = Judgement(robot=None, workflow=(), failure="no page", setup=well)
        circuit.update(scenario_after(circuit, judgement, Rules(), f"run_{n}", NOW) or {})
    streak = longest = 0
    for well in (well for well in setups if well is not None):
        streak = 0 if well else streak + 1
        longest = max(longest, streak)
    assert (circuit.get("state") == "open") is (longest >= SETUP_FAILURES_MAX)
    if circuit.get("state") == "open":
        assert "5 times in a row; the last time: no page" in circuit["text"]
    else:
        assert circuit.get("failures", 0) == streak


@pytest.mark.parametrize(
    ("run", "setup"),
    [
        (_run(GOOD), True),
        (_run(BACK, RETRY), True),
        (_run(CANCELLED, reason="aborted"), True),
        (_run(BACK, reason="aborted"), None),
        (_run(BACK, reason="robot_lost"), None),
        (_run(BACK, reason="setup_failed"), False),
        (_run(), None),
    ],
)
def test_what_a_run_says_about_its_setup(run: dict[str, Any], setup: bool | None) -> None:
    assert judge(run).setup is setup


def test_a_failed_setup_counts_for_its_scenario_and_a_refused_login_for_the_workflow() -> None:
    failed = judge(_run(BACK, reason="setup_failed", text="no page"))
    assert circuit_after(None, failed, Rules(failures_max=1), "run_1", NOW) == {
        "state": "closed", "failures": 0, "runs": 1,
    }, "the workflow's other scenarios are not to blame"  # fmt: skip
    assert (scenario_after(None, failed, Rules(), "run_1", NOW) or {})["failures"] == 1
    rejected = judge(_run(BACK, reason="setup_failed", code="LOGIN_REJECTED", text="no"))
    assert scenario_after(None, rejected, Rules(), "run_1", NOW) is None
    ignoring = Rules(login_rejected_holds=False)
    assert (scenario_after(None, rejected, ignoring, "run_1", NOW) or {})["failures"] == 1


def test_an_open_breaker_stays_as_it_is_until_a_person_closes_it() -> None:
    held = {"state": "open", "failures": 5, "reason": "person"}
    assert circuit_after(held, Judgement(True, (True, True)), Rules(), "run_1", NOW) is None
    told = circuit_after(held, Judgement(None, (False,), "wrong password"), Rules(), "run_1", NOW) or {}
    assert told["reason"] == "login_rejected", "whoever releases it must know"


def test_a_robot_is_quarantined_for_longer_each_time_until_something_goes_well() -> None:
    worker: dict[str, Any] = {}
    pauses: list[float] = []
    for _ in range(QUARANTINE_AFTER + 5):
        fields = health_after(worker, False, "boom", NOW)
        worker.update(fields)
        if fields.get("quarantine"):
            pauses.append((fields["quarantine"]["until"] - NOW).total_seconds())
    assert pauses[:4] == list(QUARANTINE_PAUSES_S)
    assert pauses[4:] == [QUARANTINE_PAUSES_S[-1]] * 2
    assert health_after(worker, None, "", NOW) == {}
    worker.update(health_after(worker, True, "", NOW))
    assert (worker["failures"], worker["quarantine"]) == (0, None)
    assert health_after(worker, True, "", NOW) == {}


@pytest.mark.parametrize("count", [True, False])
def test_a_system_failure_uses_no_limit_up_unless_the_workflow_says_so(count: bool) -> None:
    counted = {"run": "run_1", "in": ["c1"]}
    tasks = [
        {"_id": "a", "state": "failed", "error": {"kind": "system"}, "counted": counted},
        {"_id": "b", "state": "failed", "error": {"kind": "business"}, "counted": counted},
        {"_id": "c", "state": "queued", "error": {"kind": "system"}, "counted": counted},
        {"_id": "d", "state": "failed", "error": {"kind": "system"}, "counted": None},
        {"_id": "f", "state": "held", "hold": {"reason": "in_doubt"}, "counted": counted},
    ]
    found = [task["_id"] for task in failed_by_no_fault(tasks, Rules(count_system_failures=count))]
    assert found == ([] if count else ["a"])


def test_a_robot_is_not_to_blame_for_a_workflow_that_fails_everywhere() -> None:
    worker: dict[str, Any] = {}
    circuit: dict[str, Any] = {}
    failing = Judgement(robot=False, workflow=(False, False))
    for n in range(1, QUARANTINE_ANYWAY + 1):
        circuit["runs"] = runs_after(circuit, failing)
        worker.update(health_after(worker, False, "x", NOW, workflow_failures=circuit["runs"]))
        assert bool(worker.get("quarantine")) is (n >= QUARANTINE_ANYWAY)
    assert runs_after(circuit, Judgement(True, (False, True))) == 0, "it went well somewhere"
    elsewhere = health_after({"failures": 2}, False, "x", NOW, workflow_failures=1)
    assert elsewhere["quarantine"]["times"] == 1


def test_pauses_end() -> None:
    fields = health_after({"failures": QUARANTINE_AFTER - 1}, False, "x", NOW)
    assert fields["quarantine"]["until"] == NOW + timedelta(seconds=QUARANTINE_PAUSES_S[0])
