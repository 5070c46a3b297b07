"""What a script hands over, as plain JSON that the journal can hold: bounded before anything walks it as a whole.

Called by: args.py (arguments), ending.py (results), calls.py (fields of log lines). A script's value may be tiny in the
interpreter and endless when it is written out (a list that holds itself twice, forty times over), so it is measured by
a walk that stops at the limit; only then is it written. What BSON can't hold (whole numbers beyond 64 bits, names with
a NUL, a nesting without end) is refused here too: found at the insert, it would be a defect of the executor, and a run
that is tried again and again."""

from __future__ import annotations

import json
import math
from typing import Any

DEPTH_MAX = 40
INT_MIN, INT_MAX = -(2**63), 2**63 - 1
TEXT_CHARS_MAX = 500
NAME_CHARS_MAX = 100


class NotPlain(Exception):
    """The value can't be stored; the text says why, and what to do."""


def plain(value: Any, *, size_bytes_max: int) -> Any:
    """The value as JSON gives it back (tuples are lists, keys are texts).

    Raises: NotPlain.
    """
    _measure(value, size_bytes_max)
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise NotPlain(str(error)[:TEXT_CHARS_MAX]) from error
    if len(text) > size_bytes_max:
        raise NotPlain(f"{len(text)} bytes; at most {size_bytes_max} are kept")
    return json.loads(text)


def _measure(value: Any, size_bytes_max: int) -> None:
    """Walk the value until it is known to fit, or not to.

    Raises: NotPlain.
    """
    room = size_bytes_max
    level, depth = [value], 0
    while level:
        if depth > DEPTH_MAX:
            raise NotPlain(f"lists and dicts stand in each other more than {DEPTH_MAX} deep")
        below: list[Any] = []
        for one in level:
            room -= _cost(one)
            if room < 0:
                raise NotPlain(f"more than {size_bytes_max} bytes; at most so many are kept")
            if isinstance(one, dict):
                below.extend(one.values())
            elif isinstance(one, list | tuple):
                below.extend(one)
        level, depth = below, depth + 1


def _cost(one: Any) -> int:
    """Bytes that a value takes at least, without what stands in it.

    Raises: NotPlain.
    """
    if isinstance(one, str):
        return len(one) + 2
    if isinstance(one, int) and not INT_MIN <= one <= INT_MAX:
        raise NotPlain("a whole number has at most 64 bits; hand a larger one over as a text")
    if isinstance(one, dict):
        if any(isinstance(key, str) and "\0" in key for key in one):
            raise NotPlain("a key of a dict holds a NUL character")
        return 2 + sum(4 + (len(key) if isinstance(key, str) else 1) for key in one)
    return 2 + 2 * len(one) if isinstance(one, list | tuple) else 1


def log_field(value: Any) -> Any:
    """A field of a log line: numbers and short texts as they are, anything else as a short text."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if INT_MIN <= value <= INT_MAX else f"a number of {value.bit_length()} bits"
    if isinstance(value, str):
        return value[:TEXT_CHARS_MAX]
    try:
        return json.dumps(plain(value, size_bytes_max=TEXT_CHARS_MAX), ensure_ascii=False)
    except NotPlain:
        return f"a {type(value).__name__} that is too large for a log line, or no plain value"


def field_name(name: str) -> str:
    """The name of a log line's field."""
    return name[:NAME_CHARS_MAX].replace("\0", "")


def number(value: Any) -> float | None:
    """A finite number as a float, or none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None
