"""Conditions on a field of a task's input, as data: the operators, and which value each takes.

Called by: workflow_file.py (checks a folder), shared.domain.scenario (applies them). Change also: docs/workflows.md.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

VALUES_MAX = 1000


class Operator(StrEnum):
    """How a field is compared with the condition's value."""

    EQ = "eq"
    """Equal, in type and value."""
    NE = "ne"
    """Not equal, or not there."""
    IN = "in"
    """Equal to one of the list."""
    NOT_IN = "not_in"
    """Equal to none of the list, or not there."""
    LT = "lt"
    """Less: numbers by value, texts by their characters."""
    LE = "le"
    """Less or equal."""
    GT = "gt"
    """Greater."""
    GE = "ge"
    """Greater or equal."""
    STARTS_WITH = "starts_with"
    """A text that begins with the value."""
    CONTAINS = "contains"
    """A text that holds the value, or a list that has it."""
    EXISTS = "exists"
    """There and not null (value true), or missing or null (value false)."""


LISTS = frozenset({Operator.IN, Operator.NOT_IN})
ORDERED = frozenset({Operator.LT, Operator.LE, Operator.GT, Operator.GE})


def value_problem(op: Operator, value: Any) -> str | None:
    """Why a condition's value does not go with its operator, or none when it does."""
    if op in LISTS:
        if not isinstance(value, list) or not 1 <= len(value) <= VALUES_MAX:
            return f"{op} takes a list of 1 to {VALUES_MAX} values"
        return None
    if isinstance(value, list):
        return f"{op} takes one value, not a list"
    if op in ORDERED and (isinstance(value, bool) or not isinstance(value, int | float | str)):
        return f"{op} takes a number or a text"
    if op is Operator.STARTS_WITH and not isinstance(value, str):
        return "starts_with takes a text"
    if op is Operator.EXISTS and not isinstance(value, bool):
        return "exists takes true or false"
    return None
