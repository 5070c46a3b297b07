"""Which files of a folder are taken, how their rows become items, and what their report says.

Called by: sources/files.py. Pure; `items_of` takes seconds for a large file: call it in a thread.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any

from services.collector.core.looks import Tally
from shared.intake.mapping import row_item
from shared.intake.source_settings import FileSettings
from shared.intake.table import Table
from shared.intake.tables import kind_of, read_table

REPORTED_MAX = 1000
REPORT_ENDING = ".report.txt"
NAME_BYTES_MAX = 200
"""With what is added to a name here it has to stay within the 255 bytes that file systems allow."""
TOKEN_LENGTH = 12
_CLAIMED = re.compile(rf"\.taking\.[0-9a-f]{{{TOKEN_LENGTH}}}\.(?P<own>.+)", re.DOTALL)
"""The name of a file that is being taken."""


@dataclass(frozen=True)
class Found:
    """A file as it is listed."""

    name: str
    size: int
    changed: float
    """Its time of change, by its own machine's clock: only compared with itself."""

    @property
    def is_claimed(self) -> bool:
        """Whether a look has begun to take it."""
        return _CLAIMED.fullmatch(self.name) is not None

    @property
    def own_name(self) -> str:
        """The name that its partner gave it."""
        claimed = _CLAIMED.fullmatch(self.name)
        return claimed["own"] if claimed is not None else self.name

    def claimed(self, token: str) -> Found:
        """The same file once a look has begun to take it. token: TOKEN_LENGTH hex digits that nobody used before, so
        that no file that is still to be read is written over, whoever renames what at the same time."""
        return replace(self, name=f".taking.{token}.{self.own_name}")


def candidates(files: Iterable[Found], settings: FileSettings) -> list[Found]:
    """The files to take: those that an earlier look began to take, then the others, in the order of their names."""
    wanted = (one for one in files if _wanted(one.own_name, settings))
    return sorted(wanted, key=lambda one: (not one.is_claimed, one.own_name, one.changed, one.name))


def names_aside(name: str, digest: str, is_content: bool, fresh: str) -> list[str]:
    """The names that a file may have where it is moved to; the last one is used even when there is such a file.

    digest: of its content, or of what the folder says of it (is_content). A file of the same content may be replaced,
    any other one not: `fresh` makes a name that nobody has.
    """
    other = other_name(name, digest)
    return [name, other] if is_content else [name, other, other_name(name, fresh)]


def _wanted(name: str, settings: FileSettings) -> bool:
    if any(char in "/\\" or char < " " for char in name) or name in (".", ".."):
        return False
    if not name.isprintable() or len(name.encode()) > NAME_BYTES_MAX:  # what is no Unicode is not printable
        return False
    folded = name.lower()
    if folded.endswith(REPORT_ENDING) or any(fnmatchcase(folded, one.lower()) for one in settings.ignore):
        return False
    return fnmatchcase(folded, settings.pattern.lower()) and kind_of(name) is not None


def finished(before: Sequence[Found], after: Iterable[Found]) -> list[Found]:
    """Of the files that were seen before those that are still as they were."""
    still = set(after)
    return [one for one in before if one in still]


def items_of(
    data: bytes, name: str, settings: FileSettings, schema: Mapping[str, Any], digest: str
) -> tuple[Table, list[dict[str, Any]], list[str]]:
    """A file's rows as items, and where each stands, for people. digest: of the file; makes references where a row has
    none. Raises: table.Unreadable."""
    table = read_table(data, name, rows_max=settings.rows_max)
    items = [row_item(row, settings.columns, schema, fallback=digest[:16]) for row in table.rows]
    return table, items, [f"row {row.number}" for row in table.rows]


def other_name(name: str, digest: str) -> str:
    """A name for a file where its own is used already: the same for the same content."""
    stem, dot, ending = name.rpartition(".")
    return f"{stem or name}.{digest[:12]}{dot}{ending}" if stem else f"{name}.{digest[:12]}"


def report(name: str, at: datetime, tally: Tally, why: str | None, rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The text beside a file of which something was refused.

    why: the file as a whole could not be read. rows: refusals {place, reference, errors}.
    """
    counts = f"{tally.taken} taken, {tally.duplicates} there before, {tally.refused} refused"
    lines = [f"{name}: {counts} ({at:%Y-%m-%d %H:%M:%S} UTC)", ""]
    if why is not None:
        lines += [f"The file was refused: {why}", ""]
    for one in rows[:REPORTED_MAX]:
        about = f", reference {one['reference']}" if one.get("reference") else ""
        for error in one["errors"]:
            lines.append(f"{one.get('place', '')}{about}: {error['path'] or 'the row'}: {error['message']}")
    if tally.refused > REPORTED_MAX:
        lines.append(f"... and {tally.refused - REPORTED_MAX} more rows")
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")
