"""Two collectors and two deliveries, each on a port of its own, that are killed at random in the middle of their work
and started again."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from shared.obs.clock import monotonic_s
from tests.integration.collector.running import Ground, Instance, free_port, launch, wait_ready

SOON_S = 0.08
"""A kill comes this long after work was seen, at most: in the middle of it."""
LOOK_S = 0.005
READY_S = 120.0
"""A machine that runs tests may have much else to do."""


@dataclasses.dataclass
class Slot:
    """A place for a process, which its successors take over with name and port."""

    service: str
    name: str
    port: int
    at_work: Callable[[], bool] = lambda: True
    """Whether it has something in hand, as far as the test can see."""
    instance: Instance | None = None
    kills: int = 0

    @property
    def url(self) -> str:
        """Where it listens, whoever lives there."""
        return f"http://127.0.0.1:{self.port}"


class Pair:
    """All of them."""

    def __init__(self, on: Ground, folder: Path, env: dict[str, str]) -> None:
        self._ground = on
        self._folder = folder
        self._env = env
        self.slots = [
            Slot(service, f"{service}-{n}", free_port()) for service in ("collector", "delivery") for n in (1, 2)
        ]

    def of(self, service: str) -> list[Slot]:
        """The two of a service."""
        return [slot for slot in self.slots if slot.service == service]

    @property
    def kills(self) -> Counter[str]:
        """How often each was killed."""
        return Counter({slot.name: slot.kills for slot in self.slots})

    async def start(self) -> None:
        """Start all of them and wait until they are ready."""
        for slot in self.slots:
            self._launch(slot)
        for slot in self.slots:
            assert slot.instance is not None
            await asyncio.to_thread(wait_ready, slot.instance, READY_S)

    async def stop(self) -> None:
        """End those that live: orderly, since a test that ends well leaves nothing half done."""
        living = [slot.instance for slot in self.slots if slot.instance and slot.instance.process.poll() is None]
        for instance in living:
            instance.process.terminate()
        for instance in living:
            await asyncio.to_thread(instance.process.wait, 25)

    async def kill_at_random(self, draw: random.Random, kills: int, pause_s: tuple[float, float]) -> None:
        """Kill that often, each of them in turn but in an order by chance, while it has work in hand."""
        order: list[Slot] = []
        for _ in range(kills):
            order = order or draw.sample(self.slots, len(self.slots))
            slot = order.pop()
            await asyncio.sleep(draw.uniform(*pause_s))
            deadline_s = monotonic_s() + 60
            while not slot.at_work():
                assert monotonic_s() < deadline_s, f"{slot.name} had nothing to do for a minute"
                await asyncio.sleep(LOOK_S)
            await asyncio.sleep(draw.uniform(0, SOON_S))
            await self._replace(slot)

    async def _replace(self, slot: Slot) -> None:
        assert slot.instance is not None
        os.kill(slot.instance.process.pid, signal.SIGKILL)
        code = await asyncio.to_thread(slot.instance.process.wait)
        assert code == -signal.SIGKILL, f"{slot.name} had ended by itself ({code}):\n{self.log_end(slot)}"
        slot.kills += 1
        self._launch(slot)
        assert slot.instance is not None
        await asyncio.to_thread(wait_ready, slot.instance, READY_S)

    def log_end(self, slot: Slot) -> str:
        """The last lines of its log."""
        return slot.instance.log.read_text(errors="replace")[-3000:] if slot.instance else ""

    def _launch(self, slot: Slot) -> None:
        slot.instance = launch(slot.service, self._ground, self._folder, slot.name, port=slot.port, **self._env)
