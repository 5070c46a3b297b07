"""The executors' integration world, and an interpreter for journals that need none of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from services.executor.interpreter import Interpreter
from tests.integration.executor.conftest import executor_amqp, executor_mongo, world

__all__ = ["executor_amqp", "executor_mongo", "world"]


@pytest.fixture(scope="session")
async def interpreter() -> AsyncIterator[Interpreter]:
    """The real one."""
    async with Interpreter(processes_max=2) as started:
        yield started
