"""Executors in this process on the real broker, database and interpreter, with robots that answer by a table."""

from __future__ import annotations

import asyncio
import base64
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from services.executor.config import ExecutorSettings
from services.executor.main import Executor
from shared.broker import Broker
from shared.broker.admin import BrokerAdmin
from shared.contracts.messages import RunOpened
from shared.contracts.topology import HANDOFFS, control_queue, instructions_queue, service_queues, worker_user
from shared.domain.run_state import FINAL
from shared.mongo import Mongo
from shared.mongo.indexes import COLLECTIONS, apply_indexes
from shared.obs.clock import now
from shared.obs.ids import new_id
from shared.runtime.commands import issue, wait
from shared.seal import Sealer
from shared.seal.instructions import robot_key
from shared.testing.robot import FakeRobot

SEALER = Sealer(bytes(range(32)))
MASTER_KEY = base64.b64encode(bytes(range(32))).decode()
ACCOUNT, WORKFLOW = "acme", "tax"
PASSWORD = "robot"


async def until(check: Callable[[], Awaitable[Any]], within_s: float = 15.0) -> Any:
    """The first true value of `check`. Fails the test when there is none in time."""
    deadline = asyncio.get_running_loop().time() + within_s
    while True:
        value = await check()
        if value:
            return value
        assert asyncio.get_running_loop().time() < deadline, f"not within {within_s} s: {check}"
        await asyncio.sleep(0.02)


@dataclass
class World:
    """One virtual host, one database, the executors on them, and their robots."""

    mongo: Mongo
    broker: Broker
    admin: BrokerAdmin
    amqp: str
    settings: dict[str, Any]
    executors: list[Executor] = field(default_factory=list)
    robots: list[FakeRobot] = field(default_factory=list)
    brokers: list[Broker] = field(default_factory=list)

    async def executor(self, name: str = "executor-1", **settings: Any) -> Executor:
        """Start an executor, as its process would."""
        service = Executor(ExecutorSettings(**{**self.settings, "instance": name, **settings}))
        self.executors.append(service)
        await service.broker.start()
        await service.start()
        return service

    async def leave(self, service: Executor) -> None:
        """Have an executor leave, as at SIGTERM."""
        self.executors.remove(service)
        await service.stop()
        await service.broker.stop()
        await service.mongo.close()

    async def robot(self, table: Mapping[str, Any] | None = None, n: int = 1) -> FakeRobot:
        """A robot that has enrolled and listens, under a broker user of its own."""
        id = f"00155d02{n:04x}"
        await self.admin.put_user(worker_user(id), PASSWORD)
        await self._let_in(worker_user(id))
        split = urlsplit(self.amqp)
        url = urlunsplit(split._replace(netloc=f"{worker_user(id)}:{PASSWORD}@{split.hostname}:{split.port}"))
        queues = [instructions_queue(id), control_queue(id)]
        broker = Broker([url], instance=f"robot-{n}", topology=queues, user_id=worker_user(id))
        await broker.start()
        robot = FakeRobot(broker, id, table)
        robot.key = robot_key(SEALER, id, 1)
        fields = {"grant": 1, "opens_sealed": True}
        await self.mongo["workers"].update_one({"_id": id}, {"$set": fields}, upsert=True)
        await robot.start()
        self.brokers.append(broker)
        self.robots.append(robot)
        return robot

    async def _let_in(self, user: str) -> None:
        rights = {"configure": ".*", "write": ".*", "read": ".*"}
        vhost = urlsplit(self.amqp).path[1:]
        async with httpx.AsyncClient(base_url=self.settings["amqp_admin_url"], timeout=20) as client:
            (await client.put(f"/api/permissions/{vhost}/{user}", json=rights)).raise_for_status()

    async def publish(
        self, script: str, *, settings: dict[str, Any] | None = None, number: int = 1, **scenario: Any
    ) -> None:
        """Publish a version of the workflow with this script."""
        one = {
            "name": "only", "when": [], "group_by": [], "max_tasks": 10, "worker": True, "script": "a.py", **scenario
        }  # fmt: skip
        await self.mongo["versions"].insert_one(
            {
                "_id": f"{ACCOUNT}/{WORKFLOW}/{number}", "account": ACCOUNT, "workflow": WORKFLOW, "number": number,
                "input": {},
                "files": {"a.py": script}, "objects": {"go": {"selectors": ["css=#go"]}}, "scenarios": [one],
                "timeouts": {"task_s": 60.0, "instruction_s": 5.0}, "catalogue": 1,
            }
        )  # fmt: skip
        document = {"account": ACCOUNT, "name": WORKFLOW, "current": number, "settings": settings or {}}
        await self.mongo["workflows"].update_one({"_id": f"{ACCOUNT}/{WORKFLOW}"}, {"$set": document}, upsert=True)

    async def open(self, tasks: int = 1, *, worker: str | None, epoch: int = 1, **fields: Any) -> str:
        """Open a run with so many tasks, as the scheduler does: of the version that is current."""
        run, at = new_id("run_"), now()
        workflow = await self.mongo["workflows"].find_one({"_id": f"{ACCOUNT}/{WORKFLOW}"}) or {"current": 1}
        ids = [new_id("task_") for _ in range(tasks)]
        documents = [
            {
                "_id": id, "schema_version": 1, "account": ACCOUNT, "workflow": WORKFLOW, "partner": "p", "batch": "b",
                "reference": id, "input": {"n": str(n)}, "state": "running", "attempts": 1, "created_at": at,
                "updated_at": at, "held_by": {"run": run, "attempt": 1, "epoch": epoch}, "pending": None,
                "evidence": [], "events": {}, "history": [], "cancel": None, "op": "",
            }
            for n, id in enumerate(ids)
        ]  # fmt: skip
        if documents:
            await self.mongo["tasks"].insert_many(documents)
        await self.mongo["runs"].insert_one(
            {
                "_id": run, "schema_version": 1, "account": ACCOUNT, "workflow": WORKFLOW,
                "version": f"{ACCOUNT}/{WORKFLOW}/{workflow['current']}", "scenario": "only", "group": {},
                "group_key": "", "locks": [],
                "worker": worker, "epoch": epoch, "state": "opened",
                "tasks": [{"task": id, "attempt": 1, "state": "waiting", "outcome": None} for id in ids],
                "token": 0, "executor": None, "seed": 1, "opened_at": at, "started_at": None, "finished_at": None,
                "progressed_at": at, "last_seq": 0, "end": None, "abort": None, "traceparent": None, "op": "",
                "pending": {"to": "executor", "what": "opened", "since": at, "due_at": at, "claims": 0}, **fields,
            }
        )  # fmt: skip
        await self.broker.send(HANDOFFS, "run.opened", RunOpened(run=run))
        return run

    async def run(self, id: str) -> dict[str, Any]:
        """A run now."""
        return await self.mongo["runs"].find_one({"_id": id}) or {}

    async def until_run(self, id: str, within_s: float = 15.0, **wanted: Any) -> dict[str, Any]:
        """A run once its fields (dots as __) have these values."""
        query = {"_id": id, **{key.replace("__", "."): value for key, value in wanted.items()}}
        found: dict[str, Any] = await until(lambda: self.mongo["runs"].find_one(query), within_s)
        return found

    async def ended(self, id: str, within_s: float = 15.0) -> dict[str, Any]:
        """A run once it has ended."""
        return await self.until_run(id, within_s, state={"$in": sorted(FINAL)})

    async def tasks(self, run: str) -> list[dict[str, Any]]:
        """The tasks of a run, in its order."""
        ids = [item["task"] for item in (await self.run(run))["tasks"]]
        found = {one["_id"]: one async for one in self.mongo["tasks"].find({"_id": {"$in": ids}})}
        return [found[id] for id in ids]

    async def steps(self, run: str) -> list[dict[str, Any]]:
        """A run's journal."""
        return await self.mongo["steps"].find({"run": run}).sort("_id", 1).to_list(None)

    async def ask(self, kind: str, target: str, **args: Any) -> dict[str, Any]:
        """Issue a request to executors and wait for its end."""
        return await wait(self.mongo, await self.ask_only(kind, target, **args), 10.0)

    async def ask_only(self, kind: str, target: str, **args: Any) -> str:
        """Issue a request to executors; its id."""
        return await issue(self.mongo, self.broker, kind=kind, to="executor", target=target, args=args, by="ana")


