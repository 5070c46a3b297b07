"""Files to tables: what people's programs write is read, what would hurt is refused."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from datetime import datetime
from typing import Any

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.intake.table import COLUMNS_MAX
from shared.intake.tables import Unreadable, read_table

# cells as people type them: no white space around them, since that is taken off
CELL = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=8).map(str.strip).filter(bool)


def values(data: bytes, name: str) -> list[dict[str, Any]]:
    return [row.values for row in read_table(data, name, rows_max=100).rows]


def workbook(rows: list[list[Any]]) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def changed(data: bytes, name: str, change: Any) -> bytes:
    """A workbook with one of its parts replaced."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.infolist():
            new.writestr(part.filename, change(old.read(part)) if part.filename == name else old.read(part))
    return out.getvalue()


@given(
    st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=1, max_size=5),
    st.sampled_from(",;\t|"),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_csv_is_read_as_it_was_written(rows: list[list[str]], delimiter: str, encoding: str) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([["a", "b", "c"], *rows])
    assert values(out.getvalue().encode(encoding), "x.csv") == [dict(zip("abc", row, strict=True)) for row in rows]


def test_csv_as_a_spreadsheet_in_portuguese_writes_it() -> None:
    data = 'matrícula;situação;valor\r\n123;"São Paulo; centro";1,50\r\n\r\n;;\r\n124;não;\r\n'.encode("cp1252")
    table = read_table(data, "tarefas.CSV", rows_max=10)
    assert table.columns == ["matrícula", "situação", "valor"]
    assert [(row.number, row.values) for row in table.rows] == [
        (2, {"matrícula": "123", "situação": "São Paulo; centro", "valor": "1,50"}),
        (5, {"matrícula": "124", "situação": "não"}),
    ]


def test_csv_says_where_each_record_begins_and_what_separates() -> None:
    table = read_table(b'sep=|\na|b\n"1\n2"|3\n4|5|6\n7|8\n', "x.csv", rows_max=10)
    assert [(row.number, row.values) for row in table.rows] == [(3, {"a": "1\n2", "b": "3"}), (6, {"a": "7", "b": "8"})]
    assert [(one.number, one.message) for one in table.problems] == [(5, "it holds a value in a column without a name")]


@pytest.mark.parametrize(
    ("data", "name", "said"),
    [
        (b"", "x.csv", "empty"),
        (b"a,b\n1,2", "x.doc", "ends in one of"),
        (b"a,a\n1,2", "x.csv", "two columns are called 'a'"),
        (b'a,b\n"1,2\n3,4', "x.csv", "begins in line 2"),
        (b"a,b\n\x00,1", "x.csv", "no text"),
        (b",".join(b"c%d" % n for n in range(COLUMNS_MAX + 1)), "x.csv", "columns; at most"),
        (b"a\n" + b"1\n" * 101, "x.csv", "more than 100 rows"),
        (b"[" * 100_000, "x.json", "nested too deeply"),
        (b'{"a": NaN}', "x.json", "no JSON value"),
        (b'"text"', "x.json", "list of objects"),
        (b"PK\x03\x04 and no more", "x.xlsx", "no XLSX workbook"),
        (b"\xd0\xcf\x11\xe0 an old one", "x.xlsx", "without a password"),
    ],
)
def test_what_is_no_table_is_refused_with_the_reason(data: bytes, name: str, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        read_table(data, name, rows_max=100)


def test_json_and_ndjson() -> None:
    rows = [{"reference": "A", "n": 1}, {"reference": "B", "input": {"x": [1]}}]
    assert values(json.dumps(rows).encode(), "x.json") == rows
    assert values(json.dumps({"tasks": rows, "count": 2}).encode(), "x.json") == rows
    assert values(json.dumps(rows[0]).encode(), "x.json") == rows[:1]
    table = read_table(b'{"a": 1}\n\n[1]\n{"a":\n{"b": 2}\n', "x.ndjson", rows_max=10)
    assert (table.columns, [row.number for row in table.rows]) == (["a", "b"], [1, 5])
    assert [one.number for one in table.problems] == [3, 4]


def test_xlsx_values_are_plain() -> None:
    data = workbook(
        [
            [None, None],
            ["id", "when", "ok", "sum"],
            [7, datetime(2026, 1, 31), True, 1.5],
            [None, None, None, None],
            ["=1+1", datetime(2026, 1, 31, 10, 30), " x ", 2.0],
        ]
    )
    table = read_table(data, "x.xlsx", rows_max=10)
    assert [(row.number, row.values) for row in table.rows] == [
        (3, {"id": 7, "when": "2026-01-31", "ok": True, "sum": 1.5}),
        (5, {"when": "2026-01-31T10:30:00", "ok": "x", "sum": 2}),  # a formula that nobody computed is empty
    ]


def test_xlsx_bombs_are_refused() -> None:
    data, sheet = workbook([["a"], ["1"]]), "xl/worksheets/sheet1.xml"
    with pytest.raises(Unreadable, match="unpacks to"):
        read_table(changed(data, sheet, lambda _: b" " * (65 * 1024 * 1024)), "x.xlsx", rows_max=10)
    wide = b"<worksheet><sheetData><row>" + b"<c/>" * 100_001 + b"</row></sheetData></worksheet>"
    with pytest.raises(Unreadable, match="a row of the workbook has too many cells"):
        read_table(changed(data, sheet, lambda _: wide), "x.xlsx", rows_max=10)
    long = (b"<row>" + b"<c/>" * 50 + b"</row>") * 80_000
    with pytest.raises(Unreadable, match="too many cells"):
        read_table(changed(data, sheet, lambda _: long), "x.xlsx", rows_max=10)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("part", ["xl/worksheets/sheet1.xml", "xl/workbook.xml", "xl/styles.xml"])
def test_xlsx_with_entities_is_refused(part: str, encoding: str) -> None:
    laughs = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><sst>&b;</sst>'
    said = "declares entities" if encoding == "utf-8" else "no XLSX workbook that can be read"
    data = changed(workbook([["a"], ["1"]]), part, lambda _: laughs.encode(encoding))
    with pytest.raises(Unreadable, match=said):
        read_table(data, "x.xlsx", rows_max=10)


def test_xlsx_that_claims_to_be_huge_costs_nothing() -> None:
    def huge(xml: bytes) -> bytes:
        return xml.replace(b'ref="A1:A2"', b'ref="A1:XFD1048576"').replace(
            b"</sheetData>", b'<row r="1048576"><c r="A1048576"><v>9</v></c></row></sheetData>'
        )

    data = changed(workbook([["a"], ["1"]]), "xl/worksheets/sheet1.xml", huge)
    assert values(data, "x.xlsx") == [{"a": "1"}]
