"""Whether a task's input still fits the version that would run it.

Called by: the scheduler, just before a run opens: the version current then may be younger than the one the task was
checked against when it came in (a task that no longer fits is held, with the reason, and never reaches a script); the
executor, when it tries a new version against a run that was. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, ValidationError

TEXT_MAX = 500


class InputCheck:
    """The input schema of one version, ready to use; versions never change, so it may be kept."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._broken = ""
        try:
            Draft202012Validator.check_schema(dict(schema))
        except SchemaError as error:
            self._broken = f"the version's input schema is broken: {error.message}"
        self._validator = Draft202012Validator(dict(schema))

    def misfit(self, value: Any) -> str | None:
        """Why `value` does not fit, or none when it does."""
        if self._broken:
            return self._broken[:TEXT_MAX]
        try:
            error = next(iter(self._validator.iter_errors(value)), None)
        except Exception as failure:  # a schema may hold a reference or an expression that only fails when it is used
            return f"the version's input schema can't be applied: {failure}"[:TEXT_MAX]
        return None if error is None else _text(error)


def _text(error: ValidationError) -> str:
    where = ".".join(str(part) for part in error.absolute_path) or "the input"
    return f"its input does not fit the workflow's current version: {where}: {error.message}"[:TEXT_MAX]
