"""What an instruction and its reply say about waits: which are paced, what an error tells, and who is to blame.

Called by: services/executor/pacing.py. Survives a crash: nothing, it is pure. Change also: shared/domain/pacing.py
(what is learned from it), the agent's drivers/contract.py (the robot's own waits, which `wait_of` repeats)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from shared.contracts.catalogue import ELEMENT_WAIT_GRACE_S, TIMEOUT_S_MAX
from shared.domain.pacing import Observation
from shared.domain.pacing_find import Wait
from shared.domain.pacing_pause import Bounds
from shared.script.modules import OBJECT

NOT_PACED = frozenset({"files", "process", "screen", "http", "job", "mail", "regente"})
"""Modules whose instructions meet no page or window."""
CURABLE = frozenset({"TIMEOUT", "NOT_FOUND", "DRIVER_FAILED"})
"""Errors that a longer pause may cure."""
NOT_THERE = frozenset({"TIMEOUT", "NOT_FOUND"})
"""Errors that may also mean that the instruction *before* came too early: its click was swallowed."""
ROBOT_GRACE_S, EXISTS_WAIT_S = 5.0, 5.0
"""The robot's own: what it keeps of the time for the act, and how long `exists` waits."""


@dataclass(frozen=True)
class Planned:
    """How one instruction waits, and all that `note` needs to know about it later."""

    pause_s: float = 0.0
    find_s: float | None = None
    timeout_s: float = 0.0
    """The instruction's time, lengthened by what was planned."""
    key: str = ""
    """`<account>/<workflow>`; empty: nothing is learned from it."""
    place: str = ""
    run: str = ""
    worker: str = ""
    name: str = ""
    object: str | None = None
    wait: Wait | None = None
    waits_s: float | None = None
    """How long it waits for what it needs in the end; None: it needs nothing."""


def place_of(instruction: Mapping[str, Any]) -> str:
    """The place of a stored instruction: script, function, line, name."""
    parts = (instruction.get(field) for field in ("script", "function", "line", "name"))
    return ":".join(str(part if part is not None else "") for part in parts).replace("/", "|")[:300]


def is_paced(name: str) -> bool:
    """Whether waits of such an instruction are learned."""
    return name.partition(".")[0] not in NOT_PACED


def object_of(args: Mapping[str, Any]) -> str | None:
    """The object that an instruction is about, if any."""
    target = args.get("target")
    name = target.get(OBJECT) if isinstance(target, Mapping) else None
    return str(name)[:100] if name else None


def own_wait_s(name: str, args: Mapping[str, Any], timeout_s: float) -> float | None:
    """How long the robot waits when it is told nothing; None: the instruction waits for nothing."""
    if name != "browser.open" and "target" not in args:
        return None
    asked = args.get("timeout")
    if isinstance(asked, int | float) and not isinstance(asked, bool):
        return max(0.0, float(asked))
    whole = max(timeout_s - ROBOT_GRACE_S, 1.0)
    return min(EXISTS_WAIT_S, whole) if name.endswith(".exists") else whole


def wait_of(name: str, args: Mapping[str, Any], timeout_s: float, turn: int) -> Wait | None:
    """The wait that may be learned; None when there is none, or the script gives its own time."""
    own_s = own_wait_s(name, args, timeout_s)
    if own_s is None or args.get("timeout") is not None:
        return None
    return Wait(own_s, needed=not name.endswith(".exists"), shortens=name != "browser.open", turn=turn)


def lengthened_s(timeout_s: float, pause_s: float, find_s: float | None) -> float:
    """The instruction's time with room for its pause and its wait."""
    return min(max(timeout_s, (find_s or 0.0) + ELEMENT_WAIT_GRACE_S) + pause_s, TIMEOUT_S_MAX)


def observed(planned: Planned, *, outcome: str, code: str, found_s: float | None, value: Any) -> Observation:
    """What one reply says."""
    absent = planned.name.endswith(".exists") and outcome == "done" and value is False
    missed = absent or (outcome == "error" and code == "TIMEOUT" and found_s is None)
    early: bool | None = None
    if outcome == "done":
        early = None if absent else False
    elif outcome in ("error", "in_doubt") and code in CURABLE and planned.name != "browser.open":
        early = True
    return Observation(
        early=early, paused_s=planned.pause_s, found_s=found_s if outcome == "done" else None,
        missed_after_s=planned.waits_s if missed and planned.waits_s is not None else None,
        wait=planned.wait, robot=planned.worker, object=planned.object,
    )  # fmt: skip


def blamed(before: Observation, seen: Observation, code: str) -> Observation:
    """What the instruction before did, now that the next one is known: nothing may have come of its click."""
    return replace(before, early=True) if before.early is False and seen.early and code in NOT_THERE else before


def bounds_of(settings: Mapping[str, Any]) -> Bounds:
    """A workflow's stored settings as bounds; what an older document leaves out has its default."""
    fields = ("pause_max_s", "find_max_s", "retry_after_hours")
    return Bounds(**{name: float(settings[name]) for name in fields if settings.get(name) is not None})
