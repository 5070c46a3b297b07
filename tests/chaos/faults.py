"""What is done to whom: each node, member and instance is killed once and frozen once."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from deploy.local.supervisor import Kept

FREEZE_S = 20.0
"""Longer than any lease, and than the broker's nodes wait for each other."""
BOUND_S = {"broker": 60.0, "database": 40.0}
BOUND_SERVICE_S = 40.0
VICTIMS = ("broker", "database", "console", "collector", "scheduler", "executor", "delivery", "alerts")


class Act(StrEnum):
    """What is done."""

    KILL = "kill -9"
    FREEZE = "freeze"


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    act: Act
    name: str
    """Of the process, such as executor-1."""
    service: str

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.act} {self.name}"

    @property
    def hold_s(self) -> float:
        """How long it lasts, seconds; what was killed is started again at once."""
        return FREEZE_S if self.act is Act.FREEZE else 0.0

    @property
    def bound_s(self) -> float:
        """Everything in hand must have come out so long after it, seconds."""
        return BOUND_S.get(self.service, BOUND_SERVICE_S)


def faults(kept: Iterable[Kept], only: str = "") -> list[Fault]:
    """One of each act for each victim, whose title has `only` in it."""
    victims = [one for one in kept if one.service in VICTIMS]
    found = [Fault(act, one.name, one.service) for one in victims for act in Act]
    return [fault for fault in found if only in fault.title]


def inject(fault: Fault, kept: Kept) -> int:
    """Do it; the pid of the process group that it was done to."""
    child = kept.child
    assert child is not None, f"{fault.name} does not run"
    os.killpg(child.pid, signal.SIGKILL if fault.act is Act.KILL else signal.SIGSTOP)
    return child.pid


def thaw(group: int) -> None:
    """Let frozen processes go on."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGCONT)
