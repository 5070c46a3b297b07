"""What may happen to a call on its way, and to the process that makes it: latency, failures, death, freezing.

Called by: database.py and broker.py at every call. Every call is a fault point. Owns: the rates of all faults of one
seed (`Faults`), and whether a process lives (`Life`). Survives a crash: nothing; that is the point. A process that dies
is not cancelled, which would run its clean-up: every step it would take to the outside waits for ever.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pymongo.errors import AutoReconnect, NotPrimaryError


@dataclass
class Faults:
    """Probabilities for each call or message; seconds where it says so."""

    fails_before: float = 0.0
    """A database call fails and did nothing."""
    fails_after: float = 0.0
    """A write took effect, but its caller is told of an error."""
    dies_before: float = 0.0
    """The process dies before the call takes effect."""
    dies_after: float = 0.0
    """The process dies when it has taken effect."""
    slow: float = 0.03
    """A call takes long: up to SLOW_S."""
    lost: float = 0.0
    """A message is lost, confirmed or not."""
    doubled: float = 0.0
    """A message comes twice, the second time later."""
    delayed: float = 0.0
    """A message comes late: up to LATE_S."""
    unconfirmed: float = 0.0
    """A message is taken, but its sender is told of an error."""
    unreadable: float = 0.0
    """A snapshot can't be loaded."""
    driver_dies: float = 0.0
    """The robot's driver dies in the middle of an instruction."""
    robot_dies: float = 0.0
    """The agent dies in the middle of an instruction."""
    errs: float = 0.05
    """The robot answers an instruction with an error."""
    restart_s: tuple[float, float] = (0.2, 4.0)
    """How long a dead process stays away."""

    def calm(self) -> None:
        """No faults from now on."""
        for name, value in vars(Faults(errs=0.0)).items():
            setattr(self, name, value)


SLOW_S = 0.6
LATE_S = 2.5


class Life:
    """One process from its start to its death."""

    def __init__(self, name: str, died: Callable[[Life, str], None]) -> None:
        self.name = name
        self.dead = False
        self.frozen_until_s = 0.0
        self._died = died
        self._waiting: list[asyncio.Future[None]] = []

    def die(self, why: str) -> None:
        """End it, at this line."""
        if not self.dead:
            self.dead = True
            self._died(self, why)

    async def standing(self) -> None:
        """Come back when the process may act; never, when it is dead."""
        loop = asyncio.get_running_loop()
        while not self.dead and self.frozen_until_s > loop.time():  # noqa: ASYNC110 - it may be frozen again
            await asyncio.sleep(self.frozen_until_s - loop.time())
        if self.dead:
            never: asyncio.Future[None] = loop.create_future()
            self._waiting.append(never)  # else it would be collected, and its task with it
            await never


class Travel:
    """The way of one process's calls to the database."""

    def __init__(self, life: Life, faults: Faults, draw: random.Random, tell: Callable[[str], None] | None) -> None:
        self.life = life
        self.faults = faults
        self.draw = draw
        self.told = tell

    def tell(self, text: str) -> None:
        """A line for the trace."""
        if self.told is not None:
            self.told(f"{self.life.name} {text}")

    def latency_s(self) -> float:
        """How long one way takes."""
        drawn = self.draw.random()
        if drawn < self.faults.slow:
            return 0.02 + SLOW_S * self.draw.random()
        return 0.0005 + 0.004 * drawn

    async def out(self, where: str, operation: str, *, write: bool) -> None:
        """To the database. A write that was on its way when its process died may arrive all the same.

        Raises: AutoReconnect, and nothing was done.
        """
        life, faults = self.life, self.faults
        if life.dead or life.frozen_until_s:
            await life.standing()
        await asyncio.sleep(self.latency_s())
        if (life.dead or life.frozen_until_s) and not (life.dead and write and self.draw.random() < 0.5):
            await life.standing()
        drawn = self.draw.random()
        if drawn < faults.dies_before:
            life.die(f"before {where}.{operation}")
            await life.standing()
        elif drawn < faults.dies_before + faults.fails_before:
            self.tell(f"{where}.{operation} fails before it took effect")
            raise NotPrimaryError("not primary") if drawn * 1e6 % 2 < 1 else AutoReconnect("connection closed")
        if self.told is not None:
            self.tell(f"{where}.{operation}")

    async def back(self, where: str, operation: str, *, write: bool) -> None:
        """From the database. Raises: AutoReconnect, although it was done."""
        life, faults = self.life, self.faults
        if life.dead:
            await life.standing()
        if not write:
            return
        drawn = self.draw.random()
        if drawn < faults.dies_after:
            life.die(f"after {where}.{operation}")
            await life.standing()
        elif drawn < faults.dies_after + faults.fails_after:
            self.tell(f"{where}.{operation} took effect, its caller is told of an error")
            raise AutoReconnect("connection closed")


def never(*_: Any) -> None:
    """For lives whose end interests nobody."""
