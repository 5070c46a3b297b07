"""Named elements: which selectors apply in an environment, and which of them have gone stale.

Called by: services/executor/core (what a message carries), services/console (the objects of a workflow). Pure. Change
also: docs/workflows.md (the rule in words).

A use is one instruction that looked for the object: the index of the selector that matched, or None when none did.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

WINDOW = 20
"""Newest uses that a verdict looks at."""
ENOUGH = 5
"""Uses below which nothing is said."""


class SelectorState(StrEnum):
    """What the newest uses say about one selector."""

    MATCHES = "matches"
    """It matched at least once."""
    STALE = "stale"
    """It never matched, and one that stands behind it did."""
    UNTRIED = "untried"
    """One before it always matched, so nobody looked at it; or it was looked at only where nothing matched."""
    UNKNOWN = "unknown"
    """Too few uses to say."""


class Reason(StrEnum):
    """Why an object wants a look."""

    SELECTOR = "selector"
    """A selector did not match in the newest uses, while one behind it did."""
    MISSING = "missing"
    """None of its selectors matched in the newest uses."""
    UNUSED = "unused"
    """No script used it, while others of the workflow were used often."""


@dataclass(frozen=True)
class Verdict:
    """What the uses of an object say."""

    selectors: tuple[SelectorState, ...]
    reason: Reason | None = None

    @property
    def stale(self) -> bool:
        """Whether somebody should look at it."""
        return self.reason is not None


def judge(selectors: int, uses: Sequence[int | None], *, busiest: int = 0) -> Verdict:
    """What the uses of an object say about its selectors.

    selectors: how many it has; uses: oldest first; busiest: uses of the object of the workflow that is used most.
    """
    if not uses:
        unused = Reason.UNUSED if busiest >= WINDOW else None
        return Verdict((SelectorState.UNKNOWN,) * selectors, unused)
    seen = uses[-WINDOW:]
    if len(seen) < ENOUGH:
        some = {index for index in seen if index is not None}
        known = (SelectorState.MATCHES if i in some else SelectorState.UNKNOWN for i in range(selectors))
        return Verdict(tuple(known))
    last = max((index for index in seen if index is not None), default=-1)
    states = tuple(_state(index, seen, last) for index in range(selectors))
    if last < 0:
        return Verdict(states, Reason.MISSING)
    return Verdict(states, Reason.SELECTOR if SelectorState.STALE in states else None)


def _state(index: int, seen: Sequence[int | None], last: int) -> SelectorState:
    if index in seen:
        return SelectorState.MATCHES
    return SelectorState.STALE if index < last else SelectorState.UNTRIED


def selectors_in(definition: Mapping[str, Any], environment: str | None) -> list[str]:
    """The selectors of an object (as a version stores it) in an environment; one that it does not name changes
    nothing."""
    override = (definition.get("environments") or {}).get(environment) if environment else None
    return [str(one) for one in (override or definition)["selectors"]]


def environment_of(workflow: Mapping[str, Any] | None, account: Mapping[str, Any] | None) -> str | None:
    """The environment that runs are opened in: the workflow's setting, else its account's; both as stored."""
    chosen = (workflow or {}).get("environment") or (account or {}).get("environment")
    return str(chosen) if chosen else None


def environments_in(objects: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of all environments for which some object has selectors of its own, sorted."""
    return sorted({name for one in objects.values() for name in one.get("environments") or {}})


def mark_of(selectors: Sequence[str]) -> str:
    """What tells one list of selectors from another: counts of a list say nothing about its successor."""
    text = json.dumps(list(selectors), ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
