"""XLSX files to tables, without anything that a hostile file could do: values only, bounded before it is unpacked.

Called by: tables.py. Pure. What is refused before openpyxl sees the file: more parts or more unpacked bytes than is
taken (an archive's directory states the sizes, and no part is read beyond what it states). Entities and DTDs are
refused by defusedxml, which openpyxl uses when it is there (a test holds that). Formulas are never computed: the value
that the program which wrote the file stored beside them is taken. Survives a crash: nothing lives here.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any

import openpyxl
from openpyxl.worksheet._read_only import ReadOnlyWorksheet

from shared.intake.table import COLUMNS_MAX, Table, Unreadable, fill, header

PARTS_MAX = 1000
UNPACKED_BYTES_MAX = 64 * 1024 * 1024
TAGS_MAX = 4_000_000
ROW_TAGS_MAX = 100_000
GAP_ROWS_MAX = 10_000
"""So many empty rows in a row end the sheet: a sheet can claim a million of them in a few bytes."""
_ROW_END = re.compile(rb"</(?:\w+:)?row\s*>")


def read_xlsx(data: bytes, rows_max: int) -> Table:
    """The first visible sheet of a workbook; its first row that isn't empty names the columns.

    Raises: Unreadable.
    """
    _check_archive(data)
    try:
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
        try:
            sheet = _sheet(book.worksheets)
            return _table(sheet, rows_max)
        finally:
            book.close()
    except Unreadable:
        raise
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # openpyxl lets whatever its parsers meet through
        raise Unreadable(f"the file is no XLSX workbook that can be read: {type(error).__name__}") from error


def _check_archive(data: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = archive.infolist()
            if len(parts) > PARTS_MAX:
                raise Unreadable(f"the workbook has {len(parts)} parts; at most {PARTS_MAX} are taken")
            unpacked = sum(part.file_size for part in parts)
            if unpacked > UNPACKED_BYTES_MAX:
                raise Unreadable(f"the workbook unpacks to {unpacked} bytes; at most {UNPACKED_BYTES_MAX} are taken")
            tags = 0
            for part in parts:
                tags += _tags(archive.read(part), part.filename)
                if tags > TAGS_MAX:
                    raise Unreadable("the workbook has too many cells; split the file")
    except (zipfile.BadZipFile, zlib.error, ValueError, NotImplementedError, RuntimeError, OSError, EOFError) as error:
        old = data[:2] == b"\xd0\xcf"
        hint = " (it is encrypted, or an old .xls: save it as XLSX without a password)" if old else ""
        raise Unreadable(f"the file is no XLSX workbook{hint}") from error


def _tags(part: bytes, name: str) -> int:
    """How many tags a part has: each takes a hundred times its bytes once it is parsed, a row at a time."""
    if b"<!DOCTYPE" in part or b"<!ENTITY" in part:
        raise Unreadable("the workbook declares entities, which no spreadsheet program does")
    if name.startswith("xl/worksheets/"):
        start = 0
        for end in [match.end() for match in _ROW_END.finditer(part)] + [len(part)]:
            if part.count(b"<", start, end) > ROW_TAGS_MAX:
                raise Unreadable("a row of the workbook has too many cells")
            start = end
    return part.count(b"<")


def _sheet(sheets: Sequence[Any]) -> Any:
    for sheet in sheets:
        if isinstance(sheet, ReadOnlyWorksheet) and sheet.sheet_state == "visible":
            return sheet
    raise Unreadable("the workbook has no visible sheet")


def _table(sheet: Any, rows_max: int) -> Table:
    sheet.reset_dimensions()  # what a file says of its size is not to be relied on
    first = next(_lines(sheet, 1, COLUMNS_MAX + 1), None)
    if first is None:
        raise Unreadable("the first sheet is empty")
    names = header(first[1], f"row {first[0]}")
    return fill(names, _lines(sheet, first[0] + 1, len(names) + 1), rows_max)


def _lines(sheet: Any, begin: int, width: int) -> Iterator[tuple[int, list[Any]]]:
    """Rows that aren't empty, with their numbers."""
    gap = 0
    rows = sheet.iter_rows(min_row=begin, max_col=width, values_only=True)
    for number, cells in enumerate(rows, start=begin):
        gap = 0 if _filled(cells) else gap + 1
        if gap > GAP_ROWS_MAX:
            return
        if not gap:
            yield number, [_plain(cell) for cell in cells]


def _filled(cells: Sequence[Any]) -> bool:
    return any(cell is not None and cell != "" for cell in cells)


def _plain(cell: Any) -> Any:
    """A cell as JSON has it; a date as ISO 8601, without time when it has none."""
    if isinstance(cell, datetime):
        whole = cell.time() == time(0)
        return cell.date().isoformat() if whole else cell.isoformat(timespec="seconds")
    if isinstance(cell, date | time):
        return cell.isoformat()
    if isinstance(cell, timedelta):
        return str(cell)
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return int(cell)
    return cell.strip() if isinstance(cell, str) else cell
