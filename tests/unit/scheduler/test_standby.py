"""Warm standby: what is to be kept ready, what a free robot opens, when a parked run ends, pauses after failures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.console.api.settings_change import SettingsChange
from services.console.core.settings import change_settings, stored_settings, stored_version
from services.scheduler.core.standby import PAUSE_MAX_S, TASKS_MAX, choose, judged, pause_after, why_end
from shared.contracts.settings_file import Settings
from shared.contracts.workflow_file import Scenario, WorkflowFile
from shared.domain.gates import rules_of
from shared.domain.scenario import place_key
from shared.domain.warm import Wish, is_parked, wishes

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
SCENARIOS: list[dict[str, Any]] = [
    {"name": "look", "group_by": ["certificate"], "warm": {"keep_alive_s": 60}, "when": [
        {"field": "kind", "op": "eq", "value": "look"}]},
    {"name": "issue", "group_by": ["certificate"]},
    {"name": "rest", "warm": {"keep_alive_s": 60}},
    {"name": "alone", "warm": None, "worker": False},
]  # fmt: skip
RULES = rules_of(
    {"warm": {"groups": [{"certificate": "x"}, {"certificate": "y"}, {"office": 1}, {"certificate": "x"}]}}
)
WISHES = wishes("acme", "tax", RULES, SCENARIOS)
ROBOT: dict[str, Any] = {"mode": "run", "drain": None, "exclusive": "acme/tax", "quarantine": None}


def _run(**more: Any) -> dict[str, Any]:
    run = {"version": "acme/tax/3", "locks": ["account/acme", WISHES[0].lock], "tasks": [], "worker": "r"}
    return {**run, **more}


def _why(run: dict[str, Any], robot: dict[str, Any] | None = None, wanted: list[Wish] = WISHES) -> str | None:
    return why_end(run, robot or ROBOT, workflow="acme/tax", version="acme/tax/3", wanted=wanted, now=NOW)


def test_one_run_is_wished_for_each_warm_scenario_and_named_group() -> None:
    assert [(wish.scenario, wish.values) for wish in WISHES] == [
        ("look", {"certificate": "x"}), ("look", {"certificate": "y"}), ("rest", {}),
    ]  # fmt: skip
    assert WISHES[0].key == place_key(SCENARIOS, {"kind": "look", "certificate": "x"}), "it is for just these tasks"
    assert len({wish.lock for wish in WISHES}) == 3
    assert [wish.group is None for wish in WISHES] == [False, False, True]


def test_work_goes_before_standby_unless_it_is_what_the_standby_is_for() -> None:
    assert choose(WISHES, None) is WISHES[0]
    assert choose(WISHES, WISHES[1].key) is WISHES[1]
    assert choose(WISHES, "another.00.key") is None
    assert choose([], None) is None


@pytest.mark.parametrize(
    ("run", "robot", "why"),
    [
        (_run(), ROBOT, None),
        (_run(), {**ROBOT, "mode": "pause"}, "its robot is set to pause"),
        (_run(), {**ROBOT, "drain": {"by": "ana"}}, "its robot is being drained"),
        (_run(), {**ROBOT, "exclusive": None}, "its robot is no longer exclusive to its workflow"),
        (_run(), {**ROBOT, "exclusive": "acme/land"}, "its robot is no longer exclusive to its workflow"),
        (_run(), {**ROBOT, "quarantine": {"until": NOW + timedelta(minutes=1)}}, "its robot is in quarantine"),
        (_run(version="acme/tax/2"), ROBOT, "a new version was published"),
        (_run(locks=["warm/acme/tax/look/other"]), ROBOT, "it is no longer to be kept warm"),
        (_run(tasks=[{}] * TASKS_MAX), ROBOT, "it has had 1000 tasks, as many as one run may have"),
        (_run(tasks=[{}] * (TASKS_MAX - 1)), ROBOT, None),
    ],
)
def test_when_a_parked_run_ends(run: dict[str, Any], robot: dict[str, Any], why: str | None) -> None:
    assert _why(run, robot) == why


@given(st.lists(st.sampled_from(["setup_failed", "warm_lost", "robot_lost", "stopped", "completed"]), max_size=12))
def test_pauses_grow_with_failures_in_a_row(ends: list[str]) -> None:
    """Against the obvious model: how many failures stand at the end of the line."""
    slot: dict[str, Any] = {}
    streak = 0
    for reason in ends:
        slot = pause_after({"end": {"reason": reason}}, slot, NOW)
        streak = streak + 1 if reason in ("setup_failed", "warm_lost", "robot_lost") else 0
        assert slot["failures"] == streak
        wanted = min(5.0 * 3.0 ** (streak - 1), PAUSE_MAX_S) if streak else None
        assert (slot["until"] is None) == (wanted is None)
        if wanted is not None:
            assert (slot["until"] - NOW).total_seconds() == wanted


def test_a_run_that_stood_ready_for_long_did_not_fail_at_once() -> None:
    lived = {"end": {"reason": "warm_lost"}, "started_at": NOW - timedelta(hours=1), "finished_at": NOW}
    assert pause_after(lived, {"failures": 7}, NOW)["failures"] == 1


@given(st.lists(st.sampled_from(["ended", "returned"]), max_size=8), st.lists(st.just("waiting"), max_size=3))
def test_what_has_ended_since_is_judged_once(done: list[str], left: list[str]) -> None:
    run: dict[str, Any] = {"tasks": [{"state": state} for state in [*done, *left]]}
    assert judged(run) == (0, len(done))
    assert judged({**run, "judged": len(done)}) == (len(done), len(done))


def test_a_run_stands_ready_only_when_nobody_is_about_to_change_it() -> None:
    run: dict[str, Any] = {"state": "waiting", "wait": {"kind": "warm"}, "executor": None, "abort": None}
    assert is_parked(run)
    for change in (
        {"executor": "executor-1"}, {"abort": {"kind": "after_task"}}, {"pending": {"to": "executor"}},
        {"state": "executing"}, {"wait": {"kind": "timer"}}, {"wait": None},
    ):  # fmt: skip
        assert not is_parked({**run, **change})


def test_the_files_say_what_is_kept_warm_and_how_often_it_is_kept_alive() -> None:
    scenario = {"name": "s", "script": "a.py", "warm": {"keep_alive": "5m"}}
    stored = stored_version(WorkflowFile.model_validate({"name": "tax", "scenarios": [scenario]}))
    assert stored["scenarios"][0]["warm"] == {"keep_alive_s": 300.0}
    settings = Settings.model_validate({"warm": {"groups": [{"certificate": "x"}, {"person.id": 7}]}})
    assert settings.model_dump(mode="json")["warm"] == {"groups": [{"certificate": "x"}, {"person.id": 7}]}
    with pytest.raises(ValidationError, match="warm keeps a robot ready"):
        Scenario.model_validate({**scenario, "worker": False})
    with pytest.raises(ValidationError):
        Settings.model_validate({"warm": {"groups": [{}]}})


def test_every_setting_can_be_changed_later() -> None:
    assert set(SettingsChange.model_fields) == set(Settings.model_fields)
    groups = {"groups": [{"certificate": "x"}]}
    changed = change_settings(stored_settings(Settings()), {"warm": groups})
    assert changed["warm"] == groups
    assert rules_of(changed).warm_groups == ({"certificate": "x"},)
    assert change_settings(changed, {"priority": 2})["warm"] == groups, "what is left out stays"
