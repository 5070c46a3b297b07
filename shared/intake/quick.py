"""A quick yes for inputs that fit: the common part of JSON Schema as closures, about ten times as fast as the library.

Called by: schema.py, which asks the library for everything that this does not say yes to: so complaints, and every
keyword outside of the common part, are the library's. Pure. What it says is what jsonschema's Draft202012Validator
says; tests/unit/shared/intake/test_quick.py holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jsonschema import FormatChecker

Check = Callable[[Any], bool]

_SAYS_NOTHING = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$comment"}
)
"""Keywords that no input can break."""
_TOGETHER = frozenset({"properties", "additionalProperties"})


class _Beyond(Exception):
    """A keyword, or a use of one, outside of the common part."""


def quick_check(schema: Any, formats: FormatChecker) -> Check | None:
    """A function that is true for the values that fit a schema; none when the schema needs more than the common part.

    formats: what `format` means.
    """
    # Of the whole, $schema says nothing new; within it could name another dialect.
    root = {key: one for key, one in schema.items() if key != "$schema"} if isinstance(schema, Mapping) else schema
    try:
        return _schema(root, formats)
    except (_Beyond, re.error, RecursionError, TypeError, KeyError):
        return None


def _schema(schema: Any, formats: FormatChecker) -> Check:
    if isinstance(schema, bool):
        return lambda value: schema
    if not isinstance(schema, Mapping):
        raise _Beyond
    checks = [_properties(schema, formats)] if _TOGETHER & schema.keys() else []
    for keyword, wanted in schema.items():
        if keyword in _PLAIN:
            checks.append(_PLAIN[keyword](wanted))
        elif keyword in _NESTED:
            checks.append(_NESTED[keyword](wanted, formats))
        elif keyword == "format":
            checks.append(_format(wanted, formats))
        elif keyword not in _SAYS_NOTHING and keyword not in _TOGETHER:
            raise _Beyond
    return checks[0] if len(checks) == 1 else _all(tuple(checks))


def _all(parts: Sequence[Check]) -> Check:
    def check(value: Any) -> bool:
        for part in parts:  # noqa: SIM110 - all() with a generator takes twice as long
            if not part(value):
                return False
        return True

    return check


def _properties(schema: Mapping[str, Any], formats: FormatChecker) -> Check:
    """`properties` and what others there may be."""
    named = {name: _schema(one, formats) for name, one in schema.get("properties", {}).items()}
    others = _schema(schema.get("additionalProperties", True), formats)

    def check(value: Any) -> bool:
        if not isinstance(value, dict):
            return True
        for name, one in value.items():  # noqa: SIM110
            if not named.get(name, others)(one):
                return False
        return True

    return check


def _items(schema: Any, formats: FormatChecker) -> Check:
    one = _schema(schema, formats)

    def check(value: Any) -> bool:
        if isinstance(value, list):
            for each in value:
                if not one(each):
                    return False
        return True

    return check


def _all_of(schemas: Sequence[Any], formats: FormatChecker) -> Check:
    return _all(tuple(_schema(each, formats) for each in schemas))


def _any_of(schemas: Sequence[Any], formats: FormatChecker) -> Check:
    parts = tuple(_schema(each, formats) for each in schemas)
    return lambda value: any(part(value) for part in parts)


def _format(name: str, formats: FormatChecker) -> Check:
    return lambda value: formats.conforms(value, name)


def _type(wanted: Any) -> Check:
    if isinstance(wanted, str):
        return _TYPES[wanted]
    kinds = tuple(_TYPES[each] for each in wanted)
    return lambda value: any(kind(value) for kind in kinds)


def _is_integer(value: Any) -> bool:
    if isinstance(value, int):
        return not isinstance(value, bool)
    return isinstance(value, float) and value.is_integer()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: dict[str, Check] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "number": _is_number,
    "integer": _is_integer,
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def _required(names: Sequence[str]) -> Check:
    wanted = frozenset(names)
    return lambda value: not isinstance(value, dict) or wanted <= value.keys()


def _enum(values: Sequence[Any]) -> Check:
    # True is not 1, but 1.0 is: comparing anything but texts is left to the library.
    if not all(each is None or isinstance(each, str) for each in values):
        raise _Beyond
    known = frozenset(values)
    return lambda value: (value is None or isinstance(value, str)) and value in known


def _pattern(pattern: str) -> Check:
    search = re.compile(pattern).search
    return lambda value: not isinstance(value, str) or search(value) is not None


def _length(kind: Any, fits: Callable[[int, Any], bool]) -> Callable[[Any], Check]:
    return lambda limit: lambda value: not isinstance(value, kind) or fits(len(value), limit)


def _bound(fits: Callable[[Any, Any], bool]) -> Callable[[Any], Check]:
    return lambda limit: lambda value: not _is_number(value) or fits(value, limit)


_PLAIN: dict[str, Callable[[Any], Check]] = {
    "type": _type,
    "required": _required,
    "enum": _enum,
    "const": lambda wanted: _enum([wanted]),
    "pattern": _pattern,
    "minLength": _length(str, lambda size, limit: size >= limit),
    "maxLength": _length(str, lambda size, limit: size <= limit),
    "minItems": _length(list, lambda size, limit: size >= limit),
    "maxItems": _length(list, lambda size, limit: size <= limit),
    "minProperties": _length(dict, lambda size, limit: size >= limit),
    "maxProperties": _length(dict, lambda size, limit: size <= limit),
    "minimum": _bound(lambda value, limit: bool(value >= limit)),
    "maximum": _bound(lambda value, limit: bool(value <= limit)),
    "exclusiveMinimum": _bound(lambda value, limit: bool(value > limit)),
    "exclusiveMaximum": _bound(lambda value, limit: bool(value < limit)),
}
_NESTED: dict[str, Callable[[Any, FormatChecker], Check]] = {"items": _items, "allOf": _all_of, "anyOf": _any_of}