@pytest.fixture(scope="session")
async def executor_mongo(servers: Any) -> AsyncIterator[Mongo]:
    """One database for these tests, emptied before each."""
    mongo = Mongo(servers.mongo, f"test_executor_{uuid.uuid4().hex[:8]}")
    await apply_indexes(mongo)
    yield mongo
    await mongo.close()
    last = Mongo(servers.mongo, mongo.db.name)  # a fresh client: other tests may have restarted the database meanwhile
    await last.client.drop_database(mongo.db.name)
    await last.close()


@pytest.fixture(scope="session")
def executor_amqp(servers: Any) -> Iterator[str]:
    """One virtual host for these tests, its queues emptied before each."""
    vhost = f"test-executor-{uuid.uuid4().hex[:8]}"
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    with httpx.Client(base_url=servers.amqp_admin, timeout=20) as admin:
        admin.put(f"/api/vhosts/{vhost}").raise_for_status()
        admin.put(f"/api/permissions/{vhost}/{urlsplit(servers.amqp).username}", json=rights).raise_for_status()
        yield urlunsplit(urlsplit(servers.amqp)._replace(path=f"/{vhost}"))
        admin.delete(f"/api/vhosts/{vhost}")


@pytest.fixture
async def world(executor_mongo: Mongo, executor_amqp: str, servers: Any) -> AsyncIterator[World]:
    """An empty world."""
    for collection in COLLECTIONS:
        await executor_mongo[collection].delete_many({})
    settings = {
        "amqp_url": executor_amqp, "amqp_admin_url": servers.amqp_admin, "mongo_url": servers.mongo,
        "mongo_db": executor_mongo.db.name, "master_key": MASTER_KEY, "sweep_s": 0.2, "resend_s": 0.5,
    }  # fmt: skip
    broker = Broker([executor_amqp], instance=f"test-{os.getpid()}", topology=service_queues())
    await broker.start()
    for queue in service_queues():
        await broker.purge(queue.name)
    admin = BrokerAdmin(servers.amqp_admin, urlsplit(executor_amqp).path[1:])
    made = World(executor_mongo, broker, admin, executor_amqp, settings)
    yield made
    for robot in made.robots:
        await robot.stop()
    for one in made.brokers:
        await one.stop()
    for service in list(made.executors):
        await made.leave(service)
    for robot in made.robots:
        await admin.delete_user(worker_user(robot.worker))
    await admin.close()
    await broker.stop()
