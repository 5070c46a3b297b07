"""The checks of one pushed item, against a schema and a clock."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.intake.items import Item, Refused, check_item, digest_of, plainly_storable, storable
from shared.intake.schema import ERRORS_PER_ITEM_MAX, InputSchema, UnusableSchema

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
ANY = InputSchema({"type": "object"})
STRICT = InputSchema(
    {"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}, "additionalProperties": False}
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=12,
)
names = ("reference", "input", "priority", "not_before", "deadline", "x")
almost_items = st.fixed_dictionaries({}, optional=dict.fromkeys(names, json_values))


def check(raw: Any, schema: InputSchema = ANY) -> Item | Refused:
    return check_item(3, raw, schema=schema, now=NOW)


def refused(raw: Any, schema: InputSchema = ANY) -> list[tuple[str, str]]:
    found = check(raw, schema)
    assert isinstance(found, Refused)
    return [(complaint.code, complaint.path) for complaint in found.complaints]


def item(**fields: Any) -> dict[str, Any]:
    return {"reference": "r-1", "input": {}, **fields}


def test_a_whole_item_is_taken_with_its_times_in_utc() -> None:
    found = check(item(priority=5, not_before="2027-02-01T09:00:00-03:00", deadline="2027-02-02t00:00:00.1239z"))
    assert isinstance(found, Item)
    assert (found.index, found.reference, found.priority) == (3, "r-1", 5)
    assert found.not_before == datetime(2027, 2, 1, 12, tzinfo=UTC)
    assert found.deadline == datetime(2027, 2, 2, 0, 0, 0, 123000, tzinfo=UTC)


def test_null_is_the_same_as_left_out() -> None:
    assert isinstance(check(item(priority=None, not_before=None, deadline=None)), Item)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("text", [("MALFORMED", "")]),
        ({"input": {}}, [("MALFORMED", "/reference")]),
        (item(reference=""), [("MALFORMED", "/reference")]),
        (item(reference="x" * 201), [("MALFORMED", "/reference")]),
        (item(reference="a\nb"), [("MALFORMED", "/reference")]),
        (item(reference="\ud800"), [("MALFORMED", "/reference")]),
        (item(reference=7), [("MALFORMED", "/reference")]),
        ({"reference": "r"}, [("INVALID_INPUT", "/input")]),
        (item(input=[]), [("INVALID_INPUT", "/input")]),
        (item(input={"$where": 1}), [("INVALID_INPUT", "/input")]),
        (item(input={"a": {"b\x00": 1}}), [("INVALID_INPUT", "/input")]),
        (item(input={"a": 2**63}), [("INVALID_INPUT", "/input")]),
        (item(input={"a": float("inf")}), [("INVALID_INPUT", "/input")]),
        (item(input={"a": "\udfff"}), [("INVALID_INPUT", "/input")]),
        (item(input={"a": "x" * 1_048_577}), [("INVALID_INPUT", "/input")]),
        (item(priority=6), [("MALFORMED", "/priority")]),
        (item(priority=True), [("MALFORMED", "/priority")]),
        (item(priority=1.0), [("MALFORMED", "/priority")]),
        (item(priority="1"), [("MALFORMED", "/priority")]),
        (item(deadline="2027-01-31T12:00:00Z"), [("DEADLINE_PASSED", "/deadline")]),
        (item(deadline="2027-02-31T12:00:00Z"), [("MALFORMED", "/deadline")]),
        (item(deadline="2027-02-01T12:00:00"), [("MALFORMED", "/deadline")]),
        (item(deadline="2027-02-01"), [("MALFORMED", "/deadline")]),
        (item(deadline=1), [("MALFORMED", "/deadline")]),
        (item(not_before="0001-01-01T00:00:00+23:59"), [("MALFORMED", "/not_before")]),
        (item(not_before="2027-03-01T00:00:00Z", deadline="2027-02-01T00:00:00Z"), [("MALFORMED", "/not_before")]),
        (item(urgency=1), [("MALFORMED", "")]),
        (
            {"reference": 1, "priority": 9},
            [("MALFORMED", "/reference"), ("INVALID_INPUT", "/input"), ("MALFORMED", "/priority")],
        ),
    ],
)  # fmt: skip
def test_each_rule_is_told_with_its_place(raw: Any, expected: list[tuple[str, str]]) -> None:
    assert refused(raw) == expected


def test_an_unknown_field_is_told_by_name() -> None:
    found = check(item(urgency=1))
    assert isinstance(found, Refused)
    assert "'urgency'" in found.complaints[0].message


def test_the_schema_speaks_with_json_pointers() -> None:
    assert refused(item(input={"a": 1}), STRICT) == [("INVALID_INPUT", "/input/a")]
    nested = InputSchema({"properties": {"a/b": {"items": {"type": "integer"}}}})
    assert refused(item(input={"a/b": [1, "x"]}), nested) == [("INVALID_INPUT", "/input/a~1b/1")]


def test_errors_of_one_item_are_limited_in_number_and_length() -> None:
    schema = InputSchema({"additionalProperties": {"type": "integer"}})
    found = check(item(input={f"n{i}": "x" * 1000 for i in range(50)}), schema)
    assert isinstance(found, Refused)
    assert len(found.complaints) == ERRORS_PER_ITEM_MAX
    assert all(len(complaint.message) <= 300 for complaint in found.complaints)


def test_a_refused_item_keeps_its_digest_so_that_an_earlier_acceptance_is_found() -> None:
    late = check(item(input={"a": 1}, deadline="2020-01-01T00:00:00Z"))
    assert isinstance(late, Refused)
    assert late.digest == digest_of({"a": 1})


@pytest.mark.parametrize(
    "schema", [{"type": 5}, {"$ref": "https://elsewhere.example/schema.json"}, {"$ref": "#/$defs/no"}]
)
def test_a_schema_that_cannot_be_used_is_not_the_items_fault(schema: dict[str, Any]) -> None:
    with pytest.raises(UnusableSchema):
        InputSchema(schema).judge({})


def test_deep_inputs_are_refused_without_recursion() -> None:
    value: Any = {}
    for _ in range(5000):
        value = {"a": value}
    assert "levels" in (storable(value) or "")


@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_what_is_called_storable_comes_back_from_the_database_unchanged(value: dict[str, Any]) -> None:
    """Against the real codec: nothing storable fails in it or is changed by it."""
    if storable(value) is None:
        stored = bson.decode(bson.encode({"input": value}))["input"]
        assert digest_of(stored) == digest_of(value)
        assert json.loads(json.dumps(stored)) == json.loads(json.dumps(value))


@given(st.dictionaries(st.text(max_size=5), st.integers(), max_size=5))
def test_the_digest_does_not_depend_on_the_order_of_names(value: dict[str, int]) -> None:
    assert digest_of(dict(reversed(value.items()))) == digest_of(value)


@given(json_values | almost_items)
def test_whatever_comes_it_is_taken_or_refused_with_a_reason(raw: Any) -> None:
    found = check(raw, STRICT)
    if isinstance(found, Refused):
        assert found.complaints
        json.dumps([complaint.as_json() for complaint in found.complaints]).encode()
        "".join(complaint.message + complaint.path for complaint in found.complaints).encode()
    else:
        assert set(found.input) == {"a"}


@given(st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_a_deadline_is_taken_exactly_when_it_lies_ahead(at: datetime, offset_min: int) -> None:
    sign, rest = ("-" if offset_min < 0 else "+"), abs(offset_min)
    text = f"{at.isoformat(timespec='milliseconds')}{sign}{rest // 60:02d}:{rest % 60:02d}"
    absolute = at.replace(microsecond=at.microsecond // 1000 * 1000, tzinfo=UTC) - timedelta(minutes=offset_min)
    found = check(item(deadline=text))
    assert isinstance(found, Item) == (absolute > NOW)
    if isinstance(found, Item):
        assert found.deadline == absolute


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.floats(1e-8, 1e-3)
    | st.floats(1e14, 1e25)
    | st.text(st.characters(codec=None), max_size=4)
    | st.sampled_from(["$a", "\x00", '"$', "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "$a", "\x00", "é"]), inner),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "$c", "\ud800"]), JSON_VALUES, max_size=3), st.integers(0, 60))
def test_what_is_plainly_storable_is_storable(value: dict[str, Any], levels: int) -> None:
    for _ in range(levels):
        value = {"n": value}
    data = plainly_storable(value)
    if data is not None:
        assert storable(value) is None
        assert data == json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def test_usual_inputs_are_plainly_storable() -> None:
    assert plainly_storable({"registration": "12345678", "n": [1, 2.5, True], "é": {"a": "b"}}) is not None
