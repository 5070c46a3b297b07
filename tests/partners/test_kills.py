"""Nothing lost, nothing twice: collectors and deliveries are killed at random while partners push, with retries, and
while outcomes go to a partner's server in bad health. `make soak`: 50,000 tasks; `make test`: 3,000."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from regente_client import AsyncClient, NewTask, RetryPolicy, new_secret
from services.executor.core.ending import TaskOutcome
from shared.broker import Broker
from shared.contracts.messages import TaskFinished
from shared.contracts.topology import HANDOFFS, service_queues
from shared.errors import RegenteError
from shared.mongo import Mongo
from shared.obs.clock import monotonic_s
from tests.fleet.cutting import cut_off
from tests.integration.collector.running import Ground, ground
from tests.partners.killing import Pair, Slot
from tests.partners.rough_side import RoughSide
from tests.partners.stack import ENV, SCHEMA, SCOPES, Finisher

SOAK = bool(os.environ.get("REGENTE_SOAK"))
TASKS = int(os.environ.get("REGENTE_PARTNERS_TASKS") or (50_000 if SOAK else 3_000))
KILLS = 60 if SOAK else 6
PAUSE_S = (0.5, 6.0) if SOAK else (0.1, 0.8)
BATCH = (1, 400) if SOAK else (1, 100)
DEADLINE_S = 3600.0 if SOAK else 300.0
WORKFLOWS = ("rough", "steady")
"""Each with an endpoint of its name."""
HINT_LOST, HINT_TWICE = 0.02, 0.02
AGAIN = 0.3
"""Of the pushes: made again with their key at the other collector, as if their answer had been lost."""
AT_ONCE = 12
ACCOUNT = "acme"
ENDURING = RetryPolicy(attempts=1000, base_s=0.05, wait_s_max=0.5, total_s=120.0)
KILLS_ENV = {
    **ENV,
    # nothing is to be given up here, however often the partner fails
    "REGENTE_DELIVERY_SCHEDULE_S": ",".join(["0.1"] * 49),
    "REGENTE_DELIVERY_CONCURRENT_PER_ENDPOINT_MAX": "16",
    "REGENTE_DELIVERY_CONCURRENT_MAX": "24",
    "REGENTE_LOG_LEVEL": "ERROR",
}


@dataclass
class Scene:
    """Everything that takes part."""

    on: Ground
    key: str
    pair: Pair
    side: RoughSide
    draw: random.Random
    in_flight: Counter[str] = field(default_factory=Counter)
    answered: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    """Ids that clients were told, by workflow and reference: one each."""
    repeats: int = 0
    read: list[str] = field(default_factory=list)
    """Tasks as a partner read them off the feed meanwhile."""

    def client(self, collector: Slot, delivery: Slot) -> AsyncClient:
        """A partner's client, at these two."""
        return AsyncClient(collector.url, key=self.key, delivery=delivery.url, retry=ENDURING)


async def push_all(scene: Scene, worker: int) -> None:
    """Half of the tasks, in batches, evenly over the time of the kills."""
    mine = scene.pair.of("collector")[worker]
    other = scene.pair.of("collector")[1 - worker]
    delivery = scene.pair.of("delivery")[worker]
    mine.at_work = lambda: scene.in_flight[mine.name] > 0
    left = [(WORKFLOWS[n % 2], f"order-{n}") for n in range(worker, TASKS, 2)]
    whole = len(left)
    async with scene.client(mine, delivery) as client, scene.client(other, delivery) as second:
        while left:
            size = scene.draw.randint(*BATCH)
            batch, left = left[:size], left[size:]
            for workflow in WORKFLOWS:
                tasks = [
                    NewTask(reference, {"registration": reference[6:]}) for one, reference in batch if one == workflow
                ]
                if tasks:
                    await push_one(scene, mine, client, second, workflow, tasks)
            ahead = 1 - len(left) / whole > _kills_part(scene)
            await asyncio.sleep(scene.draw.uniform(0, 2.0 if ahead else 0.1))
    mine.at_work = lambda: True


def _kills_part(scene: Scene) -> float:
    return sum(scene.pair.kills.values()) / KILLS


