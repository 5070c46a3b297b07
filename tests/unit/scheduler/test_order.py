"""Which task goes next on which robot, and which go with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.core.inputs import InputCheck
from services.scheduler.core.opening import Opening, run_document
from services.scheduler.core.order import (
    Workflow,
    by_level,
    head_of,
    parse_key,
    retry_policy,
    scenario_of,
    target_for,
    tasks_of_run,
    workflow_of,
)
from shared.domain.priority import Head, ListKey, list_keys
from shared.domain.retry import InDoubtPolicy, RetryPolicy, RetryPosition

TAX = Workflow("acme", "tax", current=2, priority=3)
WORKFLOWS = {TAX.id: TAX}
names = st.from_regex(r"\A[a-z0-9][a-z0-9_-]{0,20}\Z")


def _first(list_: str, rank: int = 5, id: str = "task_1") -> dict[str, Any]:
    return {"_id": id, "queue": {"list": list_, "rank": rank}}


@given(names, names)
def test_lists_are_read_as_they_are_written(account: str, workflow: str) -> None:
    for key in list_keys(account, workflow):
        assert parse_key(str(key)) == key


@pytest.mark.parametrize("text", ["", "acme", "acme/tax", "acme/tax/1/2", "//1"])
def test_what_is_no_list_is_no_list(text: str) -> None:
    assert parse_key(text) is None


def test_heads_count_with_their_own_priority_or_the_workflows() -> None:
    own, inherited = head_of(_first("acme/tax/5"), WORKFLOWS), head_of(_first("acme/tax/i"), WORKFLOWS)
    assert own is not None
    assert own.level == 5
    assert inherited is not None
    assert inherited.level == 3
    assert head_of(_first("acme/other/5"), WORKFLOWS) is None


def test_a_robot_of_one_account_never_sees_another_ones_tasks() -> None:
    mine = Head(ListKey("acme", "tax", "0"), "task_1", 0, 9)
    theirs = Head(ListKey("evil", "tax", "5"), "task_2", 5, 1)
    assert target_for([mine, theirs], "acme") == mine
    assert target_for([mine, theirs], None) == theirs
    assert target_for([theirs], "acme") is None


def test_lists_of_equal_level_are_read_as_one() -> None:
    heads = [head_of(_first(f"acme/tax/{own}", id=own), WORKFLOWS) for own in ("1", "3", "i", "5")]
    other = Head(ListKey("acme", "other", "5"), "x", 5, 1)
    groups = by_level([*(head for head in heads if head), other], TAX)
    assert groups == [["acme/tax/5"], ["acme/tax/3", "acme/tax/i"], ["acme/tax/1"]]


def test_unpublished_workflows_have_no_order() -> None:
    assert workflow_of({"account": "acme", "name": "tax", "settings": {}}) is None
    assert workflow_of({"account": "acme", "name": "tax", "current": 1}) == Workflow("acme", "tax", 1, 1)


def test_settings_give_the_retry_policy() -> None:
    retry = {"attempts": 4, "position": "front", "delay": 5.0, "in_doubt": "fail"}
    assert retry_policy({"retry": retry}) == RetryPolicy(4, RetryPosition.FRONT, 5.0, InDoubtPolicy.FAIL)
    assert retry_policy({"retry": {"delay_s": 7.0}}).delay_s == 7.0
    assert retry_policy({}) == retry_policy(None) == RetryPolicy()


@pytest.mark.parametrize(("max_tasks", "taken"), [(20, 20), (0, 1), (5000, 1000)])
def test_a_run_takes_as_many_tasks_as_its_scenario_says(max_tasks: int, taken: int) -> None:
    assert tasks_of_run({"scenarios": [{"name": "a", "max_tasks": max_tasks}]}) == taken


def test_a_version_without_scenario_is_refused() -> None:
    with pytest.raises(ValueError, match="acme/tax/2"):
        scenario_of({"_id": "acme/tax/2", "scenarios": []})


def test_a_run_holds_the_tasks_that_it_got_in_their_order() -> None:
    at = datetime(2026, 11, 24, tzinfo=UTC)
    version = {"_id": "acme/tax/2", "scenarios": [{"name": "certificates", "max_tasks": 3}]}
    opening = Opening("run_1", TAX, version, "00155d01020a", 6, ["c", "a", "b"], 42, at)
    run = run_document(opening, {"a": 2, "c": 1})
    assert [(one["task"], one["attempt"]) for one in run["tasks"]] == [("c", 1), ("a", 2)]
    assert (run["epoch"], run["version"], run["scenario"], run["state"]) == (7, "acme/tax/2", "certificates", "opened")
    assert (run["pending"]["to"], run["token"], run["executor"], run["seed"]) == ("executor", 0, None, 42)


def test_inputs_are_checked_against_the_version() -> None:
    check = InputCheck(
        {"type": "object", "required": ["registration"], "properties": {"registration": {"type": "string"}}}
    )
    assert check.misfit({"registration": "1"}) is None
    assert "registration" in (check.misfit({}) or "")
    assert "registration: 1 is not" in (check.misfit({"registration": 1}) or "")


@pytest.mark.parametrize(
    "schema", [{"type": "nonsense"}, {"$ref": "#/nowhere"}, {"$ref": "https://example.com/schema"}]
)
def test_a_schema_that_cannot_be_used_holds_the_task_and_says_so(schema: dict[str, Any]) -> None:
    assert "schema" in (InputCheck(schema).misfit({}) or "")
