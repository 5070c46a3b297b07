"""A robot that is authorised and runs, for the tests of this folder.

Owns: the fixtures. Called by: pytest. Survives a crash: nothing. Change also: nothing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.bench import Bench

PROGRAMS = {
    "python": [sys.executable, "-c"],
    "missing": ["/does/not/exist"],
}


@pytest.fixture
def bench(amqp_url: str, amqp_admin_url: str, tmp_path: Path) -> Iterator[Bench]:
    """The server's side, with an agent that is not started yet."""
    made = Bench(amqp_url, amqp_admin_url, tmp_path / "home", REGENTE_AGENT_PROGRAMS=json.dumps(PROGRAMS))
    yield made
    made.close()


@pytest.fixture
def robot(bench: Bench) -> Bench:
    """The same, started and connected."""
    bench.start()
    return bench
