"""Elements of an answer and rows of a table to items as they stand in a push: {reference, input, priority, ..}.

Called by: collector (pollers, files), console (preview of an upload). Pure. What does not fit is left as it came: the
checks of items say what is wrong with it. Change also: docs/sources.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from shared.intake.expressions import Expression, Failed, Purse
from shared.intake.source_settings import Columns, ItemMapping
from shared.intake.table import Row

EXTRA = ("priority", "not_before", "deadline")
_INTEGER = re.compile(r"^[+-]?[0-9]{1,18}$")
_NUMBER = re.compile(r"^[+-]?([0-9]{1,15}(\.[0-9]{1,15})?|\.[0-9]{1,15})([eE][+-]?[0-9]{1,2})?$")
_COMMA = re.compile(r"^[+-]?[0-9]{1,15},[0-9]{1,15}$")
_TRUE, _FALSE = (
    frozenset({"true", "yes", "sim", "1", "verdadeiro"}),
    frozenset({"false", "no", "não", "nao", "0", "falso"}),
)


class Mapper:
    """Maps the elements of one answer; all of them share one purse."""

    def __init__(self, mapping: ItemMapping, purse: Purse) -> None:
        self._purse = purse
        self._reference = Expression(mapping.reference)
        fields = mapping.input
        self._input = (
            Expression(fields) if isinstance(fields, str) else {name: Expression(one) for name, one in fields.items()}
        )
        extra = {name: getattr(mapping, name) for name in EXTRA}
        self._extra = {name: Expression(text) for name, text in extra.items() if text is not None}

    def item(self, element: Any) -> dict[str, Any]:
        """The item that an element becomes.

        Raises: Failed when an expression can't be evaluated on it.
        """
        made: dict[str, Any] = {"reference": _reference(self._reference.of(element, self._purse))}
        if isinstance(self._input, Expression):
            made["input"] = self._input.of(element, self._purse)
        else:
            found = {name: one.of(element, self._purse) for name, one in self._input.items()}
            made["input"] = {name: value for name, value in found.items() if value is not None}
        for name, expression in self._extra.items():
            value = expression.of(element, self._purse)
            if value is not None:
                made[name] = _whole(value) if name == "priority" else value
        return made


def mapped(elements: Iterable[Any], mapping: ItemMapping, purse: Purse) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """The items of a page, and why some could not be mapped, by their place; those stand as items without anything.

    Raises: Failed when the purse is empty.
    """
    mapper, items, problems = Mapper(mapping, purse), [], {}
    for index, element in enumerate(elements):
        try:
            items.append(mapper.item(element))
        except Failed as error:
            if purse.left < 0:
                raise
            problems[index] = str(error)
            items.append({})
    return items, problems


def row_item(row: Row, columns: Columns | None, schema: Mapping[str, Any], *, fallback: str) -> dict[str, Any]:
    """The item that a row becomes; types as the workflow's schema has them.

    fallback: what makes a reference where the row has none: the same for the same file.
    """
    values = row.values
    if columns is None and isinstance(values.get("input"), dict):
        made = dict(values)  # JSON that already is an item
    elif columns is None:
        fields = {name: value for name, value in values.items() if name not in ("reference", *EXTRA)}
        made = {name: values[name] for name in ("reference", *EXTRA) if name in values}
        made["input"] = typed(fields, schema)
    else:
        fields = {field: values[column] for field, column in columns.input.items() if column in values}
        names = {name: getattr(columns, name) for name in ("reference", *EXTRA)}
        made = {name: values[column] for name, column in names.items() if column in values}
        made["input"] = typed(fields, schema)
    reference = made.get("reference")
    made["reference"] = f"{fallback}:{row.number}" if reference in (None, "") else _reference(reference)
    if "priority" in made:
        made["priority"] = _whole(made["priority"])
    return made


def typed(fields: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Cells as the schema's types; `a.b` is field b within a. What does not fit stays as it is."""
    made: dict[str, Any] = {}
    for name, value in fields.items():
        place, inner, parts = made, schema, name.split(".")
        if len(parts) == 1 or not all(parts):
            parts = [name]
        for part in parts[:-1]:
            inner = _property(inner, part)
            nested = place.setdefault(part, {})
            if not isinstance(nested, dict):
                break
            place = nested
        else:
            place[parts[-1]] = _as_type(value, _property(inner, parts[-1]))
    return made


def _property(schema: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    properties = schema.get("properties")
    found = properties.get(name) if isinstance(properties, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _as_type(value: Any, schema: Mapping[str, Any]) -> Any:
    wanted = schema.get("type")
    types = [wanted] if isinstance(wanted, str) else wanted if isinstance(wanted, list) else []
    if "string" in types and not isinstance(value, str | dict | list):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if isinstance(value, str) and "string" not in types:
        for kind in types:
            fitting = _parsed(value.strip(), kind)
            if fitting is not None:
                return fitting
    return value


def _parsed(text: str, kind: str) -> Any:
    """A text as an integer, a number (1.5 or 1,5) or a truth value; none when it is none."""
    if kind == "integer" and _INTEGER.match(text):
        return int(text)
    if kind == "number":
        if _INTEGER.match(text):
            return int(text)
        if _NUMBER.match(text) or _COMMA.match(text):
            return float(text.replace(",", "."))
    if kind == "boolean" and text.lower() in _TRUE | _FALSE:
        return text.lower() in _TRUE
    return None


def _reference(value: Any) -> Any:
    """References are texts; many partners have numbers."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, str) and _INTEGER.match(value) else value
