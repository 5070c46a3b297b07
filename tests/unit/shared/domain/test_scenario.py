"""Which scenario takes a task, and which tasks share a group."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.conditions import Operator, value_problem
from shared.domain.place_keys import PlaceKeys
from shared.domain.scenario import (
    Key,
    group_digest,
    group_values,
    holds,
    layout,
    matching,
    parse_key,
    place_key,
    task_key,
)

TAX = {"name": "tax", "when": [{"field": "kind", "op": "eq", "value": "tax"}], "group_by": ["certificate"]}
LAND = {"name": "land", "when": [{"field": "kind", "op": "in", "value": ["land", "house"]}], "group_by": []}
REST = {"name": "rest"}

scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | st.text("ab1", max_size=3)
inputs = st.dictionaries(st.sampled_from(["kind", "certificate", "n"]), scalars | st.lists(scalars, max_size=2))
fields = st.sampled_from(["kind", "certificate", "n", "kind.deep"])


@st.composite
def conditions(draw: st.DrawFn) -> dict[str, Any]:
    op = draw(st.sampled_from(Operator))
    values = {
        Operator.IN: st.lists(scalars, min_size=1, max_size=3),
        Operator.NOT_IN: st.lists(scalars, min_size=1, max_size=3),
        Operator.EXISTS: st.booleans(),
        Operator.STARTS_WITH: st.text("ab1", max_size=2),
    }
    ordered = st.integers(-9, 9) | st.floats(-9, 9) | st.text("ab1", max_size=2)
    if op in (Operator.LT, Operator.LE, Operator.GT, Operator.GE):
        values[op] = ordered
    return {"field": draw(fields), "op": op.value, "value": draw(values.get(op, scalars))}


scenario_lists = st.lists(
    st.fixed_dictionaries(
        {
            "name": st.text("abc", min_size=1, max_size=2),
            "when": st.lists(conditions(), max_size=3),
            "group_by": st.lists(fields, max_size=2, unique=True),
        }
    ),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize(
    ("op", "value", "found", "met"),
    [
        ("eq", 1, 1.0, True),
        ("eq", 1, True, False),
        ("eq", "1", 1, False),
        ("eq", None, None, True),
        ("ne", "a", "b", True),
        ("in", ["a", 2], 2, True),
        ("in", ["a", 2], "2", False),
        ("not_in", ["a"], "b", True),
        ("lt", 5, 4.5, True),
        ("lt", 5, "4", False),
        ("ge", "b", "b", True),
        ("gt", 1, True, False),
        ("starts_with", "SP-", "SP-123", True),
        ("starts_with", "SP-", 5, False),
        ("contains", "b", "abc", True),
        ("contains", "b", ["a", "b"], True),
        ("contains", 1, "1", False),
        ("exists", True, "", True),
        ("exists", True, None, False),
        ("exists", False, None, True),
    ],
)
def test_operators(op: str, value: Any, found: Any, met: bool) -> None:
    assert holds({"field": "f", "op": op, "value": value}, {"f": found}) is met


@pytest.mark.parametrize("op", ["eq", "in", "lt", "starts_with", "contains"])
def test_a_missing_field_meets_nothing_that_asks_for_a_value(op: str) -> None:
    value = [None] if op == "in" else None if op == "eq" else "a"
    assert not holds({"field": "gone.deeper", "op": op, "value": value}, {"gone": "text"})


@pytest.mark.parametrize("op", ["ne", "not_in"])
def test_a_missing_field_is_not_equal_to_anything(op: str) -> None:
    assert holds({"field": "gone", "op": op, "value": ["a"] if op == "not_in" else "a"}, {})


def test_the_first_scenario_that_fits_takes_the_task() -> None:
    scenarios = [TAX, LAND, REST]
    assert matching(scenarios, {"kind": "tax"}) == 0
    assert matching(scenarios, {"kind": "house"}) == 1
    assert matching(scenarios, {"kind": "boat"}) == 2
    assert matching([TAX, LAND], {"kind": "boat"}) is None


def test_tasks_of_a_group_share_a_key_and_others_do_not() -> None:
    keys = [place_key([TAX, LAND], {"kind": "tax", "certificate": name, "n": n}) for n, name in enumerate("aab")]
    assert keys[0] == keys[1] != keys[2]
    assert parse_key(keys[0]) == Key(layout([TAX, LAND]), 0, group_digest({"certificate": "a"}))
    assert place_key([TAX, LAND], {"kind": "land"}).endswith(".01.")
    assert place_key([TAX, LAND], {"kind": "boat"}).endswith(".--.")


def test_a_layout_changes_with_conditions_and_groups_only() -> None:
    assert layout([TAX]) == layout([{**TAX, "script": "other.py", "max_tasks": 3, "tags": ["sap"]}])
    assert layout([TAX]) != layout([{**TAX, "group_by": []}])
    assert layout([TAX, LAND]) != layout([LAND, TAX])


def test_a_group_has_the_same_digest_in_every_workflow() -> None:
    other = {"name": "else", "group_by": ["certificate"]}
    value = {"kind": "tax", "certificate": "acme"}
    assert task_key([TAX], value).group == task_key([other], value).group != ""


@given(scenario_lists, inputs)
def test_the_key_is_the_obvious_models(scenarios: list[dict[str, Any]], value: dict[str, Any]) -> None:
    taking = [n for n, one in enumerate(scenarios) if all(holds(c, value) for c in one["when"])]
    key = task_key(scenarios, value)
    assert key.scenario == (taking[0] if taking else None)
    assert parse_key(str(key)) == key
    if taking:
        assert key.group == group_digest(group_values(scenarios[taking[0]], value))


@given(scenario_lists, st.lists(inputs, max_size=4))
def test_keys_of_many_tasks_are_those_of_each(scenarios: list[dict[str, Any]], values: list[dict[str, Any]]) -> None:
    keys = PlaceKeys(scenarios)
    for value in [*values, *values]:
        assert keys.of(value) == (matching(scenarios, value) is not None, place_key(scenarios, value))


def test_groups_that_are_equal_to_python_only_have_keys_of_their_own() -> None:
    keys = PlaceKeys([{"name": "all", "when": [], "group_by": ["n", "m"]}])
    values = [{"n": "a", "m": one} for one in (1, 1.0, True, "1", None)] * 2
    assert [keys.of(value)[1] for value in values] == [
        place_key([{"name": "all", "group_by": ["n", "m"]}], v) for v in values
    ]
    assert len({keys.of(value) for value in values}) == 5


@given(scenario_lists, inputs, inputs)
def test_two_tasks_share_a_key_exactly_when_scenario_and_values_are_the_same(
    scenarios: list[dict[str, Any]], one: dict[str, Any], other: dict[str, Any]
) -> None:
    first, second = matching(scenarios, one), matching(scenarios, other)

    def values(number: int | None, value: dict[str, Any]) -> str:
        return "" if number is None else repr(sorted(group_values(scenarios[number], value).items(), key=repr))

    same = first == second and values(first, one) == values(second, other)
    assert (place_key(scenarios, one) == place_key(scenarios, other)) is same


@given(conditions())
def test_conditions_that_were_let_in_can_be_applied_to_anything(condition: dict[str, Any]) -> None:
    assert value_problem(Operator(condition["op"]), condition["value"]) is None
    for value in ({}, {"kind": None}, {"kind": {"deep": [1]}}, {"n": [1, "a"]}, {"certificate": True}):
        assert holds(condition, value) in (True, False)


@pytest.mark.parametrize(
    ("op", "value"),
    [("in", "a"), ("in", []), ("eq", ["a"]), ("lt", True), ("gt", None), ("starts_with", 1), ("exists", "yes")],
)
def test_values_that_do_not_go_with_their_operator_are_refused(op: str, value: Any) -> None:
    assert value_problem(Operator(op), value)


@pytest.mark.parametrize("text", [None, "", "abc", "a.b.c", "abc.0x.f", ".00."])
def test_what_is_no_key_is_no_key(text: str | None) -> None:
    assert parse_key(text) is None
