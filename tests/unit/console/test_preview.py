"""Previews of uploads: what is shown is what the collector would do."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.console.core.columns import guess, mapping_of, targets
from services.console.core.form import form_of
from services.console.core.preview import Candidate, Preview, Verdict, examine, preview, rows_of
from shared.intake.items import digest_of
from shared.intake.schema import InputSchema
from shared.intake.source_settings import Columns
from shared.intake.tables import Unreadable, read_table
from shared.intake.verdicts import Standing

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
INPUT: dict[str, Any] = {
    "type": "object",
    "required": ["n"],
    "additionalProperties": False,
    "properties": {
        "n": {"type": "integer", "title": "Número"},
        "address": {"properties": {"city": {"type": "string"}}},
    },
}
SCHEMA = InputSchema(INPUT)


def made(items: list[Any], standing: dict[str, Standing] | None = None) -> Preview:
    rows = [Candidate(place + 2, item) for place, item in enumerate(items)]
    return preview(rows, examine(rows, schema=SCHEMA, now=NOW), standing or {})


def item(reference: str, n: Any) -> dict[str, Any]:
    return {"reference": reference, "input": {"n": n}}


def test_each_row_says_what_would_become_of_it() -> None:
    there = {
        "old": Standing("task_1", digest_of({"n": 1}), "batch_1"),
        "taken": Standing("task_2", "another", "batch_1"),
        "gone": Standing("task_3", digest_of({"n": 1})),
    }
    rows = [item("old", 1), item("taken", 1), item("a", 2), item("a", 2), item("a", 3), item("b", "x"), item("gone", 1)]
    found = made(rows, there)
    assert [(row["row"], row["verdict"], row["task"]) for row in found.rows] == [
        (2, "duplicate", "task_1"),
        (3, "refused", None),
        (4, "new", None),
        (5, "duplicate", None),
        (6, "refused", None),
        (7, "refused", None),
        (8, "duplicate", None),
    ]
    assert sorted(found.items) == [0, 2, 3, 6]
    assert found.counts() == {"rows": 7, "new": 1, "duplicate": 3, "refused": 3}
    assert [(fault["code"], fault["count"], fault["row"]) for fault in found.faults()] == [
        ("REFERENCE_CONFLICT", 2, 3),
        ("INVALID_INPUT", 1, 7),
    ]


small = st.integers(0, 3)
items = st.lists(
    st.builds(item, small.map(str), small | st.sampled_from(["x", None])) | st.none() | st.just({"reference": "0"}),
    max_size=12,
)


@given(items, st.dictionaries(small.map(str), small))
def test_handing_in_what_is_shown_as_good_makes_exactly_the_new_ones(given: list[Any], there: dict[str, int]) -> None:
    standing = {reference: Standing(f"task_{reference}", digest_of({"n": n})) for reference, n in there.items()}
    shown = made(given, standing)
    assert len(shown.rows) == len(given)
    # as the collector takes what is handed in: first come, first served
    tasks = {reference: {"n": n} for reference, n in there.items()}
    new = 0
    for place in sorted(shown.items):
        taken = shown.items[place]
        assert tasks.setdefault(taken["reference"], taken["input"]) == taken["input"]
    new = len(tasks) - len(there)
    assert new == shown.counts()["new"]
    for place, row in enumerate(shown.rows):
        assert (row["verdict"] == Verdict.REFUSED) == (place not in shown.items) == bool(row["errors"])


def test_an_item_that_names_a_file_which_is_not_there_is_refused() -> None:
    schema = InputSchema({"properties": {"scan": {"type": "string", "format": "file"}}})
    here, gone = f"file_{'1' * 32}", f"file_{'2' * 32}"
    rows = [Candidate(2 + n, {"reference": str(n), "input": {"scan": file}}) for n, file in enumerate((here, gone))]
    examined = examine(rows, schema=schema, now=NOW)
    assert examined.files == {here, gone}
    found = preview(rows, examined.without({gone}), {})
    assert [row["verdict"] for row in found.rows] == ["new", "refused"]
    assert "POST /v1/files" in found.rows[1]["errors"][0]["message"]


def test_rows_that_can_not_be_read_stand_among_the_others() -> None:
    table = read_table(b'{"n": 1}\n{broken\n{"n": 2}\n', "a.ndjson")
    rows = rows_of(table, None, INPUT, "f")
    found = preview(rows, examine(rows, schema=SCHEMA, now=NOW), {})
    assert [(row["row"], row["verdict"]) for row in found.rows] == [(1, "new"), (2, "refused"), (3, "new")]
    assert [row["reference"] for row in found.rows] == ["f:1", None, "f:3"]


def test_a_mapping_names_columns_that_there_are() -> None:
    table = read_table(b"a,b\n1,2\n", "a.csv")
    with pytest.raises(Unreadable, match="no column 'c'; it has: a, b"):
        rows_of(table, Columns(input={"n": "c"}), INPUT, "f")
    with pytest.raises(Unreadable, match="no rows"):
        rows_of(read_table(b"a,b\n", "a.csv"), None, INPUT, "f")


def test_columns_are_guessed_by_names_and_titles() -> None:
    wanted = targets(form_of(INPUT))
    assert [(one.name, one.own) for one in wanted if not one.own] == [("n", False), ("address.city", False)]
    columns = ["NUMERO", "City", "Referência", "Prazo", "else"]
    chosen = guess(columns, wanted)
    assert chosen == {"reference": "Referência", "deadline": "Prazo", "n": "NUMERO", "address.city": "City"}
    mapping = mapping_of(chosen)
    assert mapping is not None
    assert (mapping.input, mapping.reference) == ({"n": "NUMERO", "address.city": "City"}, "Referência")
    assert mapping_of({"reference": "Referência"}) is None


@given(st.lists(st.text(max_size=6), unique=True, max_size=6))
def test_a_guess_uses_a_column_once(columns: list[str]) -> None:
    chosen = guess(columns, targets(form_of(INPUT)))
    assert len(set(chosen.values())) == len(chosen)
    assert set(chosen.values()) <= set(columns)


def test_fields_may_have_any_name_but_those_that_no_mapping_takes() -> None:
    names = ["número da nota", "a/b", "a.b", "$x", "", "x" * 201]
    wanted = targets(form_of({"properties": {name: {"type": "string"} for name in names}}))
    found = [one.name for one in wanted if not one.own]
    assert found == ["número da nota", "a/b"]
    mapping = mapping_of(guess(["NUMERO DA NOTA", "a/b"], wanted))
    assert mapping is not None
    assert mapping.input == {"número da nota": "NUMERO DA NOTA", "a/b": "a/b"}
