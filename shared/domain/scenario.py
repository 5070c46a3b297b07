"""Which scenario of a workflow takes a task, and which tasks share a group: conditions and groups as data.

Called by: collector (a task's group is stored when it comes in), scheduler (target and batch; tasks are keyed anew when
a new version's scenarios differ), shared.mongo.waiting. Pure. Change also: section 'Order of work' of ARCHITECTURE.md.

A key is `<layout>.<scenario>.<group>`: eight hex digits that stand for all conditions and groupings of the version, the
scenario's number in two digits, and sixteen hex digits of the group's values (nothing when it does not group). Tasks of
one run share a key, so the first N of a group are one range of an index. Two versions with the same conditions and
groupings have the same layout, whatever else changed in them, so nothing is keyed anew without need.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.contracts.conditions import ORDERED, Operator

NOBODY = "--"
"""Stands for the scenario's number in the key of a task that no scenario takes."""
_MISSING = object()
_ENCODE = json.JSONEncoder(sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True)
class Key:
    """A task's key, taken apart."""

    layout: str
    scenario: int | None
    """Its number in the version, from 0; none: no scenario takes the task."""
    group: str
    """Digest of the group's values; empty when the scenario does not group."""

    def __str__(self) -> str:
        number = NOBODY if self.scenario is None else f"{self.scenario:02d}"
        return f"{self.layout}.{number}.{self.group}"


def parse_key(text: str | None) -> Key | None:
    """A stored key, or none when it is no key (a task from before there were any)."""
    parts = (text or "").split(".")
    if len(parts) != 3 or not parts[0] or not (parts[1] == NOBODY or parts[1].isdigit()):
        return None
    return Key(parts[0], None if parts[1] == NOBODY else int(parts[1]), parts[2])


def layout(scenarios: Sequence[Mapping[str, Any]]) -> str:
    """What stands for the conditions and groupings of these scenarios, in their order."""
    parts = [[one["name"], one.get("when") or [], one.get("group_by") or []] for one in scenarios]
    return hashlib.sha256(_canonical(parts)).hexdigest()[:8]


def task_key(scenarios: Sequence[Mapping[str, Any]], value: Mapping[str, Any]) -> Key:
    """The key of a task with the input `value`: the first scenario whose conditions it meets. Of many tasks:
    place_keys.py."""
    number = matching(scenarios, value)
    group = "" if number is None else group_digest(group_values(scenarios[number], value))
    return Key(layout(scenarios), number, group)


def place_key(scenarios: Sequence[Mapping[str, Any]], value: Mapping[str, Any]) -> str:
    """The same as a text, as tasks store it."""
    return str(task_key(scenarios, value))


def matching(scenarios: Sequence[Mapping[str, Any]], value: Mapping[str, Any]) -> int | None:
    """Number of the first scenario that takes an input, or none."""
    for number, scenario in enumerate(scenarios):
        if all(holds(condition, value) for condition in scenario.get("when") or ()):
            return number
    return None


def needs_robot(scenario: Mapping[str, Any]) -> bool:
    """Whether runs of a scenario need a robot; those that do not are run by the server alone."""
    return bool(scenario.get("worker", True))


def group_values(scenario: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
    """What the tasks of a run share: the values of the scenario's fields; null for one that is missing."""
    found = {path: _at(value, path) for path in scenario.get("group_by") or ()}
    return {path: None if one is _MISSING else one for path, one in found.items()}


def group_digest(values: Mapping[str, Any]) -> str:
    """Sixteen hex digits for the values of a group, the same in every workflow; empty when there are none."""
    if not values:
        return ""
    return hashlib.sha256(_canonical(sorted(values.items()))).hexdigest()[:16]


def holds(condition: Mapping[str, Any], value: Mapping[str, Any]) -> bool:
    """Whether an input meets a condition {field, op, value}."""
    found, op, wanted = _at(value, condition["field"]), Operator(condition.get("op", "eq")), condition.get("value")
    there = found is not _MISSING and found is not None
    match op:
        case Operator.EXISTS:
            return there is bool(wanted)
        case Operator.EQ:
            return _equal(found, wanted)
        case Operator.NE:
            return not _equal(found, wanted)
        case Operator.IN:
            return any(_equal(found, one) for one in wanted or ())
        case Operator.NOT_IN:
            return not any(_equal(found, one) for one in wanted or ())
        case Operator.STARTS_WITH:
            return isinstance(found, str) and found.startswith(str(wanted))
        case Operator.CONTAINS:
            return _contains(found, wanted)
    return there and op in ORDERED and _compares(op, found, wanted)


def _at(value: Mapping[str, Any], path: str) -> Any:
    found: Any = value
    for name in path.split("."):
        if not isinstance(found, Mapping) or name not in found:
            return _MISSING
        found = found[name]
    return found


def _equal(found: Any, wanted: Any) -> bool:
    """JSON's equality: 1 is 1.0, but true is not 1; a missing field equals nothing, not even null."""
    return found is not _MISSING and isinstance(found, bool) is isinstance(wanted, bool) and bool(found == wanted)


def _contains(found: Any, wanted: Any) -> bool:
    if isinstance(found, str):
        return isinstance(wanted, str) and wanted in found
    return isinstance(found, list) and any(_equal(one, wanted) for one in found)


def _compares(op: Operator, found: Any, wanted: Any) -> bool:
    """Numbers with numbers, texts with texts; anything else does not compare."""
    if isinstance(found, bool) or isinstance(wanted, bool):
        return False
    texts = isinstance(found, str) and isinstance(wanted, str)
    if not texts and not (isinstance(found, int | float) and isinstance(wanted, int | float)):
        return False
    match op:
        case Operator.LT:
            return bool(found < wanted)
        case Operator.LE:
            return bool(found <= wanted)
        case Operator.GT:
            return bool(found > wanted)
        case _:
            return bool(found >= wanted)


def _canonical(value: Any) -> bytes:
    return _ENCODE(value).encode("utf-8", "replace")
