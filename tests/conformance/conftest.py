"""One suite, two brokers: the stub in memory and the real one, made by the same calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from shared.broker import Broker
from shared.testing.stub_broker import StubBroker, StubServer

DEADLINE_S = 10.0


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
        await asyncio.sleep(0.01)


class Brokers:
    """Makes connected clients of one broker, and stops them all."""

    def __init__(self, url: str | None) -> None:
        self.url = url
        self._server = StubServer() if url is None else None
        self._made: list[Any] = []

    async def connect(self, instance: str = "test-1", **more: Any) -> Any:
        """A started client."""
        broker: Any
        if self.url is None:
            broker = StubBroker(instance=instance, server=self._server, **more)
        else:
            broker = Broker([self.url], instance=instance, **more)
        self._made.append(broker)
        await broker.start()
        return broker

    async def stop(self) -> None:
        """Stop every client."""
        await asyncio.gather(*(broker.stop() for broker in self._made))


@pytest.fixture(params=["stub", "real"])
async def brokers(request: pytest.FixtureRequest) -> AsyncIterator[Brokers]:
    """Clients of the stub, then of the real broker."""
    made = Brokers(None if request.param == "stub" else request.getfixturevalue("amqp_url"))
    yield made
    await made.stop()


@pytest.fixture
def wait_until() -> Callable[..., Any]:
    """`await wait_until(condition, what)`."""
    return until
