"""2,000 seeds hold, by the command that people use; a seed is the same wherever it runs; a failure is told in full."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sim import __main__ as command
from tests.sim.loop import Deadlock, VirtualLoop
from tests.sim.seeds import tallies
from tests.sim.world import Verdict, simulate

ROOT = Path(__file__).resolve().parents[2]
SEEDS = 2000
TIMEOUT_S = 900
"""What it takes when others use the machine as well; alone it takes a tenth."""
HASHES = (
    "import sys; from tests.sim.world import simulate\n"
    "print([simulate(int(seed), tracing=True).trace_hash for seed in sys.argv[1:]])"
)


@pytest.mark.slow
def test_two_thousand_seeds_hold() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.sim", "--seeds", str(SEEDS)],
        cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-5_000:]
    assert f"{SEEDS} seeds in" in done.stdout


def test_a_seed_is_the_same_in_every_process() -> None:
    seeds = [str(seed) for seed in (6, 7, 9, 11)]
    said = [
        subprocess.run(
            [sys.executable, "-c", HASHES, *seeds], cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S,
            check=True, env={**os.environ, "PYTHONHASHSEED": str(n)},
        ).stdout
        for n in (1, 2)
    ]  # fmt: skip
    assert said[0] == said[1]


def test_a_trace_changes_nothing() -> None:
    one, two = simulate(9), simulate(9, tracing=True)
    assert (one.steps, one.virtual_s, one.states) == (two.steps, two.virtual_s, two.states)
    assert not one.trace
    assert two.trace
    assert simulate(9, tracing=True).trace_hash == two.trace_hash
    assert simulate(10, tracing=True).trace_hash != two.trace_hash


def test_seeds_are_counted() -> None:
    def one(seed: int) -> Verdict:
        wrong = ["as planned"] if seed == 3 else []
        return Verdict(seed, "calm", wrong, virtual_s=2.0, quiet_s=float(seed), states={"succeeded": 1})

    (tally,) = tallies(0, 5, jobs=1, one=one)
    assert (tally.seeds, tally.virtual_s, tally.quiet_s_most) == (5, 10.0, 4.0)
    assert [verdict.seed for verdict in tally.failed] == [3]
    assert tally.states == {"succeeded": 5}


def test_a_failure_is_told_with_its_seed(capsys: pytest.CaptureFixture[str]) -> None:
    verdict = Verdict(42, "calm", ["a task was lost"], trace=[f"line {n}" for n in range(10)])
    assert command.show(verdict, 3) == 1
    said = capsys.readouterr().out
    assert "line 7" in said
    assert "line 6" not in said
    assert "wrong: a task was lost" in said
    assert "make sim SEED=42" in said


def test_a_seed_that_holds_is_shown_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--seed", "9", "--lines", "5"]) == 0
    assert "seed 9" in capsys.readouterr().out


def test_waiting_for_nothing_is_noticed() -> None:
    loop = VirtualLoop()

    async def for_ever() -> None:
        await loop.create_future()

    with pytest.raises(Deadlock):
        loop.run(for_ever())
    assert loop.finish() == []
