"""A virtual host and a database for benches of the executor, with a robot that answers by a table.

Called by: long_run.py, parked.py. Runs are opened as the scheduler opens them (tests/integration/executor)."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator
from urllib.parse import urlsplit, urlunsplit

import httpx

from shared.broker import Broker
from shared.broker.admin import BrokerAdmin
from shared.contracts.topology import service_queues, worker_user
from shared.mongo import Mongo
from shared.mongo.indexes import apply_indexes
from tests.bench.ground import Ground
from tests.integration.executor.conftest import MASTER_KEY, World

RIGHTS = {"configure": ".*", "write": ".*", "read": ".*"}


@contextlib.asynccontextmanager
async def executor_world(ground: Ground) -> AsyncIterator[World]:
    """An empty world; the executor is the caller's to start, from its `settings`."""
    assert ground.amqp_url is not None
    assert ground.amqp_admin_url is not None
    name = f"bench-executor-{uuid.uuid4().hex[:8]}"
    async with httpx.AsyncClient(base_url=ground.amqp_admin_url, timeout=20) as client:
        (await client.put(f"/api/vhosts/{name}")).raise_for_status()
        user = urlsplit(ground.amqp_url).username
        (await client.put(f"/api/permissions/{name}/{user}", json=RIGHTS)).raise_for_status()
    amqp = urlunsplit(urlsplit(ground.amqp_url)._replace(path=f"/{name}"))
    mongo = Mongo(ground.mongo_url, name.replace("-", "_"))
    await apply_indexes(mongo)
    broker = Broker([amqp], instance="bench", topology=service_queues())
    await broker.start()
    settings = {
        "amqp_url": amqp, "amqp_admin_url": ground.amqp_admin_url, "mongo_url": ground.mongo_url,
        "mongo_db": mongo.db.name, "master_key": MASTER_KEY, "instance": "bench-executor",
    }  # fmt: skip
    world = World(mongo, broker, BrokerAdmin(ground.amqp_admin_url, name), amqp, settings)
    try:
        yield world
    finally:
        for robot in world.robots:
            await robot.stop()
            await world.admin.delete_user(worker_user(robot.worker))
        for one in (*world.brokers, broker):
            await one.stop()
        await world.admin.close()
        await mongo.client.drop_database(mongo.db.name)
        await mongo.close()
        async with httpx.AsyncClient(base_url=ground.amqp_admin_url, timeout=20) as client:
            await client.delete(f"/api/vhosts/{name}")
