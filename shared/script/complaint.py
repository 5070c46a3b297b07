"""One thing that is wrong with a workflow's folder, and how other libraries' complaints become one.

Called by: shared.script.check, shared.script.objects. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import yaml
from pydantic import ValidationError


@dataclass(frozen=True)
class CheckError:
    """One thing that is wrong (or, as a warning, that looks wrong), and where."""

    file: str
    line: int | None
    message: str


def yaml_error(name: str, error: Exception) -> CheckError:
    """A text that is no YAML."""
    if isinstance(error, yaml.MarkedYAMLError):
        line = error.problem_mark.line + 1 if error.problem_mark else None
        return CheckError(name, line, f"not YAML: {error.problem or error.context or 'unreadable'}")
    return CheckError(name, None, f"not YAML: {error}")


def validation(name: str, error: ValidationError, prefix: str = "", line: int | None = None) -> list[CheckError]:
    """Data that do not fit their model: a complaint per field."""
    found = error.errors(include_input=False, include_url=False)
    return [
        CheckError(name, line, f"{prefix}{'.'.join(str(p) for p in e['loc']) or 'file'}: {e['msg']}") for e in found
    ]
