"""Which object an instruction looked for, and which of its selectors matched, according to the answer.

Called by: services/executor/matches.py. Pure. The reply says the index of the selector that matched; a reply without
one says that nothing matched only where the instruction needed the element: `exists` may well find nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shared.domain.objects import selectors_in
from shared.script.modules import OBJECT

NOT_THERE = frozenset({"TIMEOUT", "NOT_FOUND"})
"""Codes of a clean error that mean: the element did not appear."""


@dataclass(frozen=True)
class Use:
    """One instruction that looked for an object."""

    object: str
    selectors: tuple[str, ...]
    """As they were sent."""
    matched: int | None
    """Index among them; none: nothing matched."""


def use_of(
    instruction: Mapping[str, Any],
    objects: Mapping[str, Mapping[str, Any]],
    environment: str | None,
    *,
    outcome: str,
    code: str | None,
    matched: int | None,
) -> Use | None:
    """What an answered instruction says about its object; None when it has none, or the answer says nothing.

    instruction: as the journal's entry has it; objects: the version's; code: of the answer's error.
    """
    name = _object(instruction.get("args") or {})
    if name is None or name not in objects:
        return None
    selectors = tuple(selectors_in(objects[name], environment))
    if matched is not None:
        return Use(name, selectors, matched) if 0 <= matched < len(selectors) else None
    missing = outcome == "error" and code in NOT_THERE
    return Use(name, selectors, None) if missing else None


def _object(args: Mapping[str, Any]) -> str | None:
    """Name of the object that the arguments refer to: an instruction has one target at most."""
    for value in args.values():
        if isinstance(value, Mapping) and set(value) == {OBJECT}:
            return str(value[OBJECT])
    return None
