"""Forms made of JSON Schemas: what is filled in validates, or is shown as JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from services.console.core.form import FIELDS_MAX, WHOLE, Field, Form, Kind, form_of, same
from services.console.core.form_values import Fault, collect, fill, initial
from shared.intake.items import Item, Refused, check_item
from shared.intake.schema import InputSchema

ZONE = ZoneInfo("America/Sao_Paulo")
NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
DEMO: dict[str, Any] = {
    "type": "object",
    "required": ["registration", "kind", "urgent"],
    "additionalProperties": False,
    "properties": {
        "registration": {"type": "string", "title": "Registration", "minLength": 3, "pattern": "^[0-9]+$"},
        "kind": {"type": "string", "enum": ["clearance", "withholding"], "description": "What to issue."},
        "urgent": {"type": "boolean"},
        "copies": {"type": "integer", "minimum": 1, "default": 1},
        "amount": {"type": "number"},
        "day": {"type": "string", "format": "date"},
        "at": {"type": "string", "format": "date-time"},
        "notes": {"type": "string", "maxLength": 2000},
        "emails": {"type": "array", "items": {"type": "string"}},
        "years": {"type": "array", "items": {"enum": [2025, 2026]}},
        "address": {"$ref": "#/$defs/address"},
        "anything": {"type": "object"},
    },
    "$defs": {
        "address": {
            "type": "object",
            "required": ["city"],
            "properties": {"city": {"type": "string"}, "zip": {"type": ["string", "null"]}},
        }
    },
}
FILLED = {
    "/registration": "123",
    "/kind": "0",
    "/urgent": False,
    "/copies": "2",
    "/amount": "12,50",
    "/day": "2027-02-01",
    "/at": "2027-02-01T09:00",
    "/notes": "one\ntwo",
    "/emails": "a@b.example\n\nc@d.example",
    "/years": ["1"],
    "/address/city": "Recife",
    "/address/zip": "",
    "/anything": '{"x": [1, 2.0]}',
}


def by_pointer(form: Form) -> dict[str, Field]:
    return {one.pointer: one for one in form.every()}


def test_each_property_has_the_field_that_people_expect() -> None:
    fields = by_pointer(form_of(DEMO))
    kinds = {pointer: one.kind for pointer, one in fields.items()}
    assert kinds == {
        "/registration": Kind.TEXT,
        "/kind": Kind.CHOICE,
        "/urgent": Kind.FLAG,
        "/copies": Kind.INTEGER,
        "/amount": Kind.NUMBER,
        "/day": Kind.DATE,
        "/at": Kind.MOMENT,
        "/notes": Kind.LONG,
        "/emails": Kind.LIST,
        "/years": Kind.CHOICES,
        "/address": Kind.GROUP,
        "/address/city": Kind.TEXT,
        "/address/zip": Kind.TEXT,
        "/anything": Kind.JSON,
    }
    assert [p for p, one in fields.items() if one.required] == ["/registration", "/kind", "/urgent", "/address/city"]
    assert (fields["/registration"].label, fields["/kind"].hint) == ("Registration", "What to issue.")
    assert initial(form_of(DEMO), ZONE)["/copies"] == "1"


def test_what_is_filled_in_is_an_input_of_the_schema() -> None:
    found = collect(form_of(DEMO), FILLED, ZONE)
    assert found.faults == {}
    assert found.value == {
        "registration": "123",
        "kind": "clearance",
        "urgent": False,
        "copies": 2,
        "amount": 12.5,
        "day": "2027-02-01",
        "at": "2027-02-01T09:00:00-03:00",
        "notes": "one\ntwo",
        "emails": ["a@b.example", "c@d.example"],
        "years": [2026],
        "address": {"city": "Recife"},
        "anything": {"x": [1, 2.0]},
    }
    Draft202012Validator(DEMO).validate(found.value)
    shown = fill(form_of(DEMO), found.value, ZONE)
    assert shown is not None
    assert shown["/at"] == "2027-02-01T09:00"


@pytest.mark.parametrize(
    ("pointer", "text", "fault"),
    [
        ("/registration", "", Fault.REQUIRED),
        ("/kind", "", Fault.REQUIRED),
        ("/kind", "7", Fault.CHOICE),
        ("/copies", "two", Fault.INTEGER),
        ("/copies", "1.0", Fault.INTEGER),
        ("/amount", "1.234,50", Fault.NUMBER),
        ("/amount", "1e999", Fault.NUMBER),
        ("/day", "2027-02-30", Fault.DATE),
        ("/at", "tomorrow", Fault.MOMENT),
        ("/anything", "{x", Fault.JSON),
        ("/anything", "NaN", Fault.JSON),
        ("/address/city", "", Fault.REQUIRED),
    ],
)
def test_what_can_not_be_read_is_a_fault_at_its_field(pointer: str, text: str, fault: Fault) -> None:
    filled = {**FILLED, "/address/zip": "50000", pointer: text}
    assert collect(form_of(DEMO), filled, ZONE).faults == {pointer: fault}


def test_an_object_that_nobody_filled_in_is_left_out() -> None:
    filled = {**FILLED, "/address/city": ""}
    found = collect(form_of(DEMO), filled, ZONE)
    assert (found.faults, "address" in found.value) == ({}, False)


def test_a_required_null_is_what_an_empty_field_means() -> None:
    schema = {"required": ["x"], "properties": {"x": {"anyOf": [{"type": "string"}, {"type": "null"}]}}}
    assert collect(form_of(schema), {"/x": ""}, ZONE).value == {"x": None}


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "array"},
        {"type": "object"},
        {"properties": {}},
        {"properties": {"a": {}}, "oneOf": [{"properties": {"b": {}}}, {"required": ["a"]}]},
        {"properties": {"a": {}}, "patternProperties": {"^x": {}}},
        {"$ref": "#"},
        {"$ref": "https://elsewhere.example/schema"},
        {"properties": {f"p{n}": {"type": "string"} for n in range(FIELDS_MAX + 1)}},
    ],
)
def test_a_schema_that_fields_do_not_show_is_one_field_of_json(schema: dict[str, Any]) -> None:
    form = form_of(schema)
    assert form == WHOLE
    assert form.whole
    assert collect(form, {"": '{"a": 1}'}, ZONE).value == {"a": 1}


def test_a_reference_that_has_no_end_is_json_within() -> None:
    node = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}
    schema = {"properties": {"node": {"$ref": "#/$defs/node"}, "loop": {"$ref": "#/properties/loop"}}}
    kinds = {one.pointer: one.kind for one in form_of({**schema, "$defs": {"node": node}}).every()}
    assert kinds["/loop"] is Kind.JSON
    assert (kinds["/node/next"], kinds["/node/next/next"]) == (Kind.GROUP, Kind.JSON)


def test_a_complaint_finds_the_field_that_holds_the_value() -> None:
    form = form_of(DEMO)
    assert form.place("/registration") == "/registration"
    assert form.place("/anything/x/0") == "/anything"
    assert form.place("/address/city") == "/address/city"
    assert form.place("/address") == "/address"
    assert form.place("/registrations") == ""
    assert form.place("") == ""


# Any schema of this strategy, with a value that fits it.

line = st.text(st.characters(min_codepoint=32, exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=12)
names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=6)
Pair = tuple[dict[str, Any], Any]


def pairs_of(schema: dict[str, Any], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Pair]:
    return values.map(lambda value: (schema, value))


def chosen(options: list[Any]) -> st.SearchStrategy[Pair]:
    return pairs_of({"enum": options}, st.sampled_from(options))


lists = st.one_of(
    pairs_of({"type": "array", "items": {"type": "string"}}, st.lists(line.filter(str.strip), min_size=1, max_size=3)),
    pairs_of({"type": "array", "items": {"type": "integer"}}, st.lists(st.integers(-9, 10**9), min_size=1, max_size=3)),
    pairs_of(
        {"type": "array", "items": {"enum": ["a", 1, None]}}, st.lists(st.sampled_from(["a", 1, None]), min_size=1)
    ),
)
simple = st.one_of(
    pairs_of({"type": "string"}, line),
    pairs_of({"type": "string", "maxLength": 1000}, st.lists(line, min_size=1, max_size=3).map("\n".join)),
    pairs_of({"type": "integer"}, st.integers(-(10**18), 10**18)),
    pairs_of({"type": "number"}, st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**9), 10**9)),
    pairs_of({"type": "boolean"}, st.booleans()),
    pairs_of({"type": "string", "format": "date"}, st.dates().map(lambda day: day.isoformat())),
    pairs_of({"type": ["integer", "null"]}, st.integers(0, 9)),
    pairs_of({"anyOf": [{"type": "string"}, {"type": "null"}]}, line),
    st.lists(line | st.integers(0, 9) | st.booleans(), min_size=1, max_size=4, unique_by=repr).flatmap(chosen),
    lists,
)


def objects(inner: st.SearchStrategy[Pair]) -> st.SearchStrategy[Pair]:
    @st.composite
    def build(draw: st.DrawFn) -> Pair:
        found = draw(st.dictionaries(names, inner, min_size=1, max_size=4))
        required = [name for name in found if draw(st.booleans())]
        schema = {"type": "object", "required": required, "properties": {name: one[0] for name, one in found.items()}}
        return schema, {name: one[1] for name, one in found.items()}

    return build()


@given(objects(simple | objects(simple)))
def test_any_value_that_fits_comes_out_of_the_fields_as_it_went_in(pair: Pair) -> None:
    schema, value = pair
    form = form_of(schema)
    assert not form.whole
    assert [one for one in form.every() if one.kind is Kind.JSON] == []
    shown = fill(form, value, ZONE)
    if shown is None:  # only what looks like nothing was filled in
        assert any(isinstance(one, dict) and not any(one.values()) for one in value.values())
        return
    found = collect(form, shown, ZONE)
    assert found.faults == {}
    assert same(found.value, value)
    Draft202012Validator(schema).validate(found.value)
    assert json.loads(json.dumps(found.value)) == found.value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
WORDS = [
    "type",
    "properties",
    "required",
    "enum",
    "const",
    "anyOf",
    "oneOf",
    "allOf",
    "items",
    "$ref",
    "default",
    "format",
]
TYPES = ["string", "object", "array", "integer", "null", "nothing"]
wild = st.recursive(
    json_values | st.sampled_from(TYPES) | st.just({"type": "null"}) | st.just({"$ref": "#/properties/a"}),
    lambda inner: (
        st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)
        | st.dictionaries(st.sampled_from("ab"), inner, max_size=2)
        | st.lists(inner, max_size=2)
    ),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(WORDS), wild, max_size=5), json_values, st.dictionaries(names, json_values))
def test_whatever_a_schema_is_there_is_a_form_and_nothing_changes_in_it(
    schema: dict[str, Any], value: Any, garbage: dict[str, Any]
) -> None:
    form = form_of(schema)
    assert form.fields
    for raw in (initial(form, ZONE), garbage, dict.fromkeys(by_pointer(form), "\x00{")):
        found = collect(form, raw, ZONE)
        assert found.faults or json.loads(json.dumps(found.value)) == found.value
        assert set(found.faults) <= set(by_pointer(form))
    shown = fill(form, value, ZONE)
    assert shown is None or same(collect(form, shown, ZONE).value, value)


@given(st.dictionaries(st.sampled_from(sorted(FILLED)), st.text(max_size=20) | st.booleans() | st.lists(st.text())))
def test_whatever_is_filled_in_is_a_fault_a_complaint_or_a_task(raw: dict[str, Any]) -> None:
    form = form_of(DEMO)
    found = collect(form, raw, ZONE)
    if found.faults:
        assert set(found.faults) <= set(FILLED)
        return
    checked = check_item(0, {"reference": "r", "input": found.value}, schema=InputSchema(DEMO), now=NOW)
    if isinstance(checked, Refused):
        assert all(one.path.startswith("/input") for one in checked.complaints)
    else:
        assert isinstance(checked, Item)
