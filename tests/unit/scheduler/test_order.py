"""Which task goes next on which robot, and which go with it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.scheduler.core.opening import Opening, run_document
from services.scheduler.core.order import (
    batch_max,
    fitting_scenarios,
    followers,
    head_of,
    lock_of_key,
    merge,
    parse_list,
    plan_of,
    retry_policy,
    robot_class,
)
from shared.domain.gates import Rules
from shared.domain.priority import list_keys
from shared.domain.retry import InDoubtPolicy, RetryPolicy, RetryPosition
from shared.domain.scenario import place_key
from shared.script.inputs import InputCheck

AGING = Rules(priority=3, every_us=100)
PLAIN = Rules(priority=3)
SCENARIOS = [
    {"name": "look", "when": [{"field": "kind", "value": "look"}], "group_by": ["certificate"], "tags": ["web"]},
    {"name": "issue", "when": [{"field": "kind", "value": "issue"}], "group_by": ["certificate"], "max_tasks": 5},
    {"name": "rest", "group_by": ["office"]},
]
PLAN = plan_of({"_id": "acme/tax/2", "scenarios": SCENARIOS})
names = st.from_regex(r"\A[a-z0-9][a-z0-9_-]{0,20}\Z")


def _first(list_: str, rank: int = 5, id: str = "task_1", key: str = "") -> dict[str, Any]:
    return {"_id": id, "queue": {"list": list_, "rank": rank, "key": key}}


def _key(**value: Any) -> str:
    return place_key(SCENARIOS, value)


@given(names, names)
def test_lists_are_read_as_they_are_written(account: str, workflow: str) -> None:
    for key in list_keys(account, workflow):
        assert parse_list(str(key)) == key


@pytest.mark.parametrize("text", ["", "acme", "acme/tax", "acme/tax/1/2", "//1"])
def test_what_is_no_list_is_no_list(text: str) -> None:
    assert parse_list(text) is None
    assert head_of(_first(text), PLAIN, 0) is None


def test_heads_count_with_their_own_priority_or_the_workflows_and_with_what_they_waited() -> None:
    levels = [
        head.level
        for rules, own, rank in ((PLAIN, "5", 0), (PLAIN, "i", 0), (AGING, "1", 0), (AGING, "1", 150), (AGING, "i", 0))
        if (head := head_of(_first(f"acme/tax/{own}", rank), rules, 250)) is not None
    ]
    assert levels == [5, 3, 3, 2, 5]


@given(st.lists(st.tuples(st.sampled_from("0135i"), st.integers(0, 40)), max_size=20), st.integers(0, 8))
def test_a_batch_is_the_beginning_of_the_whole_order(places: list[tuple[str, int]], limit: int) -> None:
    tasks = [_first(f"acme/tax/{own}", rank, f"t{n:02d}") for n, (own, rank) in enumerate(places)]
    rules = Rules(priority=3, every_us=10)

    def slow(task: dict[str, Any]) -> tuple[int, int, str]:
        own, rank = task["queue"]["list"][-1], task["queue"]["rank"]
        base = 3 if own == "i" else int(own)
        return (-min(5, base + (40 - rank) // 10), rank, task["_id"])

    assert merge(tasks, rules, 40, limit) == sorted(tasks, key=slow)[:limit]


@pytest.mark.parametrize(
    ("scenario", "room", "most"),
    [({"max_tasks": 20}, None, 20), ({"max_tasks": 0}, None, 1), ({"max_tasks": 5000}, None, 1000), ({}, None, 1),
     ({"max_tasks": 20}, 3, 3), ({"max_tasks": 2}, 3, 2)],
)  # fmt: skip
def test_a_run_takes_what_its_scenario_says_and_limits_leave(
    scenario: dict[str, Any], room: int | None, most: int
) -> None:
    assert batch_max(scenario, room) == most


def test_a_key_names_its_scenario_only_under_the_version_that_made_it() -> None:
    assert PLAN.scenario(_key(kind="issue", certificate="a")) == 1
    assert PLAN.scenario("00000000.01.") is None
    assert PLAN.stale("00000000.01.")
    assert PLAN.stale(None)
    assert not PLAN.stale(_key(kind="look"))


def test_a_robot_runs_the_scenarios_whose_tags_it_has() -> None:
    def fits(**robot: Any) -> frozenset[int]:
        return fitting_scenarios(robot, "acme", "tax", Rules(tags=frozenset({"win"})), PLAN)

    assert fits(tags=["win"]) == {1, 2}
    assert fits(tags=["win", "web"]) == {0, 1, 2}
    assert fits(tags=["web"]) == frozenset()
    assert fits(tags=["win", "web"], account="other") == frozenset()
    assert fits(tags=["win"], workflows=["acme/tax"]) == {1, 2}
    assert fits(tags=["win"], workflows=["acme/else"]) == frozenset()
    assert fits(tags=["win"], exclusive="acme/else") == frozenset()


def test_the_remaining_scenarios_of_a_group_come_next_in_their_order() -> None:
    key, other = _key(kind="issue", certificate="a"), _key(kind="look", certificate="a")
    assert followers(PLAN, key, [1]) == [(0, other)]
    assert followers(PLAN, other, [0]) == [(1, key)]
    assert followers(PLAN, key, [0, 1]) == []
    assert followers(PLAN, _key(kind="x", office="b"), [2]) == []
    assert followers(PLAN, "00000000.01.aa", []) == []


def test_the_group_of_a_key_is_one_over_all_workflows_unless_settings_say_otherwise() -> None:
    key = _key(kind="issue", certificate="a")
    assert lock_of_key("acme", "tax", Rules(), key) == lock_of_key("acme", "land", Rules(), key)
    own = Rules(group_of_workflow=True)
    assert lock_of_key("acme", "tax", own, key) != lock_of_key("acme", "land", own, key)
    assert lock_of_key("acme", "tax", Rules(), f"{PLAN.layout}.01.") is None


def test_robots_of_one_class_may_stand_in_for_one_another() -> None:
    assert robot_class({"tags": ["b", "a"], "epoch": 1}) == robot_class({"tags": ["a", "b"], "workflows": None})
    assert robot_class({"tags": ["a"]}) != robot_class({"tags": ["a"], "account": "acme"})


def test_settings_give_the_retry_policy() -> None:
    retry = {"attempts": 4, "position": "front", "delay": 5.0, "in_doubt": "fail"}
    assert retry_policy({"retry": retry}) == RetryPolicy(4, RetryPosition.FRONT, 5.0, InDoubtPolicy.FAIL)
    assert retry_policy({"retry": {"delay_s": 7.0}}).delay_s == 7.0
    assert retry_policy({}) == retry_policy(None) == RetryPolicy()


def test_a_run_holds_the_tasks_that_it_got_in_their_order() -> None:
    at = datetime(2026, 11, 24, tzinfo=UTC)
    opening = Opening(
        run="run_1", account="acme", workflow="tax", version="acme/tax/2", scenario="issue", worker="00155d01020a",
        epoch_before=6, tasks=["c", "a", "b"], seed=42, at=at, group={"certificate": "x"}, locks=["account/acme"],
    )  # fmt: skip
    run = run_document(opening, {"a": 2, "c": 1})
    assert [(one["task"], one["attempt"]) for one in run["tasks"]] == [("c", 1), ("a", 2)]
    assert (run["epoch"], run["version"], run["scenario"], run["state"]) == (7, "acme/tax/2", "issue", "opened")
    assert (run["pending"]["to"], run["token"], run["executor"], run["seed"]) == ("executor", 0, None, 42)
    assert (run["group"], run["locks"]) == ({"certificate": "x"}, ["account/acme"])


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
