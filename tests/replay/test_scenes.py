"""Every scene, acted today on the real parts, is replayed as it was: by the executor that made it, at once.

`python -m tests.replay.make` runs these tests, and has them keep the journals of scenes that have no golden yet."""

from __future__ import annotations

import os

import pytest

from services.executor.core.trial import Verdict
from services.executor.interpreter import Interpreter
from tests.integration.executor.conftest import World
from tests.replay import goldens
from tests.replay.scenes import SCENES, SECRET, play

MAKE = "REGENTE_MAKE_GOLDENS"


@pytest.mark.parametrize("name", SCENES)
async def test_a_run_of_today_is_replayed_as_it_was(world: World, interpreter: Interpreter, name: str) -> None:
    run = await play(world, SCENES[name])
    golden = await goldens.record(world.mongo, run)
    found = await golden.tried(interpreter)
    assert [(play.phase, one.verdict, one) for play, one in found if one.verdict is not Verdict.SAME] == []
    assert sum(one.instructions for _, one in found) == len(golden.instructions)
    assert SECRET not in str(golden), "a journal holds handles, never a secret"
    if os.environ.get(MAKE) and name not in goldens.names():
        goldens.write(name, golden)
