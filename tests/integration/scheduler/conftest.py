"""A scheduler (or two) in this process on the real broker and database, and what its tests do around it."""

from __future__ import annotations

import asyncio
import base64
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
import pytest

from services.scheduler.config import SchedulerSettings
from services.scheduler.main import Scheduler
from shared.broker import Broker
from shared.contracts.messages import RunFinished, TaskReturned
from shared.contracts.topology import HANDOFFS, service_queues
from shared.domain.priority import list_key, rank_at_end
from shared.domain.scenario import place_key
from shared.mongo import Mongo
from shared.mongo.indexes import COLLECTIONS, apply_indexes
from shared.obs.clock import now, now_us
from shared.obs.ids import new_id
from shared.runtime.commands import issue, wait

MASTER_KEY = base64.b64encode(bytes(range(32))).decode()
ACCOUNT = "acme"


async def until(check: Callable[[], Awaitable[Any]], within_s: float = 10.0) -> Any:
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
    """One virtual host, one database, and the schedulers on them."""

    mongo: Mongo
    broker: Broker
    settings: dict[str, Any]
    schedulers: list[Scheduler] = field(default_factory=list)
    scenarios: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Of the version published last, by the workflow's id."""

    async def scheduler(self, name: str = "scheduler-1", **settings: Any) -> Scheduler:
        """Start a scheduler, as its process would."""
        service = Scheduler(SchedulerSettings(**{**self.settings, "instance": name, **settings}))
        self.schedulers.append(service)
        await service.broker.start()
        await service.start()
        service.started = True
        return service

    async def kill(self, service: Scheduler) -> None:
        """Take a scheduler away."""
        self.schedulers.remove(service)
        await service.stop()
        await service.broker.stop()
        await service.mongo.close()

    async def publish(
        self, name: str = "tax", *, max_tasks: int = 10, settings: dict[str, Any] | None = None,
        input: dict[str, Any] | None = None, number: int = 1, scenarios: list[dict[str, Any]] | None = None,
        account: str = ACCOUNT,
    ) -> None:  # fmt: skip
        """Publish a version of a workflow."""
        id = f"{account}/{name}"
        only = {"name": "only", "max_tasks": max_tasks, "worker": True, "script": "a.py"}
        self.scenarios[id] = scenarios or [only]
        await self.mongo["versions"].insert_one(
            {
                "_id": f"{id}/{number}", "account": account, "workflow": name, "number": number, "input": input or {},
                "scenarios": self.scenarios[id],
            }
        )  # fmt: skip
        fields = {"account": account, "name": name, "current": number, "settings": settings or {}}
        await self.mongo["workflows"].update_one({"_id": id}, {"$set": fields}, upsert=True)

    async def robot(self, n: int = 1, **fields: Any) -> str:
        """A robot as it stands when it is authorised, connected and free."""
        id = f"00155d01{n:04x}"
        await self.mongo["workers"].insert_one(
            {
                "_id": id, "schema_version": 1, "addresses": [id], "name": f"robot {n}", "os": "", "agent_version": "",
                "drivers": [], "account": None, "key_hash": "", "authorisation": "authorised", "grant": 1,
                "doubt": None,
                "connected": True, "status": "waiting", "mode": "run", "epoch": 0, "run": None, "journal": None,
                "session": None, "sessions_gone": [], "seen": {}, "enrolled_at": now(), "op": "", **fields,
            }
        )  # fmt: skip
        return id

    async def tasks(
        self, count: int = 1, *, workflow: str = "tax", priority: int | None = None, account: str = ACCOUNT,
        **fields: Any,
    ) -> list[str]:  # fmt: skip
        """Tasks as the collector inserts them."""
        at, at_us = now(), now_us()
        scenarios = self.scenarios.get(f"{account}/{workflow}")
        key = place_key(scenarios, fields.get("input") or {}) if scenarios else ""
        documents = [
            {
                "_id": new_id("task_"), "schema_version": 1, "account": account, "group": key, "partner": "p",
                "workflow": workflow, "batch": "b", "reference": uuid.uuid4().hex, "input": {}, "priority": priority,
                "state": "queued", "attempts": 0, "created_at": at, "updated_at": at, "finished_at": None,
                "not_before": None, "deadline": None, "held_by": None, "hold": None, "result": None, "error": None,
                "evidence": [], "cancel": None, "pending": None, "events": {}, "history": [], "op": "",
                "traceparent": None, "queue": _place(account, workflow, priority, key, at_us + n), **fields,
            }
            for n in range(count)
        ]  # fmt: skip
        for document in documents:
            if document["queue"] is None:
                del document["queue"]
        await self.mongo["tasks"].insert_many(documents)
        return [document["_id"] for document in documents]

    async def task(self, id: str) -> dict[str, Any]:
        """A task now."""
        return await self.mongo["tasks"].find_one({"_id": id}) or {}

    async def worker(self, id: str) -> dict[str, Any]:
        """A robot now."""
        return await self.mongo["workers"].find_one({"_id": id}) or {}

    async def until_task(self, id: str, state: str, within_s: float = 10.0) -> dict[str, Any]:
        """The task once it is in a state."""

        async def check() -> dict[str, Any] | None:
            task = await self.task(id)
            return task if task["state"] == state else None

        return await until(check, within_s)

    async def opened(self, count: int = 1) -> list[dict[str, Any]]:
        """Runs that wait for an executor, once there are that many."""

        async def check() -> list[dict[str, Any]]:
            runs = await self.mongo["runs"].find({"state": "opened"}).sort("opened_at", 1).to_list(None)
            return runs if len(runs) >= count else []

        return await until(check)

    async def ask(self, kind: str, target: str, **args: Any) -> dict[str, Any]:
        """Issue a request to the scheduler and wait for its end."""
        id = await issue(self.mongo, self.broker, kind=kind, to="scheduler", target=target, args=args, by="ana")
        return await wait(self.mongo, id, 30.0)

    async def end_run(
        self, run: str, *, state: str = "finished", pending: bool = True, reason: str = "completed", **end: Any
    ) -> None:
        """End a run, as its executor would."""
        at = now()
        handed = {"to": "scheduler", "what": "finished", "since": at, "due_at": at, "claims": 0} if pending else None
        await self.mongo["runs"].update_one(
            {"_id": run},
            {
                "$set": {
                    "state": state,
                    "finished_at": at,
                    "pending": handed,
                    "end": {"reason": reason, "text": "", "code": "", **end},
                }
            },
        )

    async def finish_run(self, run: dict[str, Any], outcome: str = "succeeded", **end: Any) -> None:
        """Bring all tasks of a run to one outcome and end it, as its executor would, with the hint.

        outcome: succeeded, business, system (failed for good), retry, not_started.
        """
        state = {"business": "failed", "system": "failed"}.get(outcome, outcome)
        kind = {"business": "business", "system": "system", "retry": "system"}.get(outcome)
        failure = {"kind": kind, "code": kind.upper()} if kind else None
        at = now()
        for item in run["tasks"]:
            held = {"_id": item["task"], "held_by.run": run["_id"]}
            if outcome in ("retry", "not_started"):
                await self.return_task(item["task"], outcome)
                await self.broker.send(HANDOFFS, "task.returned", TaskReturned(task=item["task"], run=run["_id"]))
            else:
                fields = {"state": state, "held_by": None, "error": failure, "started_at": at, "finished_at": at}
                await self.mongo["tasks"].update_one(held, {"$set": fields})
            noted = {"tasks.$.state": "ended", "tasks.$.outcome": state, "tasks.$.failure": failure, "started_at": at}
            await self.mongo["runs"].update_one({"_id": run["_id"], "tasks.task": item["task"]}, {"$set": noted})
        await self.end_run(run["_id"], **end)
        await self.broker.send(HANDOFFS, "run.finished", RunFinished(run=run["_id"], worker=run["worker"]))

    async def settled(self, run: str) -> None:
        """Wait until a run that ended is put away."""

        async def check() -> bool:
            return (await self.mongo["runs"].find_one({"_id": run}) or {})["pending"] is None

        await until(check)

    async def free_again(self, robot: str, *, of: str | None = None) -> dict[str, Any]:
        """The robot once it has no run; or, where it may get another one at once, once it has this run no longer."""

        async def check() -> dict[str, Any] | None:
            worker = await self.worker(robot)
            return worker if worker["run"] is None or (of and worker["run"] != of) else None

        return await until(check)

    async def events(self, kind: str) -> list[dict[str, Any]]:
        """Events of a kind, oldest first."""
        return await self.mongo["events"].find({"kind": kind}).sort("at", 1).to_list(None)

    async def return_task(self, task: str, what: str, **more: Any) -> None:
        """Give a task back, as its executor would."""
        at = now()
        pending = {"to": "scheduler", "what": what, "since": at, "due_at": at, "claims": 0, **more}
        await self.mongo["tasks"].update_one({"_id": task, "state": "running"}, {"$set": {"pending": pending}})

    def http(self, service: Scheduler) -> httpx.AsyncClient:
        """A client of the scheduler's API."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(app=service.app()), base_url="http://scheduler")


@pytest.fixture(scope="session")
async def scheduler_mongo(servers: Any) -> AsyncIterator[Mongo]:
    """One database for these tests, emptied before each: making its indexes takes longer than most of them."""
    mongo = Mongo(servers.mongo, f"test_scheduler_{uuid.uuid4().hex[:8]}")
    await apply_indexes(mongo)
    yield mongo
    await mongo.close()
    last = Mongo(servers.mongo, mongo.db.name)  # a fresh client: other tests may have restarted the database meanwhile
    await last.client.drop_database(mongo.db.name)
    await last.close()


@pytest.fixture(scope="session")
def scheduler_amqp(servers: Any) -> Iterator[str]:
    """One virtual host for these tests, its queues emptied before each: making quorum queues takes longer than most."""
    vhost = f"test-scheduler-{uuid.uuid4().hex[:8]}"
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    with httpx.Client(base_url=servers.amqp_admin, timeout=20) as admin:
        admin.put(f"/api/vhosts/{vhost}").raise_for_status()
        user = urlsplit(servers.amqp).username
        admin.put(f"/api/permissions/{vhost}/{user}", json=rights).raise_for_status()
        yield urlunsplit(urlsplit(servers.amqp)._replace(path=f"/{vhost}"))
        admin.delete(f"/api/vhosts/{vhost}")


@pytest.fixture
async def world(scheduler_mongo: Mongo, scheduler_amqp: str, servers: Any) -> AsyncIterator[World]:
    """An empty world."""
    for collection in COLLECTIONS:
        await scheduler_mongo[collection].delete_many({})
    settings = {
        "amqp_url": scheduler_amqp, "amqp_admin_url": servers.amqp_admin, "mongo_url": servers.mongo,
        "mongo_db": scheduler_mongo.db.name, "master_key": MASTER_KEY, "silent_s": 600, "zombie_sweep_s": 0.3,
        "dispatch_sweep_s": 0.5,
    }  # fmt: skip
    broker = Broker([scheduler_amqp], instance=f"test-{os.getpid()}", topology=service_queues())
    await broker.start()
    for queue in service_queues():
        await broker.purge(queue.name)
    await _forget_robots(servers.amqp_admin, scheduler_amqp)
    made = World(scheduler_mongo, broker, settings)
    yield made
    for service in list(made.schedulers):
        await made.kill(service)
    await broker.stop()


async def _forget_robots(admin_url: str, amqp_url: str) -> None:
    """Remove what earlier tests' robots left at the broker, so that no scheduler's first comparison is about them."""
    vhost = urlsplit(amqp_url).path[1:]
    async with httpx.AsyncClient(base_url=admin_url, timeout=20) as admin:
        for user in (await admin.get("/api/users")).json():
            if user["name"].startswith("worker."):
                await admin.delete(f"/api/users/{user['name']}")
        for queue in (await admin.get(f"/api/queues/{vhost}")).json():
            if queue["name"].startswith("worker."):
                await admin.delete(f"/api/queues/{vhost}/{queue['name']}")


def _place(account: str, workflow: str, priority: int | None, key: str, at_us: int) -> dict[str, Any]:
    return {"list": str(list_key(account, workflow, priority)), "key": key, "rank": rank_at_end(at_us)}


def ago(**how: float) -> datetime:
    """A time in the past."""
    return now() - timedelta(**how)
