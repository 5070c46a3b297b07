"""Some hundred seeds with real scripts in the real interpreter: what the model of a script leaves out is in here."""

from __future__ import annotations

import gc

import pytest

from tests.sim.monty import side, source_of, written_out
from tests.sim.scene import draw_scene
from tests.sim.world import simulate

SEEDS = 120


@pytest.mark.slow
def test_seeds_hold_with_real_scripts() -> None:
    states: dict[str, int] = {}
    with side() as interpreter:
        for seed in range(SEEDS):
            verdict = simulate(seed, scene=written_out(seed), interpreter=interpreter)
            assert not verdict.wrong, f"seed {seed}: {verdict.wrong}"
            for state, count in verdict.states.items():
                states[state] = states.get(state, 0) + count
            if seed % 20 == 0:
                gc.collect()
    assert states["succeeded"] > SEEDS / 2, states


def test_a_real_script_is_as_good_as_its_model() -> None:
    """In calm weather both come to the same ends."""
    calm = [seed for seed in range(80) if draw_scene(seed).weather == "calm" and not draw_scene(seed).deeds][:4]
    with side() as interpreter:
        for seed in calm:
            model = simulate(seed)
            real = simulate(seed, scene=written_out(seed), interpreter=interpreter)
            assert real.wrong == []
            assert sum(real.states.values()) == sum(model.states.values())


def test_programs_are_written_out_as_scripts() -> None:
    for seed in range(50):
        for workflow in draw_scene(seed).workflows:
            compile(source_of(workflow.program), "script", "exec")
