"""One seed from its first moment to its verdict.

Called by: __main__.py and the tests. `simulate(seed)` draws the scene, boots the processes in one virtual loop, lets
the storm pass, waits until nothing moves any more, and judges. The same seed gives the same trace, in every process.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pymongo.errors import PyMongoError

from shared.errors import TemporaryError
from shared.seal import Sealer
from tests.sim import chance, logbook
from tests.sim.broker import Broker, Post
from tests.sim.checks import Verdicts, left_over
from tests.sim.database import Mongo
from tests.sim.deeds import Deeds
from tests.sim.loop import VirtualLoop
from tests.sim.outside import DELIVERY_LOOK_S, Outside
from tests.sim.processes import doubles, model_interpreter, processes
from tests.sim.robot import Effect, Robot
from tests.sim.scene import ACCOUNT, SECRET, Scene, draw_scene
from tests.sim.server import Server
from tests.sim.travel import Life
from tests.sim.witness import Witness

QUIET_S_MAX = 400.0
"""How long after the storm everything must have come to rest: five tasks one after another, with waits, take long."""
TRACE_LINES_MAX = 200_000


@dataclass
class Verdict:
    """How a seed went."""

    seed: int
    weather: str
    wrong: list[str]
    trace: list[str] = field(default_factory=list)
    virtual_s: float = 0.0
    quiet_s: float = 0.0
    """How long after the storm everything had come to rest."""
    steps: int = 0
    states: dict[str, int] = field(default_factory=dict)

    @property
    def trace_hash(self) -> str:
        """Stands for all that happened."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()


