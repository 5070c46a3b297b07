"""Results as files: names, tables, bytes. The same results give the same bytes, so a repeat overwrites what it wrote.

Called by: parcels.py. Pure. What a cell holds is data, never a formula: in CSV a text that a spreadsheet would run gets
a quote before it (OWASP, CSV injection), in XLSX every text is stored as a text.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from openpyxl import Workbook
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

MEDIA_TYPES = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
FIRST = ("id", "reference", "workflow", "event", "state", "attempts", "created_at", "finished_at")
LAST = ("error_kind", "error_code", "error_message", "evidence")
RESULT_COLUMNS_MAX = 200
CELL_LENGTH_MAX = 32_767
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_MODIFIED = re.compile(rb"(<dcterms:(created|modified)[^>]*>)[^<]*")


def file_stem(body: Mapping[str, Any], delivery: str) -> str:
    """The name, without extension, of the file of one result: readable, and never that of another one."""
    data = body["data"]
    words = (safe(str(data.get("workflow"))), safe(str(data.get("reference"))), safe(str(body.get("type"))))
    return "_".join((*(word[:60] for word in words), _mark(delivery)))


def collected_stem(endpoint: str, at: datetime, delivery: str) -> str:
    """The same for a file of many results."""
    return f"results_{safe(endpoint)}_{at.strftime('%Y%m%dT%H%M%SZ')}_{_mark(delivery)}"


def evidence_name(stem: str, n: int, proof: Mapping[str, Any], extension: str) -> str:
    """The name of the file of a result's n-th piece of evidence."""
    name = safe(str(proof.get("name") or "evidence"))[:60]
    return f"{stem}_{n:03d}_{name}" + ("" if name.endswith(extension) else extension)


def safe(text: str) -> str:
    """A text as a part of a file's name, on every system."""
    return _UNSAFE.sub("-", text).strip("-.") or "-"


def rendered(bodies: Sequence[str], form: str) -> bytes:
    """Webhook bodies as one file. form: json (of one), ndjson, csv, xlsx."""
    if form in ("json", "ndjson"):
        return "".join(f"{body}\n" for body in bodies).encode()
    columns, rows = table([json.loads(body) for body in bodies])
    return _csv(columns, rows) if form == "csv" else _xlsx(columns, rows)


def table(bodies: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    """Column names and rows: a column for every field that a result has anywhere."""
    fields: dict[str, None] = {}
    for body in bodies:
        result = body["data"].get("result")
        for name in result if isinstance(result, Mapping) else ():
            fields.setdefault(str(name))
    shown = sorted(fields)[:RESULT_COLUMNS_MAX]
    columns = [*FIRST, *(str(_cell(f"result.{name}")) for name in shown), *LAST]
    return columns, [_row(body, shown) for body in bodies]


def _row(body: Mapping[str, Any], shown: Sequence[str]) -> list[Any]:
    data = body["data"]
    result = data.get("result")
    if not isinstance(result, Mapping):
        result = {} if result is None else {"": result}
    error = data.get("error") or {}
    first = [body["type"].removeprefix("task.") if name == "event" else data.get(name) for name in FIRST]
    proofs = " ".join(str(proof.get("url") or proof.get("id")) for proof in data.get("evidence") or ())
    last = [error.get("kind"), error.get("code"), error.get("message"), proofs or None]
    return [_cell(value) for value in (*first, *(result.get(name) for name in shown), *last)]


def _cell(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return None if value is None else str(value).lower()
    if isinstance(value, int | float):
        return value if abs(value) < 10**15 else str(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return ILLEGAL_CHARACTERS_RE.sub(" ", text)[:CELL_LENGTH_MAX]


def _csv(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    """RFC 4180, UTF-8 with a mark, without which spreadsheets take it for something else."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in rows:
        writer.writerow(
            [f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value for value in row]
        )
    return out.getvalue().encode("utf-8-sig")


def _inert(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _xlsx(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    book = Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "results"
    for at, row in enumerate([list(columns), *rows], start=1):
        for column, value in enumerate(row, start=1):
            if value is None:
                continue
            cell = sheet.cell(at, column, value)
            if isinstance(value, str):
                cell.data_type = "s"
    sheet.freeze_panes = "A2"
    packed = io.BytesIO()
    book.save(packed)
    return _without_times(packed)


def _without_times(packed: io.BytesIO) -> bytes:
    """The same archive, without the moment at which it was made."""
    out = io.BytesIO()
    with zipfile.ZipFile(packed) as source, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as target:
        for info in source.infolist():
            data = source.read(info)
            if info.filename == "docProps/core.xml":
                data = _MODIFIED.sub(rb"\g<1>2000-01-01T00:00:00Z", data)
            target.writestr(zipfile.ZipInfo(info.filename, _ZIP_TIME), data, zipfile.ZIP_DEFLATED)
    return out.getvalue()


def _mark(delivery: str) -> str:
    return hashlib.sha256(delivery.encode()).hexdigest()[:10]
