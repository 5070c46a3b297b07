"""A model of what the server performs itself: requests, jobs and mails, with the witness of what was really done.

Called by: the executor under simulation, in place of services/executor/server.Server. It remembers nothing: an act that
is performed twice is done twice, and the simulation finds it.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

from services.executor.core.reply import Answer, failed, in_doubt
from services.executor.server import Order
from shared.contracts.messages import ReplyOutcome
from tests.sim.database import Mongo
from tests.sim.robot import ACT, Effect
from tests.sim.travel import Faults, Life

SERVER = "server"
"""Stands for the robot in the effects of the server."""


class ModelServer:
    """As Server, for one life of one executor."""

    def __init__(self, life: Life, faults: Faults, draw: random.Random, effects: list[Effect]) -> None:
        self._life, self._faults, self._draw, self._effects = life, faults, draw, effects

    async def perform(self, order: Order) -> Answer:
        """Perform an instruction: something may happen before, and after it was done."""
        draw = self._draw
        drawn = draw.random()
        await asyncio.sleep(0.003 + 0.03 * drawn)
        await self._life.standing()
        if drawn < self._faults.errs:
            return failed(order.seq, "FAILED", "as drawn")
        if not order.is_act:
            return Answer(order.seq, ReplyOutcome.DONE, value=int(drawn * 1000))
        value = f"{ACT}{order.run[-8:]}/{order.seq}"
        self._effects.append(
            Effect(SERVER, order.run, order.seq, 0, order.task, "task" if order.task else "", order.name, False, value,
                   asyncio.get_running_loop().time())
        )  # fmt: skip
        await asyncio.sleep(0.02 * draw.random() if drawn < 0.95 else 3.0 * draw.random())
        await self._life.standing()
        if draw.random() < self._faults.driver_dies:
            return in_doubt(order.seq, "the connection broke when it had been sent")
        return Answer(order.seq, ReplyOutcome.DONE, value=value)

    def close(self) -> None:
        """Nothing is held."""


class Servers:
    """Stands for the class: its `of` makes the server of the executor that is being started."""

    def __init__(self, world: Any) -> None:
        self._world = world

    def of(self, settings: Any, mongo: Mongo, *_: Any) -> ModelServer:
        """As Server.of."""
        world = self._world
        return ModelServer(mongo.travel.life, world.faults, world.draw, world.effects)