class World:
    """Everything of one seed."""

    booting: tuple[Mongo, Broker]

    def __init__(
        self, scene: Scene, *, tracing: bool = False, left_out: frozenset[str] = frozenset(),
        interpreter: Callable[[World], Any] = model_interpreter,
    ) -> None:  # fmt: skip
        self.scene = scene
        self.faults = scene.faults
        self.left_out = left_out
        self.loop = VirtualLoop()
        self.draw = random.Random(f"weather {scene.seed}")
        self.server = Server()
        self.witness = Witness()
        self.server.observers.append(self.witness.see)
        self.trace: list[str] = []
        self.told: Callable[[str], None] | None = self._trace if tracing else None
        if tracing:
            self.server.observers.append(self._trace_change)
        self.post = Post(self.loop, self.faults, self.draw)
        self.post.told = self.told
        self.effects: list[Effect] = []
        self.outside = Outside(self)
        self.robots = [
            Robot(name, self.post, self.faults, self.draw, self.effects, self.died, self.outside.enrol)
            for name in scene.robots
        ]
        self.interpreter = interpreter(self)
        self.processes = processes(self)
        self.deeds = Deeds(self)
        self.surprises: list[str] = []
        self._graves: list[Life] = []
        """Kept, so that what waits in them for ever is not collected."""
        self.calm = False

    # what others tell

    def tell(self, text: str) -> None:
        """A line for the trace."""
        if self.told is not None:
            self.told(text)

    def surprise(self, where: str, error: BaseException) -> None:
        """An error that nobody planned for; what the database's faults bring about is no surprise."""
        if not isinstance(error, PyMongoError | TemporaryError):
            self.surprises.append(f"{where}: {error!r}")
            self.tell(f"{where}: {error!r}")

    def died(self, life: Life, why: str) -> None:
        """A process ended: its connections close, and it comes again."""
        self.tell(f"{life.name} dies {why}")
        self._graves.append(life)
        first, last = self.faults.restart_s
        pause_s = 0.3 if self.calm else first + (last - first) * self.draw.random()
        for process in self.processes:
            if process.life is life:
                process.broker.cut()
                self.loop.call_later(pause_s, process.boot)
        for robot in self.robots:
            if robot.life is life and robot.broker is not None:
                robot.broker.cut()
                self.loop.call_later(pause_s, self._start, robot)

    def insert(self, collection: str, document: Mapping[str, Any]) -> None:
        """Somebody outside stores a document."""
        self.server.insert(collection, document, None)

    def secret_document(self) -> dict[str, Any]:
        """A password that scripts may use."""
        key = f"{ACCOUNT}/portal/a"
        content = json.dumps({"kind": "text", "text": SECRET}).encode()
        sealed = Sealer(bytes(range(32))).seal("document", content, key.encode())
        return {"_id": key, "account": ACCOUNT, "name": "portal/a", "kind": "text", "sealed": sealed}

    # the course of things

    async def course(self) -> float:
        """From the first moment to rest; seconds that this took after the storm."""
        self.outside.publish()
        for robot in self.robots:
            self._start(robot)
        for process in self.processes:
            process.boot()
        for task in self.scene.tasks:
            self.loop.call_later(task.comes_s, self.outside.bring, task)
        for deed in self.scene.deeds:
            self.loop.call_later(deed.at_s, self.deeds.do, deed)
        await self._storm()
        self._calm()
        since_s = self.loop.time()
        while self._moves():
            if self.loop.time() - since_s > QUIET_S_MAX:
                self.witness.wrong.append(f"no rest after {QUIET_S_MAX:.0f} s: {left_over(self.server)}")
                break
            await asyncio.sleep(DELIVERY_LOOK_S)
            self.outside.take_over()
            self.outside.answer(some=False)
            self.deeds.look_after()
        return self.loop.time() - since_s

    async def _storm(self) -> None:
        """Until its end, or until there is nothing left to disturb."""
        last_s = max([0.0, *(one.comes_s for one in self.scene.tasks), *(one.at_s for one in self.scene.deeds)])
        while self.loop.time() < self.scene.storm_s:
            await asyncio.sleep(DELIVERY_LOOK_S)
            self.outside.take_over()
            self.outside.answer(some=True)
            if self.loop.time() > last_s and not self._moves():
                return

    def _calm(self) -> None:
        self.tell("the storm is over")
        self.calm = True
        self.deeds.undo()
        self.faults.calm()

    def _moves(self) -> bool:
        came = len(self.server.collections.get("tasks", ())) == len(self.scene.tasks)
        return not came or bool(left_over(self.server))

    def _start(self, robot: Robot) -> None:
        self.tell(f"{robot.name} starts")
        self.loop.create_task(robot.start())

    def _trace(self, text: str) -> None:
        if len(self.trace) < TRACE_LINES_MAX:
            self.trace.append(f"{self.loop.now_s:9.4f} {text}")

    def _trace_change(self, name: str, before: Any, after: Any) -> None:
        if name == "leases":
            return
        fields = {
            key for key in {**(before or {}), **(after or {})} if (before or {}).get(key) != (after or {}).get(key)
        }
        shown = {key: (after or {}).get(key) for key in (after or before) if key in fields and key not in HIDDEN}
        self._trace(f"    {name} {(after or before)['_id']}: {'inserted' if before is None else shown}")


HIDDEN = frozenset({"history", "updated_at", "snapshot", "session", "progressed_at"})


def simulate(
    seed: int, *, tracing: bool = False, left_out: frozenset[str] = frozenset(), scene: Scene | None = None,
    interpreter: Callable[[World], Any] = model_interpreter,
) -> Verdict:  # fmt: skip
    """Run one seed.

    tracing: keep every step (which changes nothing but the time it takes). left_out: sweepers that do not run.
    """
    world = World(scene or draw_scene(seed), tracing=tracing, left_out=left_out, interpreter=interpreter)
    wrong: list[str] = []
    quiet_s = 0.0
    with chance.under(world.loop, world.draw), doubles(world), logbook.captured(world):
        try:
            quiet_s = world.loop.run(world.course())
        except Exception as error:
            wrong.append(f"the simulation ended with {error!r}")
        virtual_s, steps = world.loop.now_s, world.loop.steps
        verdicts = Verdicts(world.scene, world.server, world.witness, world.effects)
        wrong += world.witness.wrong + verdicts.all(world.outside.told) + world.surprises + world.post.surprises
        wrong += [f"a task ended unseen: {one.get('message')} {one.get('exception')!r}" for one in world.loop.failures]
        world.loop.finish()
    states: dict[str, int] = {}
    for task in world.server.documents("tasks"):
        states[task["state"]] = states.get(task["state"], 0) + 1
    return Verdict(
        seed, world.scene.weather, list(dict.fromkeys(wrong)), world.trace, virtual_s, quiet_s, steps, states
    )
