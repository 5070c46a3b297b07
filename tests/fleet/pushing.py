"""Partners: they push tasks through the collector's own intake, a backlog first, the rest while it is worked off.

The pusher waits when enough tasks wait, and keeps the last ones back until as many schedulers as the scene wants have
been killed: so every kill meets a queue that is being worked on.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from services.collector.intake import Intake, Sender
from services.collector.store import CollectorStore
from shared.broker import Broker
from shared.domain.priority import Priority
from shared.mongo import Mongo
from shared.obs.clock import now
from tests.fleet.scene import COMPANIES, Size, Workflow

PUSH_MAX = 200
LOOK_S = 0.05
LATER = 0.02
"""Of the tasks: not before a second or two from now."""
KEPT_BACK = 0.15
"""Of the tasks, until the kills are done."""


class Pusher:
    """Pushes all tasks of a scene."""

    def __init__(self, mongo: Mongo, broker: Broker, workflows: Sequence[Workflow], size: Size, seed: int) -> None:
        self.pushed = 0
        self._intake = Intake(CollectorStore(mongo), broker, schemas_kept=100)
        self._workflows = list(workflows)
        self._size = size
        self._draw = random.Random(f"{seed}/pusher")

    async def backlog(self) -> None:
        """What stands in the queue before anybody works."""
        while self.pushed < min(self._size.waiting_max, int((1 - KEPT_BACK) * self._size.tasks)):
            await self._push()

    async def rest(self, ended: Callable[[], int], kills: Callable[[], int]) -> None:
        """The rest, while it is worked off. ended: tasks that have ended; kills: schedulers killed, so far."""
        while self.pushed < self._size.tasks:
            full = self.pushed - ended() >= self._size.waiting_max
            early = kills() < self._size.kills_min and self.pushed >= (1 - KEPT_BACK) * self._size.tasks
            if full or early:
                await asyncio.sleep(LOOK_S)
            else:
                await self._push()

    async def _push(self) -> None:
        """One push of one partner: one workflow, some priorities."""
        workflow = self._draw.choices(self._workflows, [one.share for one in self._workflows])[0]
        count = min(self._draw.randint(1, PUSH_MAX), self._size.tasks - self.pushed)
        tasks = [self._task(self.pushed + n) for n in range(count)]
        data = json.dumps({"workflow": workflow.name, "tasks": tasks}).encode()
        answer = await self._intake.push(Sender(workflow.account, "partner"), data, None)
        assert not answer["rejected"], answer["rejected"][:3]
        assert len(answer["accepted"]) == count
        self.pushed += count

    def _task(self, n: int) -> dict[str, Any]:
        task: dict[str, Any] = {
            "reference": f"ref-{n}", "input": {"company": self._draw.randrange(COMPANIES), "n": n},
            "priority": self._draw.choice([None, None, *(int(one) for one in Priority)]),
        }  # fmt: skip
        if self._draw.random() < LATER:
            task["not_before"] = (now() + timedelta(seconds=self._draw.uniform(0.5, 2.0))).isoformat()
        return task
