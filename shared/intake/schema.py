"""A version's JSON Schema (Draft 2020-12), compiled once, what it says against an input, and which scenario takes it.

Called by: items.py; service code keeps compiled ones by version id (a version never changes). Nothing is ever
fetched: a `$ref` to another place is a defect of the workflow. Source: https://json-schema.org/draft/2020-12/json-schema-core
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import SchemaError, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from shared.domain.place_keys import PlaceKeys
from shared.intake.quick import quick_check

ERRORS_PER_ITEM_MAX = 10
TEXT_MAX = 300
FILE_FORMAT = "file"
"""A text that is the id of a file of the account (POST /v1/files)."""
_FILE_ID = re.compile(r"^file_[0-9a-f]{32}$")


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
        formats = _checker(_is_file)
        self._validator = Draft202012Validator(dict(schema), format_checker=formats, registry=Registry())
        self._quick = quick_check(schema, formats)
        self._keys = PlaceKeys(scenarios)
        self._takes_files = _takes_files(schema)

    @property
    def is_sound(self) -> bool:
        """Whether it can't turn out to be unusable at some input: it refers to nothing."""
        return self._quick is not None

    def files(self, value: Mapping[str, Any]) -> tuple[str, ...]:
        """The ids of files that an input without complaints names, where the schema says `format: file`."""
        if not self._takes_files:
            return ()
        found: dict[str, None] = {}

        def note(text: object) -> bool:
            if _is_file(text) and isinstance(text, str):
                found[text] = None
            return True

        # The validator's own walk finds the places, references and alternatives included.
        for _ in self._validator.evolve(format_checker=_checker(note)).iter_errors(dict(value)):
            pass  # an alternative that does not fit; the walk goes on
        return tuple(found)

    def judge(self, value: Mapping[str, Any]) -> tuple[list[Complaint], str]:
        """What is wrong with an input, at most ERRORS_PER_ITEM_MAX; and, of one that is right, the key of its scenario
        and group, by which tasks of one run are found (empty without scenarios).

        Raises: UnusableSchema when the schema refers to something that isn't in it.
        """
        try:
            errors = [] if self._fits(value) else list(islice(self._errors(value), ERRORS_PER_ITEM_MAX))
        except Unresolvable as error:
            raise UnusableSchema(f"the workflow's input schema refers to {_short(str(error))}") from error
        except RecursionError:
            return [Complaint("INVALID_INPUT", "the input is nested too deeply for its schema", "/input")], ""
        if errors or not self._scenarios:
            return [_complaint(error) for error in errors], ""
        taken, key = self._keys.of(value)
        if taken:
            return [], key
        names = ", ".join(str(one["name"]) for one in self._scenarios)
        text = f"no scenario of the workflow takes this input; look at the conditions of {names}"
        return [Complaint("INVALID_INPUT", _short(text), "/input")], ""

    def _fits(self, value: Mapping[str, Any]) -> bool:
        """A quick yes; no means that the library has to say."""
        return self._quick is not None and self._quick(value)

    def _errors(self, value: Mapping[str, Any]) -> Iterator[ValidationError]:
        yield from self._validator.iter_errors(dict(value))


def _checker(is_file: Callable[[object], bool]) -> FormatChecker:
    """The draft's formats, and `file`."""
    checker = FormatChecker(())
    checker.checkers = {**Draft202012Validator.FORMAT_CHECKER.checkers, FILE_FORMAT: (is_file, ())}
    return checker


def _is_file(value: object) -> bool:
    return not isinstance(value, str) or bool(_FILE_ID.match(value))


def _takes_files(node: Any) -> bool:
    """Whether `format: file` stands anywhere in a schema."""
    if isinstance(node, Mapping):
        return node.get("format") == FILE_FORMAT or any(_takes_files(child) for child in node.values())
    return isinstance(node, list) and any(_takes_files(child) for child in node)


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
