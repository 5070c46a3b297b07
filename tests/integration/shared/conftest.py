"""Servers of our own that tests may kill, and what the tests of shared have in common."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from deploy.local.servers import Servers
from deploy.local.settings import SERVERS, free_ports, read_settings
from shared.mongo import Mongo

DEADLINE_S = 30.0


async def until(condition: Callable[[], Any], what: str = "the condition") -> None:
    """Wait for a state, with a deadline. The condition may be a coroutine function."""
    deadline = asyncio.get_running_loop().time() + DEADLINE_S
    while True:
        met = condition()
        if asyncio.iscoroutine(met):
            met = await met
        if met:
            return
        assert asyncio.get_running_loop().time() < deadline, f"{what} did not come true"
        await asyncio.sleep(0.02)


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    """`await wait_until(condition, what)`."""
    return until


@pytest.fixture(scope="session")
def own_servers() -> Iterator[Servers]:
    """A broker and a database for this folder alone: other tests' servers stay whole."""
    home = read_settings().home
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="regente-faults-"))
    own = Servers(home, folder, free_ports(SERVERS))
    own.start()
    try:
        yield own
    finally:
        own.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def mongo(mongo_url: str, mongo_db: str) -> AsyncIterator[Mongo]:
    """A client on a fresh database."""
    made = Mongo(mongo_url, mongo_db)
    yield made
    await made.close()


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """The log lines that are written meanwhile."""
    with structlog.testing.capture_logs() as captured:
        yield captured
