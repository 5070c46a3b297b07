"""The seed: time, ids, random numbers and secrets of all code under simulation come from here.

Called by: world.py. Owns: the seams at which production code asks the outside (modules' names `time`, `random`,
`secrets`, `os.urandom`, `datetime`), which are replaced for the length of one simulation. A module that begins to ask
the outside for something else breaks the test that runs one seed in two processes; add it to SEAMS.
"""

from __future__ import annotations

import importlib
import random
import secrets
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from typing import Any

from bson import ObjectId

from tests.sim.loop import VirtualLoop

START = datetime(2026, 3, 2, 9, 0, 0, tzinfo=UTC)
START_NS = int(START.timestamp()) * 1_000_000_000


class Clock:
    """Stands for the module `time`."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def monotonic(self) -> float:
        """Virtual seconds, not from zero: nothing may take a first reading of 0 for `never`."""
        return self._loop.now_s + 1000.0

    def time(self) -> float:
        """Seconds since 1970."""
        return self.time_ns() / 1e9

    def time_ns(self) -> int:
        """Nanoseconds since 1970."""
        return START_NS + int(self._loop.now_s * 1_000_000) * 1000

    def now(self, zone: tzinfo | None = None) -> datetime:
        """As datetime.now."""
        return (START + timedelta(microseconds=int(self._loop.now_s * 1_000_000))).astimezone(zone or UTC)


class Entropy:
    """Stands for the modules `os` (urandom) and `secrets`, where they are used for nothing else."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw

    def urandom(self, size: int) -> bytes:
        """As os.urandom."""
        return self._draw.randbytes(size)

    def token_hex(self, size: int = 32) -> str:
        """As secrets.token_hex."""
        return self._draw.randbytes(size).hex()

    def randbits(self, bits: int) -> int:
        """As secrets.randbits."""
        return self._draw.getrandbits(bits)


class Chances:
    """Stands for the module `random`."""

    def __init__(self, draw: random.Random) -> None:
        self.uniform = draw.uniform
        self.random = draw.random
        self._draw = draw

    def Random(self) -> random.Random:  # noqa: N802 - as the module names it
        """As random.Random without a seed."""
        return random.Random(self._draw.getrandbits(64))


SEAMS = (
    ("shared.obs.clock", "datetime", "clock"),
    ("shared.obs.ids", "os", "entropy"),
    ("shared.obs.trace", "os", "entropy"),
    ("shared.seal", "os", "entropy"),
    ("shared.seal.instructions", "os", "entropy"),
    ("services.executor.evidence", "ObjectId", "object_id"),
    ("tenacity", "time", "clock"),
    ("tenacity.wait", "random", "chances"),
)
"""(module, name in it, what it becomes), beside the modules `time`, `random` and `secrets` wherever ours have them."""
MODULES = {"time": (time, "clock"), "random": (random, "chances"), "secrets": (secrets, "entropy")}
OURS = ("shared.", "services.")


@lru_cache(maxsize=1)
def seams() -> tuple[tuple[Any, str, str], ...]:
    """All seams of what is loaded: (module, name in it, what it becomes)."""
    found = [(importlib.import_module(name), attribute, kind) for name, attribute, kind in SEAMS]
    for name, module in sorted(sys.modules.items()):
        if name.startswith(OURS):
            found += [(module, key, kind) for key, (what, kind) in MODULES.items() if vars(module).get(key) is what]
    return tuple(found)


@contextmanager
def under(loop: VirtualLoop, draw: random.Random) -> Iterator[Clock]:
    """Everything that seams lead to comes from this loop and these random numbers."""
    clock = Clock(loop)
    stands: dict[str, Any] = {
        "clock": clock, "entropy": Entropy(draw), "chances": Chances(draw),
        "object_id": lambda: ObjectId(draw.randbytes(12)),
    }  # fmt: skip
    ids: Any = importlib.import_module("shared.obs.ids")
    before: list[tuple[Any, str, Any]] = [(ids, "_last", ids._last)]
    try:
        for module, name, kind in seams():
            before.append((module, name, getattr(module, name)))
            setattr(module, name, stands[kind])
        ids._last = 0
        yield clock
    finally:
        for module, name, value in reversed(before):
            setattr(module, name, value)
