"""The quick check says what the library says: for any schema of the common part, and any value."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from shared.intake.quick import quick_check
from shared.intake.schema import InputSchema

FORMATS = Draft202012Validator.FORMAT_CHECKER
NAMES = st.sampled_from(["a", "b", "c"])
TEXTS = st.sampled_from(["", "a", "ab", "12", "2027-01-31", "é\n", "a" * 4])
NUMBERS = st.integers(-3, 3) | st.sampled_from([0.0, 1.0, 2.5, -0.5, 1e300, float(2**60)])
SCALARS = st.none() | st.booleans() | NUMBERS | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
TYPES = st.sampled_from(["object", "array", "string", "number", "integer", "boolean", "null"])
SIZES = st.integers(0, 3)


def keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A schema of the common part, and sometimes a little more."""
    return st.fixed_dictionaries(
        {},
        optional={
            "type": TYPES | st.lists(TYPES, min_size=1, max_size=3, unique=True),
            "required": st.lists(NAMES, max_size=2, unique=True),
            "properties": st.dictionaries(NAMES, inner, max_size=2),
            "additionalProperties": inner,
            "items": inner,
            "allOf": st.lists(inner, min_size=1, max_size=2),
            "anyOf": st.lists(inner, min_size=1, max_size=2),
            "enum": st.lists(SCALARS, min_size=1, max_size=3),
            "const": SCALARS,
            "pattern": st.sampled_from(["^a", "b$", "^[0-9]+$", ""]),
            "format": st.sampled_from(["date", "email", "ipv4", "unknown"]),
            "minLength": SIZES, "maxLength": SIZES, "minItems": SIZES, "maxItems": SIZES, "minProperties": SIZES,
            "maxProperties": SIZES, "minimum": NUMBERS, "maximum": NUMBERS, "exclusiveMinimum": NUMBERS,
            "exclusiveMaximum": NUMBERS, "title": st.just("T"), "default": SCALARS,
        },
    )  # fmt: skip


SCHEMAS = st.recursive(st.booleans() | keywords(st.booleans()), keywords, max_leaves=6)


@settings(max_examples=400)
@given(SCHEMAS, st.lists(VALUES, min_size=1, max_size=8))
def test_it_says_what_the_library_says(schema: Any, values: list[Any]) -> None:
    check = quick_check(schema, FORMATS)
    library = Draft202012Validator(schema, format_checker=FORMATS)
    for value in values:
        if check is not None:
            assert check(value) == library.is_valid(value), value


@settings(max_examples=100)
@given(keywords(st.booleans()), st.lists(st.dictionaries(NAMES, VALUES, max_size=3), min_size=1, max_size=5))
def test_complaints_are_the_same_with_it_and_without(schema: dict[str, Any], values: list[dict[str, Any]]) -> None:
    quick, slow = InputSchema(schema), InputSchema(schema)
    slow._quick = None
    for value in values:
        assert quick.judge(value) == slow.judge(value)


@pytest.mark.parametrize(
    "schema",
    [{"$ref": "#/$defs/a"}, {"not": {}}, {"oneOf": [{}]}, {"patternProperties": {}}, {"prefixItems": [{}]},
     {"uniqueItems": True}, {"multipleOf": 2}, {"enum": [1]}, {"properties": {"a": {"$schema": "x"}}}, {"if": {}},
     {"items": {"contains": {}}}, {"pattern": "("}, {"unevaluatedProperties": False}, {"dependentRequired": {}}],
)  # fmt: skip
def test_what_is_beyond_it_is_left_to_the_library(schema: dict[str, Any]) -> None:
    assert quick_check(schema, FORMATS) is None


def test_usual_schemas_are_within_it() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["registration"],
        "properties": {"registration": {"type": "string", "pattern": "^[0-9]+$", "description": "of the company"},
                       "when": {"type": ["string", "null"], "format": "date"}},
    }  # fmt: skip
    check = quick_check(schema, FORMATS)
    assert check is not None
    assert check({"registration": "1", "when": None})
    assert not check({"registration": "1", "when": "tomorrow"})
