"""Files to tables: CSV (any usual delimiter and encoding), XLSX, JSON, NDJSON.

Called by: collector (folder and SFTP pick-up, files by hand), console (preview of an upload; in a thread: a large file
takes seconds). Pure: bytes in, a table out. A file is taken or refused as a whole when its form is wrong; a row by
itself when only it can't be read. Survives a crash: nothing lives here. Change also: docs/sources.md.

CSV by RFC 4180: a quoted cell may hold delimiters and line breaks, "" is a quote. Spreadsheets in Portuguese write
semicolons and Windows-1252, so both are found out. Formulas are nothing here: a cell of CSV is a text whatever it
begins with.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from shared.intake.sheets import read_xlsx
from shared.intake.table import COLUMNS_MAX, Row, RowProblem, Table, Unreadable, check_size, fill, header

__all__ = ["EXTENSIONS", "Row", "RowProblem", "Table", "Unreadable", "kind_of", "read_table"]

DELIMITERS = ",;\t|"
SAMPLE_LINES = 20
ROWS_MAX = 100_000
EXTENSIONS = {
    ".csv": "csv", ".txt": "csv", ".tsv": "csv", ".xlsx": "xlsx", ".json": "json", ".ndjson": "ndjson",
    ".jsonl": "ndjson",
}  # fmt: skip
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


def kind_of(name: str) -> str | None:
    """The format that a file's name says, or none that is known."""
    return next((kind for ending, kind in EXTENSIONS.items() if name.lower().endswith(ending)), None)


def read_table(data: bytes, name: str, *, rows_max: int = ROWS_MAX) -> Table:
    """Read a file; its name's ending says what it is.

    Raises: Unreadable.
    """
    kind = kind_of(name)
    if kind is None:
        raise Unreadable(f"a file's name ends in one of {', '.join(EXTENSIONS)}; this one is {name[-50:]!r}")
    if not data.strip():
        raise Unreadable("the file is empty")
    readers: dict[str, Callable[[bytes, int], Table]] = {
        "csv": _csv, "xlsx": read_xlsx, "json": _json, "ndjson": _ndjson
    }  # fmt: skip
    return readers[kind](data, rows_max)


def _decoded(data: bytes) -> str:
    """The text of a file: by its byte order mark, else UTF-8, else what Windows writes."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError as error:
                raise Unreadable(f"the file begins like {encoding} and isn't: {error.reason}") from error
    if b"\x00" in data:
        raise Unreadable("the file holds NUL bytes: it is no text")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        # Windows-1252 leaves five bytes undefined; as Latin-1 they are control characters.
        return data.decode("cp1252") if not set(data) & {0x81, 0x8D, 0x8F, 0x90, 0x9D} else data.decode("latin-1")


# CSV


def _csv(data: bytes, rows_max: int) -> Table:
    text = _decoded(data)
    delimiter, skipped = _delimiter(text)
    lines = _csv_lines(text, delimiter)
    for _ in range(skipped):
        next(lines, None)
    first = next(((number, cells) for number, cells in lines if any(cell.strip() for cell in cells)), None)
    if first is None:
        raise Unreadable("the file is empty")
    return fill(header(first[1], f"line {first[0]}"), lines, rows_max)


def _csv_lines(text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Every record, with the line in which it begins."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begins = 1
    try:
        for cells in reader:
            if len(cells) > COLUMNS_MAX:
                raise Unreadable(f"line {begins} has {len(cells)} columns; at most {COLUMNS_MAX} are taken")
            yield begins, [cell.strip() for cell in cells]
            begins = reader.line_num + 1
    except csv.Error as error:
        raise Unreadable(f"the record that begins in line {begins} is no CSV: {error}") from error


def _delimiter(text: str) -> tuple[str, int]:
    """What separates the cells, and how many lines only say so (`sep=;`, which Excel reads)."""
    first = text[:10].splitlines()[0].strip().lower() if text.strip() else ""
    if len(first) == 5 and first.startswith("sep=") and first[4] in DELIMITERS:
        return first[4], 1
    return max(DELIMITERS, key=lambda one: (_fitness(text, one), -DELIMITERS.index(one))), 0


def _fitness(text: str, delimiter: str) -> tuple[int, int]:
    """How well a delimiter explains the first lines: rows with as many cells as the first one, and how many cells."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    widths: list[int] = []
    try:
        for cells in reader:
            if any(cells):
                widths.append(len(cells))
            if len(widths) >= SAMPLE_LINES:
                break
    except csv.Error:
        return 0, 0
    if not widths or widths[0] < 2:
        return 0, 0
    return sum(1 for width in widths if width == widths[0]), widths[0]


# JSON


def _json(data: bytes, rows_max: int) -> Table:
    value = _parsed(_decoded(data), "the file")
    if isinstance(value, dict):
        lists = [inner for inner in value.values() if isinstance(inner, list)]
        value = lists[0] if len(lists) == 1 else [value]
    if not isinstance(value, list):
        raise Unreadable("the file is a JSON list of objects, or an object with one list")
    table, cells = Table(), 0
    names: dict[str, None] = {}
    for number, one in enumerate(value, start=1):
        cells += _add_object(table, names, number, one)
        check_size(table, cells, rows_max)
    table.columns = list(names)
    return table


def _ndjson(data: bytes, rows_max: int) -> Table:
    table, cells = Table(), 0
    names: dict[str, None] = {}
    for number, line in enumerate(_decoded(data).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            cells += _add_object(table, names, number, _parsed(line, "the line"))
        except Unreadable as error:
            table.complain(number, str(error))
        check_size(table, cells, rows_max)
    table.columns = list(names)
    return table


def _add_object(table: Table, names: dict[str, None], number: int, value: Any) -> int:
    """Add a row of a JSON value; how many cells it has."""
    if not isinstance(value, dict):
        table.complain(number, "it is no JSON object")
        return 1
    if len(value) > COLUMNS_MAX:
        table.complain(number, f"it has {len(value)} fields; at most {COLUMNS_MAX} are taken")
        return 1
    if value:
        table.rows.append(Row(number, value))
        if len(names) <= COLUMNS_MAX:
            names.update(dict.fromkeys(value))
    return len(value)


def _parsed(text: str, what: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except RecursionError as error:
        raise Unreadable(f"{what} is nested too deeply") from error
    except ValueError as error:
        raise Unreadable(f"{what} is no JSON: {error}"[:300]) from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON value")
