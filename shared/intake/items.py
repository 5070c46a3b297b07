"""The checks of one item: what it must look like before it becomes a task.

Called by: the collector, for whatever comes in, and the console, which shows beforehand what would be refused. Every
bad item is refused by itself, with all that is wrong with it. Pure: the time is an argument. Change also:
services/collector/schemas.py (the same limits as OpenAPI), services/collector/README.md.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import filterfalse
from typing import Any

import orjson

from shared.intake.schema import Complaint, InputSchema

REFERENCE_LENGTH_MAX = 200
INPUT_SIZE_BYTES_MAX = 1024 * 1024
INPUT_DEPTH_MAX = 50
"""MongoDB stores 100 levels; the task stands around the input."""
INTEGER_MAX = 2**63 - 1
PRIORITY_MAX = 5
FIELDS = ("reference", "input", "priority", "not_before", "deadline")
_DOUBTFUL = (b'"$', b"\\u0000", b"null", b"0.0000")
_EXPONENT = re.compile(rb"[0-9]e")
"""With these orjson may write a float otherwise than Python: with an exponent, or 0.0000 where Python has one."""
_ENCODE = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode
_QUICKLY = orjson.OPT_SORT_KEYS | orjson.OPT_STRICT_INTEGER
_IS_FIELD = frozenset(FIELDS).__contains__
_CONTROL = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_ZONED = re.compile(r"^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?([Zz]|[+-]\d{2}:?\d{2})$")


@dataclass(slots=True)
class Item:
    """An item that may become a task. Not frozen: that makes it three times as slow to make."""

    index: int
    reference: str
    input: Mapping[str, Any]
    digest: str
    priority: int | None = None
    not_before: datetime | None = None
    deadline: datetime | None = None
    files: tuple[str, ...] = ()
    """Ids of files that stand in the input, where the schema says `format: file`."""
    group: str = ""
    """Key of its scenario and group (shared.domain.scenario)."""


@dataclass(frozen=True)
class Refused:
    """An item that may not."""

    index: int
    reference: str | None
    """None when the item has no readable one."""
    complaints: list[Complaint] = field(default_factory=list)
    digest: str | None = None
    """Of its input, when that is an object: the same item may have been accepted earlier, under rules of then."""


def check_item(index: int, raw: Any, *, schema: InputSchema, now: datetime) -> Item | Refused:
    """Check one element of `tasks`. `now`: aware, for the deadline.

    Raises: UnusableSchema when the workflow's own schema is at fault.
    """
    if not isinstance(raw, dict):
        return Refused(index, None, [Complaint("MALFORMED", "a task is a JSON object", "")])
    found = [Complaint("MALFORMED", f"unknown field {name!r}"[:300], "") for name in _unknown(raw)]
    reference = _reference(raw.get("reference"), found)
    value, digest, group = _input(raw, schema, found)
    priority = _priority(raw.get("priority"), found)
    not_before = _moment("not_before", raw.get("not_before"), found)
    deadline = _moment("deadline", raw.get("deadline"), found)
    _order(not_before, deadline, now, found)
    if found or reference is None or digest is None:
        return Refused(index, reference, found[:10], digest)
    files = schema.files(value)
    return Item(index, reference, value, digest, priority, not_before, deadline, files, group)


def without_files(item: Item, missing: Collection[str]) -> Item | Refused:
    """The item, or its refusal when its input names a file that is missing."""
    gone = [file for file in item.files if file in missing]
    if not gone:
        return item
    text = f"there is no file {gone[0]!r} in this account (any more); hand it in first: POST /v1/files"
    return Refused(item.index, item.reference, [Complaint("INVALID_INPUT", text, "/input")], item.digest)


def digest_of(value: Mapping[str, Any]) -> str:
    """SHA-256 of an input in canonical form: sorted names, no white space, UTF-8."""
    return hashlib.sha256(_canonical(value)).hexdigest()


def _canonical(value: Mapping[str, Any]) -> bytes:
    return _ENCODE(value).encode()


def _unknown(raw: Mapping[str, Any]) -> list[str]:
    return [name.encode("utf-8", "replace").decode() for name in list(filterfalse(_IS_FIELD, raw))[:5]]


def _reference(value: Any, found: list[Complaint]) -> str | None:
    if not isinstance(value, str) or not 1 <= len(value) <= REFERENCE_LENGTH_MAX:
        text = f"a reference is a text of 1 to {REFERENCE_LENGTH_MAX} characters"
        found.append(Complaint("MALFORMED", text, "/reference"))
        return None
    if _CONTROL.search(value):
        found.append(Complaint("MALFORMED", "a reference holds no control characters", "/reference"))
        return None
    return value


def _input(
    raw: Mapping[str, Any], schema: InputSchema, found: list[Complaint]
) -> tuple[Mapping[str, Any], str | None, str]:
    """The input, its digest and its group's key; the digest is none when the input can't be stored at all."""
    value = raw.get("input")
    if not isinstance(value, dict):
        found.append(Complaint("INVALID_INPUT", "the input is a JSON object", "/input"))
        return {}, None, ""
    data = plainly_storable(value)
    problem = None if data is not None else storable(value)
    if problem is None:
        data = _canonical(value) if data is None else data
        if len(data) <= INPUT_SIZE_BYTES_MAX:
            complaints, group = schema.judge(value)
            found.extend(complaints)
            return value, hashlib.sha256(data).hexdigest(), group
        problem = f"the input has {len(data)} bytes; at most {INPUT_SIZE_BYTES_MAX} are taken"
    found.append(Complaint("INVALID_INPUT", problem, "/input"))
    return {}, None, ""


def plainly_storable(value: Mapping[str, Any]) -> bytes | None:
    """The canonical form of an input that can be stored beyond doubt; none: `storable` has to look closely.

    It looks at the bytes that orjson makes, several times as fast. What orjson would write otherwise than `_canonical`
    (some floats, NaN as null) and whatever might not be stored (more brackets than levels, a quote before $, an escaped
    NUL, an integer beyond 53 bits, which it refuses) may be harmless, but without it nothing can be wrong.
    """
    try:
        data = orjson.dumps(value, option=_QUICKLY)
    except TypeError:
        return None
    brackets = data.count(b"{") + data.count(b"[")
    doubtful = brackets >= INPUT_DEPTH_MAX or any(mark in data for mark in _DOUBTFUL) or _EXPONENT.search(data)
    return None if doubtful else data


def storable(value: Any) -> str | None:
    """Why a JSON value can't be stored and read back unchanged, or none. Without recursion: inputs come from
    outside."""
    stack: list[tuple[Any, int]] = [(value, 1)]
    while stack:
        node, depth = stack.pop()
        if depth > INPUT_DEPTH_MAX:
            return f"the input is nested more than {INPUT_DEPTH_MAX} levels deep"
        if isinstance(node, dict):
            for name in node:
                if problem := _name_problem(name):
                    return problem
            stack.extend((child, depth + 1) for child in node.values())
        elif isinstance(node, list):
            stack.extend((child, depth + 1) for child in node)
        elif problem := _scalar_problem(node):
            return problem
    return None


def _name_problem(name: str) -> str | None:
    if name.startswith("$"):
        return "a name in the input begins with $, which the database reads as its own"
    if "\x00" in name:
        return "a name in the input holds a NUL character"
    return _text_problem(name)


def _scalar_problem(node: Any) -> str | None:
    if isinstance(node, str):
        return _text_problem(node)
    if isinstance(node, int) and not isinstance(node, bool) and not -INTEGER_MAX - 1 <= node <= INTEGER_MAX:
        return "an integer in the input has more than 64 bits; send it as a text"
    if isinstance(node, float) and not math.isfinite(node):
        return "a number in the input is too large; send it as a text"
    return None


def _text_problem(text: str) -> str | None:
    return None if text.isascii() or not re.search("[\ud800-\udfff]", text) else "a text in the input is no Unicode"


def _priority(value: Any, found: list[Complaint]) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= PRIORITY_MAX:
        found.append(Complaint("MALFORMED", f"a priority is a whole number from 0 to {PRIORITY_MAX}", "/priority"))
        return None
    return value


def _moment(name: str, value: Any, found: list[Complaint]) -> datetime | None:
    if value is None:
        return None
    try:
        if not isinstance(value, str) or not _ZONED.match(value):
            raise ValueError
        at = datetime.fromisoformat(value.upper().replace(",", ".")).astimezone(UTC)
        return at.replace(microsecond=at.microsecond // 1000 * 1000)
    except (ValueError, OverflowError):
        text = f"{name} is a time with its zone, such as 2027-01-31T09:00:00-03:00 or 2027-01-31T12:00:00Z"
        found.append(Complaint("MALFORMED", text, f"/{name}"))
        return None


def _order(not_before: datetime | None, deadline: datetime | None, now: datetime, found: list[Complaint]) -> None:
    if deadline is None:
        return
    if deadline <= now:
        found.append(Complaint("DEADLINE_PASSED", "the deadline has passed", "/deadline"))
    elif not_before is not None and not_before >= deadline:
        found.append(Complaint("MALFORMED", "not_before must come before the deadline", "/not_before"))
