"""What would become of the rows of an upload, by the collector's own rules.

Called by: store/uploads.py. Pure. Two steps, because what stands under the references is read between them: `examine`
checks the rows by themselves, `preview` says what becomes of each. Change also: shared/intake.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from shared.intake.items import Item, Refused, check_item, without_files
from shared.intake.mapping import row_item
from shared.intake.schema import Complaint, InputSchema
from shared.intake.source_settings import Columns
from shared.intake.tables import Table, Unreadable
from shared.intake.verdicts import Standing, candidates, decide

SHOWN_LENGTH_MAX = 300
COMPLAINTS_SHOWN_MAX = 5
FAULTS_MAX = 20


class Verdict(StrEnum):
    """What would become of a row."""

    NEW = "new"
    """A task."""
    DUPLICATE = "duplicate"
    """Nothing: its task is there already, or it stands twice in the file."""
    REFUSED = "refused"
    """Nothing; its complaints say why."""


@dataclass(frozen=True)
class Candidate:
    """A row of a file: an item, or why there is none."""

    row: int
    """Its number, as people count."""
    item: Any = None
    problem: str | None = None


@dataclass(frozen=True)
class Examined:
    """The rows, checked by themselves."""

    good: list[Item]
    bad: list[Refused]

    @property
    def references(self) -> list[str]:
        """The references whose tasks, if there are any, decide the rest."""
        asked = [item.reference for item in self.good]
        asked += [item.reference for item in self.bad if item.reference is not None and item.digest is not None]
        return sorted(set(asked))

    @property
    def files(self) -> set[str]:
        """Files that inputs name, where the schema says so."""
        return {file for item in self.good for file in item.files}

    def without(self, missing: Collection[str]) -> Examined:
        """The same, where items that name one of these files are refused."""
        if not missing:
            return self
        checked = [without_files(item, missing) for item in self.good]
        gone = [one for one in checked if isinstance(one, Refused)]
        return Examined([one for one in checked if isinstance(one, Item)], [*self.bad, *gone])


@dataclass
class Preview:
    """What would become of each row."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    """{row, reference, verdict, task, errors, shown}, in the file's order."""
    items: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    """What is handed in at a confirm, by place in `rows`."""

    def counts(self) -> dict[str, int]:
        """How many rows there are, and of each verdict."""
        said = [row["verdict"] for row in self.rows]
        return {"rows": len(said), **{verdict.value: said.count(verdict.value) for verdict in Verdict}}

    def faults(self) -> list[dict[str, Any]]:
        """What rows are refused for, the most frequent first: {code, path, message, row, count}, of the first such
        row; at most FAULTS_MAX."""
        counted: dict[tuple[str, str], dict[str, Any]] = {}
        for row in self.rows:
            for error in row["errors"]:
                fault = counted.setdefault((error["code"], error["path"]), {**error, "row": row["row"], "count": 0})
                fault["count"] += 1
        return sorted(counted.values(), key=lambda one: (-one["count"], one["row"]))[:FAULTS_MAX]


def rows_of(table: Table, columns: Columns | None, schema: Mapping[str, Any], prefix: str) -> list[Candidate]:
    """A table's rows as items, in the file's order.

    columns: which column is which field; none: by their names. schema: the workflow's, for the types. prefix: of
    references that are made.
    Raises: Unreadable when there is no row, or the mapping names a column that the file doesn't have.
    """
    if columns is not None:
        named = [*columns.input.values(), columns.reference, columns.priority, columns.not_before, columns.deadline]
        missing = sorted({one for one in named if one is not None} - set(table.columns))
        if missing:
            raise Unreadable(f"the file has no column {missing[0]!r}; it has: {', '.join(table.columns)[:300]}")
    rows = [Candidate(row.number, row_item(row, columns, schema, fallback=prefix)) for row in table.rows]
    rows += [Candidate(one.number, problem=one.message) for one in table.problems]
    if not rows:
        raise Unreadable("the file holds no rows")
    return sorted(rows, key=lambda one: one.row)


def examine(rows: Sequence[Candidate], *, schema: InputSchema, now: datetime) -> Examined:
    """Check every row by itself; each item's index is its place in `rows`.

    Raises: UnusableSchema when the workflow's own schema is at fault.
    """
    good: list[Item] = []
    bad: list[Refused] = []
    for place, one in enumerate(rows):
        if one.problem is not None:
            bad.append(Refused(place, None, [Complaint("MALFORMED", one.problem, "")]))
            continue
        checked = check_item(place, one.item, schema=schema, now=now)
        if isinstance(checked, Item):
            good.append(checked)
        else:
            bad.append(checked)
    return Examined(good, bad)


def preview(rows: Sequence[Candidate], examined: Examined, standing: Mapping[str, Standing]) -> Preview:
    """What would become of each row. standing: the tasks there are under `examined.references`."""
    mine: dict[str, int] = {}
    known = dict(standing)
    for item in candidates(examined.good):
        if item.reference not in known:
            id = f"place {item.index}"
            known[item.reference], mine[id] = Standing(id, item.digest), item.index
    verdicts = decide(examined.good, examined.bad, standing=known, mine=mine)
    said: dict[int, dict[str, Any]] = {}
    for entry in verdicts.accepted:
        verdict = Verdict.DUPLICATE if entry["duplicate"] else Verdict.NEW
        there = known[entry["reference"]]
        task = None if there.id in mine or there.batch is None else there.id  # of a deleted one only its tombstone
        said[entry["index"]] = _row(rows[entry["index"]], entry["reference"], verdict, task, [])
    for one in verdicts.refused:
        said[one.index] = _row(rows[one.index], one.reference, Verdict.REFUSED, None, one.complaints)
    found = Preview([said[place] for place in range(len(rows))])
    found.items = {
        place: rows[place].item for place, row in enumerate(found.rows) if row["verdict"] != Verdict.REFUSED.value
    }
    return found


def _row(
    one: Candidate, reference: str | None, verdict: Verdict, task: str | None, complaints: Sequence[Complaint]
) -> dict[str, Any]:
    return {
        "row": one.row,
        "reference": reference,
        "verdict": verdict.value,
        "task": task,
        "errors": [complaint.as_json() for complaint in complaints[:COMPLAINTS_SHOWN_MAX]],
        "shown": _shown(one.item),
    }


def _shown(item: Any) -> str:
    """The input, short, so that people recognise the row."""
    value = item.get("input") if isinstance(item, dict) else None
    if not isinstance(value, dict):
        return ""
    try:
        parts = [f"{name}: {part if isinstance(part, str) else json.dumps(part)}" for name, part in value.items()]
    except (ValueError, RecursionError):
        return ""
    text = ", ".join(parts).encode("utf-8", "replace").decode()
    return text if len(text) <= SHOWN_LENGTH_MAX else f"{text[: SHOWN_LENGTH_MAX - 1]}…"
