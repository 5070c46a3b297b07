"""Which files an input names: those at the places where the schema says so, and no others."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.intake.items import Item, Refused, check_item, without_files
from shared.intake.schema import InputSchema
from shared.obs.clock import now

FILE = {"type": "string", "format": "file"}
SCHEMA = InputSchema(
    {
        "type": "object",
        "properties": {
            "one": FILE,
            "many": {"type": "array", "items": {"$ref": "#/$defs/entry"}},
            "either": {"anyOf": [{"type": "integer"}, FILE]},
            "named": {"type": "object", "patternProperties": {"^f_": FILE}},
            "text": {"type": "string"},
        },
        "$defs": {"entry": {"type": "object", "properties": {"file": FILE, "note": {"type": "string"}}}},
    }
)

ids = st.integers(0, 2**128 - 1).map(lambda n: f"file_{n:032x}")


@given(st.data())
def test_the_files_of_an_input_are_those_at_their_places(data: st.DataObject) -> None:
    """The same kind of text stands at other places, too, where it means nothing."""
    named: list[str] = []

    def file() -> str:
        named.append(data.draw(ids))
        return named[-1]

    value: dict[str, Any] = {"text": data.draw(ids)}
    if data.draw(st.booleans()):
        value["one"] = file()
    value["many"] = [{"file": file(), "note": data.draw(ids)} for _ in range(data.draw(st.integers(0, 4)))]
    value["either"] = file() if data.draw(st.booleans()) else 7
    value["named"] = {"f_a": file(), "other": data.draw(ids)}
    assert SCHEMA.judge(value) == ([], "")
    assert sorted(SCHEMA.files(value)) == sorted(set(named))


@pytest.mark.parametrize(
    "text", ["", "file_", "letter.pdf", f"file_{'g' * 32}", f"file_{'0' * 33}", f"FILE_{'0' * 32}"]
)
def test_what_is_no_id_is_refused_at_its_place(text: str) -> None:
    (complaint,) = SCHEMA.judge({"many": [{"file": text}]})[0]
    assert complaint.path == "/input/many/0/file"


def test_a_schema_without_files_looks_for_none() -> None:
    plain = InputSchema({"type": "object", "properties": {"one": {"type": "string"}}})
    assert plain.files({"one": f"file_{'0' * 32}"}) == ()


@given(st.sets(ids, max_size=4), st.sets(ids, max_size=4))
def test_an_item_is_refused_exactly_when_a_file_of_it_is_missing(there: set[str], missing: set[str]) -> None:
    raw = {"reference": "a", "input": {"many": [{"file": one} for one in sorted(there | missing)]}}
    checked = check_item(0, raw, schema=SCHEMA, now=now())
    assert isinstance(checked, Item)
    found = without_files(checked, missing - there)
    assert isinstance(found, Refused) == bool(missing - there)
    if isinstance(found, Refused):
        assert (found.reference, found.digest) == ("a", checked.digest)
