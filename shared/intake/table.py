"""A table as it was read from a file, whatever the file's format, and what can be wrong with one.

Called by: tables.py, sheets.py (make them), mapping.py (makes items of them). Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

COLUMNS_MAX = 500
CELLS_MAX = 1_000_000
PROBLEMS_MAX = 1000
NAME_LENGTH_MAX = 200


class Unreadable(Exception):
    """The file is no table, or a larger one than is taken; the text says which rule it breaks and where."""


@dataclass(frozen=True)
class Row:
    """One row that could be read."""

    number: int
    """Its line in a text file or its row in a sheet, from 1, as people count; of a JSON list: its place from 1."""
    values: dict[str, Any]
    """By column; a cell that is empty is not there."""


@dataclass(frozen=True)
class RowProblem:
    """A row that could not be read."""

    number: int
    message: str


@dataclass
class Table:
    """What a file holds."""

    columns: list[str] = field(default_factory=list)
    """In the file's order; of JSON: in the order in which they are first seen."""
    rows: list[Row] = field(default_factory=list)
    """Without those that are empty."""
    problems: list[RowProblem] = field(default_factory=list)
    """Rows that could not be read, at most PROBLEMS_MAX of them."""
    problems_left_out: int = 0

    def complain(self, number: int, message: str) -> None:
        """Note a row that can't be read."""
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(RowProblem(number, message))
        else:
            self.problems_left_out += 1


def header(cells: Sequence[Any], where: str) -> list[str]:
    """The names of the columns; a column without a name is an empty one.

    Raises: Unreadable for two of one name, or too many.
    """
    names = ["" if cell is None else " ".join(str(cell).split()) for cell in cells]
    while names and not names[-1]:
        names.pop()
    if not any(names):
        raise Unreadable(f"{where} holds no names of columns; the first row names them")
    if len(names) > COLUMNS_MAX:
        raise Unreadable(f"{len(names)} columns; at most {COLUMNS_MAX} are taken")
    seen: set[str] = set()
    for name in names:
        if len(name) > NAME_LENGTH_MAX:
            raise Unreadable(f"the name of a column has {len(name)} characters; at most {NAME_LENGTH_MAX} are taken")
        if name and name in seen:
            raise Unreadable(f"two columns are called {name!r}; name each differently")
        seen.add(name)
    return names


def fill(names: list[str], lines: Iterable[tuple[int, Sequence[Any]]], rows_max: int) -> Table:
    """A table of rows of cells: (number, cells).

    Raises: Unreadable when there are more than `rows_max` rows, or CELLS_MAX cells.
    """
    table = Table(columns=[name for name in names if name])
    cells = 0
    for number, line in lines:
        values = {name: cell for name, cell in zip(names, line, strict=False) if name and cell not in (None, "")}
        beyond = [cell for cell in line[len(names) :] if cell not in (None, "")]
        unnamed = [cell for name, cell in zip(names, line, strict=False) if not name and cell not in (None, "")]
        if not values and not beyond and not unnamed:
            continue
        if beyond or unnamed:
            table.complain(number, "it holds a value in a column without a name")
        else:
            table.rows.append(Row(number, values))
        cells += len(line)
        check_size(table, cells, rows_max)
    return table


def check_size(table: Table, cells: int, rows_max: int) -> None:
    """Raises: Unreadable when a table has grown too large."""
    if len(table.rows) + len(table.problems) + table.problems_left_out > rows_max:
        raise Unreadable(f"more than {rows_max} rows; split the file")
    if cells > CELLS_MAX:
        raise Unreadable(f"more than {CELLS_MAX} cells; split the file")
