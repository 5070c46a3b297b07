"""The fleet: schedulers as processes, everything around them in this one, on a broker and database of their own."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.executor.store import ExecutorStore
from shared.broker import Broker
from shared.contracts.topology import service_queues
from shared.mongo import Mongo
from shared.mongo.indexes import apply_indexes
from shared.obs.clock import monotonic_s
from shared.seal import Sealer
from tests.fleet import checks, scene
from tests.fleet.cutting import cut_off
from tests.fleet.delivery import Delivery
from tests.fleet.executors import Executor
from tests.fleet.ledger import Ledger
from tests.fleet.pushing import Pusher
from tests.fleet.robots import Robots, forget_users
from tests.fleet.scene import Size, Workflow
from tests.fleet.schedulers import Schedulers
from tests.fleet.watching import Witness

MASTER_KEY = bytes(range(32))
EXECUTORS = 3
LET_IN_S = 60.0


@dataclass
class Fleet:
    """Everything that a test of the fleet needs."""

    seed: int
    size: Size
    workflows: dict[str, Workflow]
    mongo: Mongo
    ledger: Ledger
    witness: Witness
    schedulers: Schedulers
    pusher: Pusher

    @property
    def bounds(self) -> dict[tuple[str, str], int]:
        """How often a task of each (account, workflow) may be overtaken at most (order.py says why so often)."""
        return {(one.account, one.name): self.size.schedulers * one.max_tasks for one in self.workflows.values()}

    def say(self, text: str) -> None:
        """Tell people, past pytest's capture: it is what the test is for."""
        print(f"\nfleet: {text}", file=sys.__stderr__, flush=True)

    def summary(self) -> str:
        """What happened, in a few figures."""
        lines = self.witness.lines
        worst = max(((stay.overtaken / self.bounds[line[:2]], stay) for line, stay in lines.worst.items()),
                    key=lambda one: one[0], default=None)  # fmt: skip
        nearest = "none" if worst is None else f"{worst[1].overtaken} of {self.bounds[worst[1].line[:2]]} allowed"
        return (
            f"{self.schedulers.kills} schedulers killed; longest standstill {self.ledger.still_s:.1f} s; "
            f"{self.witness.openings} runs {dict(self.ledger.runs)}; "
            f"outcomes {dict(self.ledger.outcomes)}; hints {dict(self.ledger.hints)}; {lines.stays} places in the "
            f"queue, {lines.overtakes} times overtaken, nearest to the bound: {nearest}; seed {self.seed}"
        )

    async def server_figures(self) -> str:
        """What the database had to do for it, since it was started."""
        status = await self.mongo.client.admin.command("serverStatus")
        done, operations = status["transactions"], {k: v for k, v in status["opcounters"].items() if isinstance(v, int)}
        conflicts = status["metrics"]["operation"]["writeConflicts"]
        return (
            f"{done['totalCommitted']} transactions, {done['totalAborted']} aborted, {conflicts} write conflicts, "
            f"operations {operations}"
        )

    async def tell(self) -> str:
        """How things stand, for a test that fails."""
        left = await checks.left_over(self.mongo)
        logs = "\n".join(f"{slot.name}:\n{self.schedulers.log_end(slot)}" for slot in self.schedulers.slots)
        return f"{left}; {dict(self.witness.state_counts())}; {self.summary()}\n{logs}"


@pytest.fixture
async def fleet(
    amqp_url: str, amqp_admin_url: str, mongo_url: str, mongo_db: str, tmp_path: Path
) -> AsyncIterator[Fleet]:
    """A fleet at work on a backlog."""
    size, seed, ledger = scene.size(), scene.seed(), Ledger()
    workflows = {one.id: one for one in scene.workflows()}
    robots = Robots(scene.robots(size.robots), ledger)
    settings = {
        "REGENTE_AMQP_URL": amqp_url, "REGENTE_AMQP_ADMIN_URL": amqp_admin_url, "REGENTE_MONGO_URL": mongo_url,
        "REGENTE_MONGO_DB": mongo_db, "REGENTE_MASTER_KEY": base64.b64encode(MASTER_KEY).decode(),
        "REGENTE_LOG_LEVEL": "WARNING", "REGENTE_HOME": str(tmp_path),
        # two cores for all of it: a beat may come late without its robot being away
        "REGENTE_SILENT_S": "60", "REGENTE_RIGHTS_SWEEP_S": "60",
    }  # fmt: skip
    async with contextlib.AsyncExitStack() as stack:
        mongo = Mongo(mongo_url, mongo_db)
        stack.push_async_callback(mongo.close)
        await apply_indexes(mongo)
        broker = Broker([amqp_url], instance="fleet", topology=service_queues())
        stack.push_async_callback(broker.stop)
        await broker.start()
        stack.push_async_callback(forget_users, amqp_admin_url)
        witness = Witness(workflows, robots.robots)
        await witness.start(mongo)
        stack.push_async_callback(witness.stop)
        await _publish(mongo, list(workflows.values()))
        await robots.insert(mongo)
        pusher = Pusher(mongo, broker, list(workflows.values()), size, seed)
        await pusher.backlog()
        schedulers = Schedulers(size.schedulers, settings, tmp_path)
        stack.push_async_callback(schedulers.stop)
        made = Fleet(seed, size, workflows, mongo, ledger, witness, schedulers, pusher)
        started_s = monotonic_s()
        await schedulers.start(lambda: _let_in(amqp_admin_url, size.robots))
        made.say(f"{size.schedulers} schedulers up after {monotonic_s() - started_s:.1f} s; seed {seed}")
        await stack.enter_async_context(robots.beating(amqp_url, amqp_admin_url))
        store = ExecutorStore(mongo, Sealer(MASTER_KEY))
        for n in range(EXECUTORS):
            executor = Executor(
                f"executor-{n + 1}", store, broker, workflows=workflows, robots=robots, ledger=ledger, seed=seed
            )
            await executor.start()
            stack.push_async_callback(executor.stop)
        await stack.enter_async_context(_working(Delivery(mongo, ledger)))
        yield made


async def _publish(mongo: Mongo, workflows: list[Workflow]) -> None:
    for workflow in workflows:
        document, version = workflow.documents()
        await mongo["versions"].insert_one(version)
        await mongo["workflows"].insert_one(document)
    await mongo["accounts"].insert_many([{"_id": name, "name": name, "title": name} for name in scene.ACCOUNTS])


async def _let_in(admin_url: str, robots: int) -> None:
    """Wait until the first scheduler has made the robots' broker users: eight that make them at once are a crowd."""
    deadline_s = monotonic_s() + LET_IN_S
    async with httpx.AsyncClient(base_url=admin_url, timeout=20) as admin:
        while True:
            users: list[dict[str, Any]] = (await admin.get("/api/users")).json()
            if sum(user["name"].startswith("worker.02fee7") for user in users) >= robots:
                return
            assert monotonic_s() < deadline_s, f"the robots were not let in within {LET_IN_S:.0f} s"
            await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def _working(delivery: Delivery) -> AsyncIterator[None]:
    work = asyncio.create_task(delivery.work())
    try:
        yield
    finally:
        await cut_off(work)
