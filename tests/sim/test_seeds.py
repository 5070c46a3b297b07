"""Seeds that once failed, each with the defect that it showed.

A seed means what the code makes of it: when scenes are drawn otherwise, or the services ask in another order, it
becomes another story. So a defect keeps several seeds here, and what can be said in a test of its own is said there.
"""

from __future__ import annotations

import pytest

from tests.sim.world import simulate

SEEDS = {
    18: "a run that had given its robot back took another one, with the same epoch, for the one it was set up on",
    13: "the same, with a robot whose agent had died meanwhile",
    95: "the same, in calm weather",
    205: "the same, with everything failing around it",
    119: "a run taken over between its last task and teardown went back to its tasks, and was nobody's for ever",
    158: "a run without a robot that was woken to be cancelled could not end",
    161: "the same, with another task waiting for it",
    402: "a run without a robot that was woken to be stopped could not end",
    106: "a task whose run had given its robot back could not be cancelled",
    418: "a run was ended for the loss of a robot that it had given back before",
    194: "a run taken over after a portal had refused its log-in tried the next task with the same log-in",
}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_seed_that_once_failed_holds(seed: int) -> None:
    verdict = simulate(seed)
    assert not verdict.wrong, f"{SEEDS[seed]}: {verdict.wrong}"
