"""Processes under simulation: the real services, wired by their own main.py, with doubles where they meet the world.

Called by: world.py. Owns: the table of what is replaced in the services' modules (DOUBLES), how often sweeps run, and
each process's lives. A life that has died is never cleaned up: its tasks wait for ever at their next step outwards.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from services.executor.config import ExecutorSettings
from services.executor.main import Executor
from services.scheduler.config import SchedulerSettings
from services.scheduler.main import Scheduler
from shared.errors import TemporaryError
from shared.mongo.guarded import is_transient
from shared.runtime.service import Service
from shared.runtime.sweeper import Sweeper
from tests.sim.broker import Broker
from tests.sim.database import Bucket, Mongo
from tests.sim.interpreter import ModelInterpreter
from tests.sim.serving import Servers
from tests.sim.travel import Life, Travel

if TYPE_CHECKING:
    from tests.sim.world import World

BASE: dict[str, Any] = {
    "amqp_url": "amqp://u:p@127.0.0.1:5672/", "mongo_url": "mongodb://127.0.0.1/?replicaSet=rs0", "mongo_db": "sim",
    "master_key": base64.b64encode(bytes(range(32))).decode(),
}  # fmt: skip
SCHEDULER = SchedulerSettings(
    **BASE, instance="scheduler-1", silent_s=4.0, reconnect_grace_s=2.0, beats_flush_s=0.8, dispatch_sweep_s=2.5,
    zombie_sweep_s=4.0, stall_grace_s=12.0, closing_sweep_s=5.0, keys_sweep_s=20.0,
)  # fmt: skip
EXECUTOR = ExecutorSettings(
    **BASE, instance="executor-1", runs_max=2, resend_s=1.0, lease_beat_s=0.8, lease_gone_s=2.0, lease_still_s=5.0,
    sweep_s=2.5,
)  # fmt: skip
SWEEPS: dict[str, float | None] = {
    "scheduler.rights": None, "scheduler.figures": None, "executor.matches": None, "executor.pacing": None,
    "executor.trim": 10.0,
    "executor.watch": 0.9, "scheduler.watch": 0.9,
}  # fmt: skip
"""Interval by sweeper where it is not the settings' own; none: it has no part in a simulation."""
PAUSE_S = 1.0
PARK_FROM_S = 3.0
"""Waits that are longer park their run: as with everything, a simulation has less time than the world."""


class SimSweeper(Sweeper):
    """A sweeper that runs as often as SWEEPS says, and whose unplanned errors are told to the world."""

    world: World
    left_out: frozenset[str] = frozenset()

    def __init__(
        self, name: str, interval_s: float, fn: Callable[[], Any], log: Any, *, turn_s_max: float | None = None
    ) -> None:
        super().__init__(name, SWEEPS.get(name, interval_s) or interval_s, fn, log, turn_s_max=turn_s_max)

    async def start(self) -> None:
        """As Sweeper.start, unless it is left out."""
        if SWEEPS.get(self.name, 1.0) is not None and self.name not in self.left_out:
            await super().start()

    def _tell(self, error: Exception) -> None:
        if not (isinstance(error, TemporaryError) or is_transient(error)):
            self.world.surprise(f"sweep {self.name}", error)


class NoAdmin:
    """Stands for the broker's management API: whatever it is asked for is done."""

    def __init__(self, *_: Any) -> None: ...

    def __getattr__(self, name: str) -> Any:
        return self._done

    async def _done(self, *_: Any, **__: Any) -> None:
        return None


class Process:
    """A service over all its lives."""

    def __init__(self, world: World, name: str, service: type[Service], settings: Any) -> None:
        self.name = name
        self.life = Life(name, world.died)
        self.broker = Broker(world.post, self.life)
        self.service: Service | None = None
        self._world = world
        self._service_class = service
        self._settings = settings.model_copy(update={"instance": name})
        self._booting: asyncio.Task[None] | None = None

    def boot(self) -> None:
        """Begin a new life."""
        world = self._world
        self.life = Life(self.name, world.died)
        self.broker = Broker(world.post, self.life)
        mongo = Mongo(world.server, Travel(self.life, world.faults, world.draw, world.told))
        world.booting = (mongo, self.broker)
        self.service = self._service_class(self._settings)
        world.tell(f"{self.name} starts")
        self._booting = world.loop.create_task(self._boot(self.service, self.life))

    async def _boot(self, service: Service, life: Life) -> None:
        """As the skeleton of a service does it: again while a part is away."""
        while not life.dead:
            try:
                await service.start()
                service.started = True
                return
            except Exception as error:
                if not (isinstance(error, TemporaryError) or is_transient(error)):
                    self._world.surprise(f"start of {self.name}", error)
                    return
            await asyncio.sleep(PAUSE_S)

    async def leave(self) -> None:
        """Stop as after SIGTERM; what hangs for too long is cut off by its death."""
        service, life = self.service, self.life
        if service is None or life.dead or not service.started:
            return
        self._world.tell(f"{self.name} is stopped")
        try:
            async with asyncio.timeout(12.0):
                await service.stop()
        except Exception as error:
            if not (isinstance(error, TemporaryError | TimeoutError) or is_transient(error)):
                self._world.surprise(f"stop of {self.name}", error)
        life.die("it was stopped")


def processes(world: World) -> list[Process]:
    """Two schedulers and two executors."""
    return [
        Process(world, f"{kind}-{n}", service, settings)
        for kind, service, settings in (("scheduler", Scheduler, SCHEDULER), ("executor", Executor, EXECUTOR))
        for n in (1, 2)
    ]


@contextmanager
def doubles(world: World) -> Iterator[None]:
    """The services meet doubles instead of the world."""
    sweeper = type("SimSweeper", (SimSweeper,), {"world": world, "left_out": world.left_out})
    table: list[tuple[str, str, Any]] = [
        ("shared.runtime.service", "Mongo", lambda *_, **__: world.booting[0]),
        ("shared.runtime.service", "Broker", lambda *_, **__: world.booting[1]),
        ("services.executor.main", "Interpreter", world.interpreter),
        ("services.executor.main", "Server", Servers(world)),
        ("services.executor.main", "Sweeper", sweeper),
        ("services.executor.core.waits", "PARK_FROM_S", PARK_FROM_S),
        ("services.executor.evidence", "AsyncGridFSBucket", Bucket),
        ("services.scheduler.main", "Sweeper", sweeper),
        ("services.scheduler.main", "BrokerView", NoAdmin),
        ("services.scheduler.main", "BrokerAdmin", NoAdmin),
    ]
    before = [(module := importlib.import_module(name), attribute, getattr(module, attribute))
              for name, attribute, _ in table]  # fmt: skip
    try:
        for name, attribute, value in table:
            setattr(importlib.import_module(name), attribute, value)
        yield
    finally:
        for module, attribute, value in before:
            setattr(module, attribute, value)


def model_interpreter(world: World) -> Callable[..., Any]:
    """What the executor takes for its interpreter when scripts are models."""
    return lambda **_: ModelInterpreter(world.faults, world.draw)
