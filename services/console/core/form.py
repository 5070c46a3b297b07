"""A form made of a workflow's JSON Schema: which fields there are. What is in them is read by form_values.py.

Called by: pages (new task), store/by_hand.py. Pure. A form only translates between texts in fields and a value; whether
the value fits is said by shared/intake. What is not known here becomes a field for JSON text, and a schema whose top
is no plain object becomes one such field, so every schema has a form. Source:
https://json-schema.org/draft/2020-12/json-schema-validation
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any
from urllib.parse import unquote

FIELDS_MAX = 60
DEPTH_MAX = 3
REFS_MAX = 10
OPTIONS_MAX = 500
LONG_TEXT = 300
LABEL_LENGTH_MAX = 200
RESTRICTING = ("anyOf", "oneOf", "allOf", "not", "if", "then", "else", "dependentSchemas", "$dynamicRef")
ALTERING = ("patternProperties", "propertyNames", "dependentRequired", "minProperties", "prefixItems", "contains")
"""Of objects and lists: what a person could not see in simple fields."""
_NULL: dict[str, Any] = {"type": "null"}


class Kind(StrEnum):
    """What a field is filled in with."""

    TEXT = "text"
    """One line."""
    LONG = "long"
    """Several lines."""
    INTEGER = "integer"
    """A whole number, as text."""
    NUMBER = "number"
    """A number, as text, with a point or a comma."""
    FLAG = "flag"
    """On or off."""
    CHOICE = "choice"
    """One of `options`; filled in with its place as text."""
    DATE = "date"
    """A day: 2026-11-30."""
    MOMENT = "moment"
    """A day and a time without zone, in the reader's: 2026-11-30T09:00."""
    LIST = "list"
    """Several values of the kind `item`, one per line."""
    CHOICES = "choices"
    """Several of `options`; filled in with a list of their places."""
    GROUP = "group"
    """An object; its fields are `fields`."""
    JSON = "json"
    """Anything, as JSON text."""


@dataclass(frozen=True)
class Field:
    """One field of a form."""

    pointer: str
    """JSON pointer of its value in the input: /address/city; empty: the input itself."""
    kind: Kind
    name: str = ""
    """The property's name."""
    label: str = ""
    """Its title, else its name."""
    hint: str = ""
    """Its description."""
    required: bool = False
    nullable: bool = False
    """Whether null fits: what a required field that was left empty means then."""
    options: tuple[Any, ...] = ()
    """Values to choose from: texts, numbers, true, false, null."""
    item: Kind | None = None
    """Of a list: the kind of its values."""
    default: Any = None
    has_default: bool = False
    rules: Mapping[str, Any] = field(default_factory=dict)
    """minimum, maximum, minLength, maxLength, pattern, format, as the schema has them; for hints only."""
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True)
class Form:
    """A form: its fields in the schema's order."""

    fields: tuple[Field, ...]

    @property
    def whole(self) -> bool:
        """Whether it is one field for the whole input as JSON."""
        return len(self.fields) == 1 and self.fields[0].pointer == ""

    def every(self) -> list[Field]:
        """All fields, groups before their own."""
        return _every(self.fields)

    def place(self, pointer: str) -> str:
        """The pointer of the field in which a complaint about the value at `pointer` is shown; empty: none of them."""
        found = [one.pointer for one in self.every() if pointer == one.pointer or pointer.startswith(f"{one.pointer}/")]
        return max(found, key=len, default="")


WHOLE = Form((Field("", Kind.JSON, required=True),))
"""The form of the schema that nothing is known about."""


def form_of(schema: Mapping[str, Any]) -> Form:
    """The form of an input's schema."""
    top = _resolved(schema, schema)
    if top is None or _types(top) - {"null"} not in ({"object"}, set()) or not isinstance(top.get("properties"), dict):
        return WHOLE
    if any(name in top for name in ALTERING if name != "dependentRequired") or _hides_fields(top):
        return WHOLE
    fields = _fields(top, schema, "", 1)
    return Form(fields) if 0 < len(_every(fields)) <= FIELDS_MAX else WHOLE


