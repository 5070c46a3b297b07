"""The simulation finds what it is for: each fault that is planted on purpose fails within a bounded number of seeds."""

from __future__ import annotations

import pytest

from tests.sim.plants import PLANTS, SWEEPERS
from tests.sim.scene import harsher
from tests.sim.seeds import first_failure
from tests.sim.world import Verdict, simulate

HARSH = 100
SEEDS_MAX = 400
"""Within so many seeds each is found; most take fewer than ten."""


def harsh(seed: int) -> Verdict:
    return simulate(seed, scene=harsher(seed))


@pytest.mark.slow
def test_nothing_is_found_where_nothing_is_planted() -> None:
    found = first_failure(0, HARSH, one=harsh)
    assert found is None, f"seed {found.seed} in harsher weather: {found.wrong}"


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PLANTS))
def test_a_planted_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTS[name](monkeypatch)
    found = first_failure(0, SEEDS_MAX, one=harsh)
    assert found is not None, f"{SEEDS_MAX} seeds hold although {name} is planted"


@pytest.mark.slow
@pytest.mark.parametrize("name", SWEEPERS)
def test_a_missing_sweeper_is_found(name: str) -> None:
    def one(seed: int) -> Verdict:
        return simulate(seed, scene=harsher(seed), left_out=frozenset({name}))

    found = first_failure(0, SEEDS_MAX, one=one)
    assert found is not None, f"{SEEDS_MAX} seeds hold although {name} does not run"
