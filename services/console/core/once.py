"""What a one-off run is asked for with: the scenario that takes it, and whether its input fits.

Called by: store/once.py. Pure. Change also: shared/domain/scenario.py (which scenario takes an input).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jsonschema import Draft202012Validator

from shared.domain.scenario import matching
from shared.errors import ErrorCode, PermanentError


def chosen_scenario(scenarios: Sequence[Mapping[str, Any]], name: str | None, value: Mapping[str, Any]) -> str:
    """The named scenario, whatever its conditions; without a name the first one that takes the input.

    Raises: PermanentError INVALID_INPUT.
    """
    names = [str(one["name"]) for one in scenarios]
    if name is not None and name not in names:
        raise PermanentError(ErrorCode.INVALID_INPUT, f"there is no scenario {name}; there is: {', '.join(names)}")
    number = names.index(name) if name is not None else matching(scenarios, value)
    if number is None:
        raise PermanentError(ErrorCode.INVALID_INPUT, f"no scenario takes this input; name one of: {', '.join(names)}")
    if not scenarios[number].get("worker", True):
        raise PermanentError(
            ErrorCode.INVALID_INPUT, f"scenario {names[number]} uses no robot; a one-off run is one on a robot"
        )
    return names[number]


def check_input(schema: Mapping[str, Any], value: Mapping[str, Any]) -> None:
    """Check an input against a version's schema.

    Raises: PermanentError INVALID_INPUT that names the field.
    """
    error = next(iter(Draft202012Validator(dict(schema)).iter_errors(dict(value))), None)
    if error is not None:
        where = ".".join(str(part) for part in error.absolute_path) or "the input"
        raise PermanentError(ErrorCode.INVALID_INPUT, f"{where}: {error.message}"[:500])
