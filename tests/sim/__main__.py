"""`python -m tests.sim [--seeds N] [--first K] [--seed S] [--jobs J] [--lines L] [--monty]`: runs seeds; `make sim`.

Prints progress and, for the first seed that fails, the seed, what is wrong and the last part of its trace. Exit code: 0
all hold, 1 one does not. A seed that failed becomes a line of test_seeds.py.
"""

from __future__ import annotations

import argparse
import sys
import time

from tests.sim.seeds import Tally, tallies
from tests.sim.world import Verdict, simulate

LINES = 80
FAILED_MAX = 5
TELL_S = 10.0


def main(arguments: list[str]) -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description="Runs seeds of the simulation.")
    parser.add_argument("--seeds", type=int, default=2000, help="how many")
    parser.add_argument("--first", type=int, default=0, help="the first one")
    parser.add_argument("--seed", type=int, help="only this one, with its trace")
    parser.add_argument("--jobs", type=int, default=0, help="processes; 0: one for each core")
    parser.add_argument("--lines", type=int, default=LINES, help="of a trace that are shown")
    given = parser.parse_args(arguments)
    if given.seed is not None:
        return show(simulate(given.seed, tracing=True), given.lines)
    return run(given.first, given.seeds, given.jobs, given.lines)


def run(first: int, count: int, jobs: int, lines: int) -> int:
    """Run many seeds; stop when some have failed."""
    whole, started_s, told_s = Tally(), time.monotonic(), time.monotonic()
    for tally in tallies(first, count, jobs=jobs):
        whole.add(tally)
        for verdict in tally.failed:
            print(f"seed {verdict.seed} ({verdict.weather}) failed: {verdict.wrong[0]}", flush=True)
        if time.monotonic() - told_s > TELL_S:
            told_s = time.monotonic()
            print(f"{whole.seeds} of {count} seeds, {len(whole.failed)} failed", flush=True)
        if len(whole.failed) >= FAILED_MAX:
            break
    took_s = time.monotonic() - started_s
    print(
        f"{whole.seeds} seeds in {took_s:.1f} s ({whole.seeds / took_s:.1f} a second), {whole.virtual_s:.0f} virtual "
        f"seconds, at rest {whole.quiet_s_most:.1f} s after the storm at the latest; tasks {dict(whole.states)}"
    )
    if whole.failed:
        return show(simulate(whole.failed[0].seed, tracing=True), lines)
    return 0


def show(verdict: Verdict, lines: int) -> int:
    """Print one seed: the last part of its trace, and what is wrong."""
    print("\n".join(verdict.trace[-lines:]))
    print(f"\nseed {verdict.seed} ({verdict.weather}): {verdict.states}, trace {verdict.trace_hash[:16]}")
    for line in verdict.wrong:
        print(f"  wrong: {line}")
    if verdict.wrong:
        print(f"again with: make sim SEED={verdict.seed}", flush=True)
    return 1 if verdict.wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
