"""Real scheduler processes, and whoever kills them.

Owns: the children. Each is started as the local stack starts it, with a port of its own; kill -9 goes to the pid of one
child that this module started. They die with the test's process, whatever happens to it.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local import parts
from deploy.local.processes import Process, start
from deploy.local.servers import clean_environment
from deploy.local.settings import REPO, free_ports, read_settings
from deploy.local.supervisor import answers
from shared.obs.clock import monotonic_s

READY_S = 120.0
LOG_LINES = 15


@dataclass
class Slot:
    """One scheduler of the fleet: what is killed is started again in its place."""

    name: str
    port: int
    log: Path
    child: subprocess.Popen[bytes]
    ready: bool = False
    kills: int = 0


class Schedulers:
    """The fleet's schedulers."""

    def __init__(self, count: int, settings: Mapping[str, str], folder: Path) -> None:
        self.slots: list[Slot] = []
        self.kills = 0
        self._count = count
        self._folder = folder
        ours = {name: value for name, value in clean_environment().items() if not name.startswith("REGENTE_")}
        self._environment = {**ours, **parts.libraries(read_settings().home), **settings, "PYTHONPATH": str(REPO)}

    async def start(self, after_first: Callable[[], Awaitable[None]]) -> None:
        """Start one; when it has let the robots in at the broker (`after_first`), the others, all at once."""
        ports = free_ports(tuple(f"scheduler-{n + 1}" for n in range(self._count)))
        for name, port in ports.items():
            log = self._folder / f"{name}.log"
            self.slots.append(Slot(name, port, log, self._launch(name, port, log)))
            if len(self.slots) == 1:
                await self._until_ready(self.slots[0])
                await after_first()
        await asyncio.gather(*(self._until_ready(slot) for slot in self.slots))

    async def stop(self) -> None:
        """End those that are left: orderly, then not."""
        for slot in self.slots:
            slot.child.terminate()
        for slot in self.slots:
            try:
                await asyncio.to_thread(slot.child.wait, 20)
            except subprocess.TimeoutExpired:
                slot.child.kill()
                await asyncio.to_thread(slot.child.wait)

    async def kill_at_random(self, draw: random.Random, pause_s: tuple[float, float], kills_min: int) -> None:
        """Kill one of those that work, start it again, and so on; never so that fewer than half are left at work.

        pause_s: between two kills, at least and at most; a start costs two seconds of a core, so once `kills_min` is
        reached the pauses are longer.
        """
        replacing: set[asyncio.Task[None]] = set()
        try:
            while True:
                await asyncio.sleep(draw.uniform(*pause_s) * (1 if self.kills < kills_min else 8))
                for done in [one for one in replacing if one.done()]:
                    replacing.discard(done)
                    done.result()
                working = [slot for slot in self.slots if slot.ready]
                if len(working) * 2 > self._count:
                    replacing.add(asyncio.create_task(self._replace(draw.choice(working))))
        finally:
            await asyncio.gather(*replacing)

    async def _replace(self, slot: Slot) -> None:
        slot.ready = False
        os.kill(slot.child.pid, signal.SIGKILL)
        code = await asyncio.to_thread(slot.child.wait)
        if code != -signal.SIGKILL:
            raise AssertionError(f"{slot.name} had ended by itself (exit code {code}):\n{self.log_end(slot)}")
        slot.kills += 1
        self.kills += 1
        slot.child = self._launch(slot.name, slot.port, slot.log)
        await self._until_ready(slot)

    def log_end(self, slot: Slot) -> str:
        """The last lines of its log."""
        lines = slot.log.read_text(errors="replace").splitlines()[-LOG_LINES:] if slot.log.exists() else []
        return "\n".join(line[:500] for line in lines)

    def errors(self) -> list[str]:
        """Lines that any of them wrote as an error: a defect behind a sweep that goes on all the same."""
        found = []
        for slot in self.slots:
            for line in slot.log.read_text(errors="replace").splitlines():
                if '"level": "error"' in line or '"level":"error"' in line or line.startswith("Traceback"):
                    found.append(f"{slot.name}: {line[:1500]}")
        return found

    def _launch(self, name: str, port: int, log: Path) -> subprocess.Popen[bytes]:
        own = {"REGENTE_INSTANCE": name, "REGENTE_HTTP_PORT": str(port)}
        process = Process(name, "scheduler", [sys.executable, "-m", "services.scheduler"], own)
        return start(process, env=self._environment, log=log, mark=f"{self._folder}#fleet#{name}", cwd=REPO)

    async def _until_ready(self, slot: Slot) -> None:
        deadline_s = monotonic_s() + READY_S
        while not slot.ready:
            assert slot.child.poll() is None, f"{slot.name} ended at its start:\n{self.log_end(slot)}"
            assert monotonic_s() < deadline_s, f"{slot.name} is not ready after {READY_S:.0f} s:\n{self.log_end(slot)}"
            slot.ready = await asyncio.to_thread(answers, slot.port, "/readyz")
            if not slot.ready:
                await asyncio.sleep(0.1)
