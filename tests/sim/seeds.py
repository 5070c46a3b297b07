"""Many seeds, on all cores; what they cost; the first ones that fail.

Called by: __main__.py, test_sim.py (by way of the command). Seeds are independent, so processes share nothing.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.sim.world import Verdict, simulate

CHUNK = 25
"""Seeds that a process takes at once; between chunks it collects what they left."""


@dataclass
class Tally:
    """What many seeds came to."""

    seeds: int = 0
    failed: list[Verdict] = field(default_factory=list)
    virtual_s: float = 0.0
    quiet_s_most: float = 0.0
    """The longest that any of them took to come to rest."""
    states: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        """Count another tally's seeds as well."""
        self.seeds += other.seeds
        self.failed += other.failed
        self.virtual_s += other.virtual_s
        self.quiet_s_most = max(self.quiet_s_most, other.quiet_s_most)
        self.states.update(other.states)


def tallies(first: int, count: int, *, jobs: int = 0, one: Callable[[int], Verdict] = simulate) -> Iterator[Tally]:
    """Run `count` seeds from `first` on, and tell of them chunk by chunk. jobs: processes; 0: one for each core."""
    chunks = [(at, min(CHUNK, first + count - at), one) for at in range(first, first + count, CHUNK)]
    jobs = min(jobs or os.cpu_count() or 1, len(chunks))
    gc.collect()
    gc.freeze()
    if jobs == 1:
        yield from map(_chunk, chunks)
        return
    with multiprocessing.get_context("fork").Pool(jobs) as pool:
        yield from pool.imap_unordered(_chunk, chunks)


def _chunk(what: tuple[int, int, Callable[[int], Verdict]]) -> Tally:
    first, count, one = what
    tally = Tally()
    gc.disable()
    try:
        for seed in range(first, first + count):
            verdict = one(seed)
            tally.seeds += 1
            tally.virtual_s += verdict.virtual_s
            tally.quiet_s_most = max(tally.quiet_s_most, verdict.quiet_s)
            tally.states.update(verdict.states)
            if verdict.wrong:
                tally.failed.append(verdict)
    finally:
        gc.enable()
        gc.collect()
    return tally


def first_failure(first: int, count: int, *, one: Callable[[int], Verdict] = simulate) -> Verdict | None:
    """The first of some seeds that fails, in this process."""
    for at in range(first, first + count, CHUNK):
        tally = _chunk((at, min(CHUNK, first + count - at), _until_failed(one)))
        if tally.failed:
            return tally.failed[0]
    return None


def _until_failed(one: Callable[[int], Verdict]) -> Callable[[int], Verdict]:
    """After the first failure nothing more is run: seeds that are left out hold."""
    failed: list[int] = []

    def run(seed: int) -> Verdict:
        verdict = Verdict(seed, "", []) if failed else one(seed)
        failed.extend([seed] if verdict.wrong else [])
        return verdict

    return run
