"""Tasks as people write them down: CSV, JSON or a JSON document per line.

Called by: commands/task.py. In CSV the columns reference, priority, not_before and deadline are the task's own; every
other column is a field of the input, as text, and an empty cell is a field that is not there.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from cli.errors import Usage

OWN_COLUMNS = ("reference", "priority", "not_before", "deadline")
TASKS_MAX = 1_000_000


def read_tasks(text: str, name: str) -> tuple[str | None, list[dict[str, Any]]]:
    """The workflow that the file names (JSON only), and its tasks.

    name: of the file; .csv, .json or .ndjson decide, else the first character does.
    Raises: Usage that names the line.
    """
    suffix = Path(name).suffix.lower()
    stripped = text.lstrip("\ufeff \t\r\n")
    if suffix == ".csv" or (suffix not in {".json", ".ndjson", ".jsonl"} and stripped[:1] not in {"{", "["}):
        return None, _csv(text.lstrip("\ufeff"))
    if suffix in {".ndjson", ".jsonl"}:
        return None, _lines(text)
    try:
        content = json.loads(stripped)
    except ValueError as error:
        if suffix != ".json" and stripped[:1] == "{":
            return None, _lines(text)
        raise Usage(f"{name} is no JSON: {error}") from error
    if isinstance(content, dict) and "tasks" not in content and suffix != ".json":
        return None, [content]
    return _document(content, name)


def _document(content: Any, name: str) -> tuple[str | None, list[dict[str, Any]]]:
    workflow = None
    if isinstance(content, dict):
        workflow, content = content.get("workflow"), content.get("tasks")
    if not isinstance(content, list) or not all(isinstance(one, dict) for one in content):
        raise Usage(f'{name} must be a list of tasks, or {{"workflow": ..., "tasks": [...]}}')
    return workflow, content


def _lines(text: str) -> list[dict[str, Any]]:
    tasks = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            task = json.loads(line)
        except ValueError as error:
            raise Usage(f"line {number} is no JSON: {error}") from error
        if not isinstance(task, dict):
            raise Usage(f"line {number} is no task: a JSON object is needed")
        tasks.append(task)
    return tasks


def _csv(text: str) -> list[dict[str, Any]]:
    reader = csv.DictReader(io.StringIO(text), dialect=_dialect(text))
    if "reference" not in (reader.fieldnames or []):
        raise Usage("the file's first line must name the columns, and one of them must be 'reference'")
    return [_row(row, reader.line_num) for row in reader]


def _dialect(text: str) -> type[csv.Dialect]:
    """Comma, or semicolon as spreadsheets of half the world write it, by the first line."""

    class Found(csv.excel):
        delimiter = (
            ";" if text.splitlines()[:1] and text.splitlines()[0].count(";") > text.splitlines()[0].count(",") else ","
        )

    return Found


def _row(row: dict[str | Any, Any], line: int) -> dict[str, Any]:
    if None in row or None in row.values():
        raise Usage(f"line {line} has not as many columns as the first line")
    task: dict[str, Any] = {"reference": row["reference"].strip()}
    if row.get("priority"):
        try:
            task["priority"] = int(row["priority"])
        except ValueError as error:
            raise Usage(f"line {line}: priority {row['priority']!r} is no number") from error
    task.update({name: row[name] for name in ("not_before", "deadline") if row.get(name)})
    task["input"] = {name: value for name, value in row.items() if name not in OWN_COLUMNS and value != ""}
    return task