async def push_one(
    scene: Scene, at: Slot, client: AsyncClient, second: AsyncClient, workflow: str, tasks: list[NewTask]
) -> None:
    """One push, and perhaps again elsewhere."""
    key = f"{at.name}-{workflow}-{tasks[0].reference}"
    scene.in_flight[at.name] += 1
    try:
        answers = [await client.push(workflow, tasks, idempotency_key=key)]
    finally:
        scene.in_flight[at.name] -= 1
    if scene.draw.random() < AGAIN:
        scene.repeats += 1
        answers.append(await second.push(workflow, tasks, idempotency_key=key))
        assert answers[0] == answers[1], "the same key was answered in two ways"
    for answer in answers:
        assert not answer.rejected, answer.rejected[0]
        assert len(answer.accepted) == len(tasks)
        for item in answer.accepted:
            scene.answered.setdefault((workflow, item.reference), set()).add(item.id)


async def finish_all(scene: Scene, mongo: Mongo, broker: Broker) -> None:
    """Stands in for scheduler and executor: ends what is queued, and hints, loses hints, or hints twice."""
    draw = random.Random(scene.draw.random())
    ended = 0
    async with Finisher(scene.on) as finisher:

        async def end(id: str) -> None:
            state = "failed" if draw.random() < 0.1 else "succeeded"
            error = {"kind": "business", "code": "BUSINESS", "message": "drawn"} if state == "failed" else None
            assert await finisher.end(id, TaskOutcome(state, output={"protocol": id}, error=error), [])
            fate = draw.random()
            for _ in range(0 if fate < HINT_LOST else 2 if fate < HINT_LOST + HINT_TWICE else 1):
                with contextlib.suppress(RegenteError):
                    await broker.send(HANDOFFS, "task.finished", TaskFinished(task=id, event=state))

        while ended < TASKS:
            found = (
                await mongo["tasks"]
                .find({"state": "queued"}, {"_id": 1})
                .sort("_id", 1)
                .limit(AT_ONCE)
                .to_list(AT_ONCE)
            )
            await asyncio.gather(*(end(task["_id"]) for task in found))
            ended += len(found)
            if not found:
                await asyncio.sleep(0.05)


async def read_feed(scene: Scene) -> None:
    """A partner that polls, from the first page to the last task, over all restarts."""
    collector, delivery = scene.pair.slots[0], scene.pair.of("delivery")[0]
    async with scene.client(collector, delivery) as client:
        async for page in client.results(wait_s=1, page_size=100):
            scene.read += [task.id for task in page]
            if len(scene.read) >= TASKS:
                return


async def until_settled(scene: Scene, mongo: Mongo) -> None:
    """Until every task has ended and is delivered."""
    deadline_s = monotonic_s() + DEADLINE_S
    while await mongo["deliveries"].count_documents({"state": "delivered"}) < TASKS:
        if monotonic_s() > deadline_s:
            states = await (
                await mongo["deliveries"].aggregate([{"$group": {"_id": "$state", "n": {"$sum": 1}}}])
            ).to_list()
            logs = "\n".join(f"{slot.name}: {scene.pair.log_end(slot)}" for slot in scene.pair.slots)
            raise AssertionError(f"not delivered in {DEADLINE_S:g} s: {states}, {scene.side.summary()}\n{logs}")
        await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def scene_on(on: Ground, folder: Path, seed: int) -> AsyncIterator[Scene]:
    """The scene, started."""
    secrets = {name: new_secret() for name in WORKFLOWS}
    for name in WORKFLOWS:
        settings = {"priority": 1, "delivery": {"endpoint": name, "events": ["succeeded", "failed"]}}
        on.db["workflows"].insert_one(
            {"_id": f"{ACCOUNT}/{name}", "account": ACCOUNT, "name": name, "current": 1, "settings": settings}
        )
        version = {"account": ACCOUNT, "workflow": name, "number": 1, "input": SCHEMA}
        on.db["versions"].insert_one({"_id": f"{ACCOUNT}/{name}/1", "published_at": datetime.now(UTC), **version})
    on.db["accounts"].insert_one({"_id": ACCOUNT, "name": ACCOUNT, "title": ACCOUNT, "settings": {}})
    key = on.key(ACCOUNT, *SCOPES)["Authorization"].removeprefix("Bearer ")
    side, pair = RoughSide(secrets, seed), Pair(on, folder, KILLS_ENV)
    scene = Scene(on, key, pair, side, random.Random(seed))
    try:
        await pair.start()
        for slot in pair.of("delivery"):
            slot.at_work = lambda: side.under_way > 0
        async with scene.client(pair.slots[0], pair.of("delivery")[0]) as client:
            for name in WORKFLOWS:
                await client.put_endpoint(name, f"{side.url}/{name}", secret=secrets[name])
        yield scene
    finally:
        await pair.stop()
        side.close()


