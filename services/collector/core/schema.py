"""A version's JSON Schema (Draft 2020-12), compiled once, what it says against an input, and which scenario takes it.

Called by: items.py; service code keeps compiled ones by version id (a version never changes). Nothing is ever
fetched: a
`$ref` to another place is a defect of the workflow. Source: https://json-schema.org/draft/2020-12/json-schema-core
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from shared.domain.scenario import matching, place_key

ERRORS_PER_ITEM_MAX = 10
TEXT_MAX = 300


class UnusableSchema(Exception):
    """The workflow's own schema is at fault, not the input; the text says how."""


@dataclass(frozen=True)
class Complaint:
    """One thing that is wrong with an item."""

    code: str
    message: str
    path: str
    """JSON pointer into the item, such as /input/registration; empty: the item as a whole."""

    def as_json(self) -> dict[str, str]:
        """As it stands in the answer."""
        return {"code": self.code, "message": self.message, "path": self.path}


class InputSchema:
    """A compiled schema, with the scenarios of its version."""

    def __init__(self, schema: Mapping[str, Any], scenarios: Sequence[Mapping[str, Any]] = ()) -> None:
        """Raises: UnusableSchema."""
        self._scenarios = scenarios
        try:
            Draft202012Validator.check_schema(dict(schema))
        except (SchemaError, RecursionError) as error:
            raise UnusableSchema(f"the workflow's input schema is no JSON Schema: {_short(str(error))}") from error
        self._validator = Draft202012Validator(
            dict(schema), format_checker=Draft202012Validator.FORMAT_CHECKER, registry=Registry()
        )

    def group(self, value: Mapping[str, Any]) -> str:
        """The key of an input's scenario and group, by which tasks of one run are found; empty without scenarios."""
        return place_key(self._scenarios, value) if self._scenarios else ""

    def complaints(self, value: Mapping[str, Any]) -> list[Complaint]:
        """What is wrong with an input; at most ERRORS_PER_ITEM_MAX.

        Raises: UnusableSchema when the schema refers to something that isn't in it.
        """
        try:
            errors = list(islice(self._validator.iter_errors(dict(value)), ERRORS_PER_ITEM_MAX))
        except Unresolvable as error:
            raise UnusableSchema(f"the workflow's input schema refers to {_short(str(error))}") from error
        except RecursionError:
            return [Complaint("INVALID_INPUT", "the input is nested too deeply for its schema", "/input")]
        if errors or not self._scenarios or matching(self._scenarios, value) is not None:
            return [_complaint(error) for error in errors]
        names = ", ".join(str(one["name"]) for one in self._scenarios)
        text = f"no scenario of the workflow takes this input; look at the conditions of {names}"
        return [Complaint("INVALID_INPUT", _short(text), "/input")]


def pointer(parts: Sequence[Any]) -> str:
    """A JSON pointer (RFC 6901) within an item: /input and then `parts`."""
    escaped = (str(part).replace("~", "~0").replace("/", "~1") for part in parts)
    return _short("/".join(["/input", *escaped]))


def _complaint(error: ValidationError) -> Complaint:
    return Complaint("INVALID_INPUT", _short(error.message), pointer(list(error.absolute_path)))


def _short(text: str) -> str:
    """At most TEXT_MAX characters that any client can read: an input may hold a lone surrogate in a name."""
    clean = text.encode("utf-8", "replace").decode()
    return clean if len(clean) <= TEXT_MAX else f"{clean[: TEXT_MAX - 1]}…"