def escape(name: str) -> str:
    """A name as a part of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same one: 1, 1.0 and true are three."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(same(a, b) for a, b in zip(one, other, strict=True))
    return type(one) is type(other) and bool(one == other)


def _every(fields: tuple[Field, ...]) -> list[Field]:
    found: list[Field] = []
    for one in fields:
        found += [one, *_every(one.fields)]
    return found


def _hides_fields(top: Mapping[str, Any]) -> bool:
    """Whether fields stand in alternatives, so that the plain ones are not all."""
    parts: list[Any] = [top.get(name) for name in ("then", "else")]
    for name in ("anyOf", "oneOf", "allOf"):
        found = top.get(name)
        parts += found if isinstance(found, list) else []
    parts += list((top.get("dependentSchemas") or {}).values()) if isinstance(top.get("dependentSchemas"), dict) else []
    return any(isinstance(one, dict) and ("properties" in one or "$ref" in one) for one in parts)


def _fields(node: Mapping[str, Any], root: Mapping[str, Any], above: str, depth: int) -> tuple[Field, ...]:
    required = node.get("required")
    needed = required if isinstance(required, list) else []
    found: list[Field] = []
    for name, inner in node["properties"].items():
        if inner is False or len(found) > FIELDS_MAX:
            continue
        made = _field(inner, root, f"{above}/{escape(name)}", depth)
        label = str(made.label or name)[:LABEL_LENGTH_MAX]
        found.append(replace(made, name=name, label=label, required=name in needed))
    return tuple(found)


def _field(inner: Any, root: Mapping[str, Any], pointer: str, depth: int) -> Field:
    node = _resolved(inner, root)
    if node is None:
        return Field(pointer, Kind.JSON)
    node, nullable = _without_null(node, root)
    made = _by_kind(node, root, pointer, depth)
    return replace(
        made,
        label=_text(node.get("title")),
        hint=_text(node.get("description")),
        nullable=nullable,
        default=node.get("default"),
        has_default="default" in node,
        rules={name: node[name] for name in _RULES if isinstance(node.get(name), str | int | float)},
    )


_RULES = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength", "pattern", "format")


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _by_kind(node: Mapping[str, Any], root: Mapping[str, Any], pointer: str, depth: int) -> Field:
    options = _options(node)
    if options is not None:
        return Field(pointer, Kind.CHOICE, options=options)
    types = _types(node)
    if types == {"boolean"}:
        return Field(pointer, Kind.FLAG, options=(True, False))
    if types in ({"string"}, {"integer"}, {"number"}, {"integer", "number"}):
        return Field(pointer, _scalar(node, types))
    if any(name in node for name in (*RESTRICTING, *ALTERING)):
        return Field(pointer, Kind.JSON)
    if types == {"object"} and isinstance(node.get("properties"), dict) and node["properties"] and depth < DEPTH_MAX:
        return Field(pointer, Kind.GROUP, fields=_fields(node, root, pointer, depth + 1))
    if types == {"array"}:
        return _list(node, root, pointer)
    return Field(pointer, Kind.JSON)


def _scalar(node: Mapping[str, Any], types: set[str]) -> Kind:
    if types == {"integer"}:
        return Kind.INTEGER
    if types != {"string"}:
        return Kind.NUMBER
    length = node.get("maxLength")
    if node.get("format") == "date":
        return Kind.DATE
    if node.get("format") == "date-time":
        return Kind.MOMENT
    return Kind.LONG if isinstance(length, int) and length > LONG_TEXT else Kind.TEXT


def _list(node: Mapping[str, Any], root: Mapping[str, Any], pointer: str) -> Field:
    """A list of simple values; else JSON."""
    inner = _resolved(node.get("items"), root)
    if inner is not None:
        options, types = _options(inner), _types(inner)
        if options is not None:
            return Field(pointer, Kind.CHOICES, options=options)
        if types == {"string"}:
            return Field(pointer, Kind.LIST, item=Kind.TEXT)
        if types in ({"integer"}, {"number"}):
            return Field(pointer, Kind.LIST, item=_scalar(inner, types))
    return Field(pointer, Kind.JSON)


def _options(node: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The values of an enum or a const, when they are simple and fit the type that stands beside them."""
    values = [node["const"]] if "const" in node else node.get("enum")
    if not isinstance(values, list) or not 0 < len(values) <= OPTIONS_MAX:
        return None
    return tuple(values) if all(isinstance(one, str | int | float | None) for one in values) else None


def _types(node: Mapping[str, Any]) -> set[str]:
    """The types that a schema names; that of an object when it only lists properties."""
    found = node.get("type")
    if isinstance(found, str):
        return {found}
    if isinstance(found, list):
        return {str(one) for one in found}
    return {"object"} if isinstance(node.get("properties"), dict) else set()


def _without_null(node: dict[str, Any], root: Mapping[str, Any]) -> tuple[dict[str, Any], bool]:
    """The schema of what is not null, and whether null fits: `type: [x, null]`, or anyOf of x and null."""
    for name in ("anyOf", "oneOf"):
        parts = node.get(name)
        if isinstance(parts, list) and len(parts) == 2 and _NULL in parts:
            inner = _resolved(next((one for one in parts if one != _NULL), None), root)
            if inner is not None:
                rest = {key: value for key, value in node.items() if key != name}
                return {**inner, **rest}, True
    types = _types(node)
    if "null" in types and len(types) > 1:
        left = sorted(types - {"null"})
        return {**node, "type": left[0] if len(left) == 1 else left}, True
    return node, False


def _resolved(node: Any, root: Mapping[str, Any]) -> dict[str, Any] | None:
    """A schema with its reference followed; none when there is no such place, or no end of references."""
    for _ in range(REFS_MAX):
        if not isinstance(node, dict):
            return None
        target = node.get("$ref")
        if target is None:
            return node
        found = _at(target, root)
        if not isinstance(found, dict):
            return None
        rest = {name: value for name, value in node.items() if name != "$ref"}
        if set(rest) & set(found) - {"title", "description", "default"}:
            return None  # both count, and one field can't say so
        node = {**found, **rest}
    return None


def _at(reference: Any, root: Mapping[str, Any]) -> Any:
    """What a reference within the schema points to."""
    if not isinstance(reference, str) or not reference.startswith("#/"):
        return None
    found: Any = root
    for part in reference[2:].split("/"):
        name = unquote(part).replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) else None
    return found