@pytest.mark.slow
@pytest.mark.stack
async def test_killed_at_random_nothing_is_lost_and_nothing_is_double(servers: Any, tmp_path: Path) -> None:
    seed = int(os.environ.get("REGENTE_SEED") or random.SystemRandom().randrange(10**6))
    with ground(servers.amqp, servers.amqp_admin, servers.mongo) as on:
        async with contextlib.AsyncExitStack() as stack:
            scene = await stack.enter_async_context(scene_on(on, tmp_path, seed))
            mongo = Mongo(on.mongo_url, on.db.name)
            stack.push_async_callback(mongo.close)
            broker = Broker([on.amqp_url], instance="partners", topology=service_queues())
            stack.push_async_callback(broker.stop)
            await broker.start()
            began_s = monotonic_s()
            works: list[Callable[[], Awaitable[None]]] = [
                lambda: push_all(scene, 0),
                lambda: push_all(scene, 1),
                lambda: finish_all(scene, mongo, broker),
                lambda: scene.pair.kill_at_random(random.Random(f"{seed}/kills"), KILLS, PAUSE_S),
                lambda: until_settled(scene, mongo),
                lambda: read_feed(scene),
            ]
            running = [asyncio.ensure_future(work()) for work in works]
            stack.push_async_callback(cut_off, *running)
            await asyncio.gather(*running)
            took_s = monotonic_s() - began_s
            print(
                f"\npartners: {TASKS} tasks in {took_s:.0f} s; killed {dict(scene.pair.kills)}; {scene.repeats} pushes "
                f"repeated; {scene.side.summary()}; seed {seed}", file=sys.__stderr__, flush=True,
            )  # fmt: skip
            check_tasks(scene)
            check_webhooks(scene)
            await check_feed(scene)


def check_tasks(scene: Scene) -> None:
    """Each reference exists once, under the id that its partner was told."""
    tasks = list(scene.on.db["tasks"].find({}, {"reference": 1, "workflow": 1, "pending": 1}))
    stored = Counter((task["workflow"], task["reference"]) for task in tasks)
    assert stored == Counter((WORKFLOWS[n % 2], f"order-{n}") for n in range(TASKS))
    assert scene.answered == {(task["workflow"], task["reference"]): {task["_id"]} for task in tasks}
    assert [task["_id"] for task in tasks if task["pending"] is not None] == []


def check_webhooks(scene: Scene) -> None:
    """Each task's outcome was taken, under one id with one content, and every signature was good."""
    tasks = {task["_id"] for task in scene.on.db["tasks"].find({}, {"_id": 1})}
    side = scene.side
    assert side.invalid == []
    assert set(side.taken) == tasks
    assert {task for task, ids in side.ids.items() if len(ids) != 1} == set()
    assert {id for id, contents in side.contents.items() if len(contents) != 1} == set()
    assert len(side.contents) == TASKS


async def check_feed(scene: Scene) -> None:
    """The feed holds each finished task once, without gaps, and whoever followed it meanwhile read the same."""
    entries = list(scene.on.db["results"].find({}, {"n": 1, "task": 1}).sort("n", 1))
    assert [entry["n"] for entry in entries] == list(range(1, TASKS + 1))
    order = [entry["task"] for entry in entries]
    assert len(set(order)) == TASKS
    assert scene.read == order
    async with scene.client(scene.pair.slots[0], scene.pair.of("delivery")[1]) as client:
        again = [task.id async for page in client.results(follow=False, page_size=333) for task in page]
    assert again == order
