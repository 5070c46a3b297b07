"""A queue of any length for benches: workflows, and tasks as the collector inserts them, through several clients.

The tasks go in before the indexes are made: a million of them then takes a minute instead of five, and the indexes are
the same ones.
"""

from __future__ import annotations

import functools
import multiprocessing
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo import MongoClient

from services.collector.core.documents import Push, task_documents
from shared.domain.scenario import place_key
from shared.intake.items import Item, digest_of
from shared.mongo import Mongo
from shared.mongo.indexes import INDEXES, apply_indexes
from shared.obs.ids import new_id
from tests.bench.ground import Ground

ACCOUNTS = ("acme", "bolt", "crux")
WORKFLOWS = 20
TASKS_PER_COMPANY = 2_500
"""Every third workflow groups by the company; there are four at least, so that no run is short of tasks."""
CLIENTS = 3
CHUNK = 10_000
BATCH = 1_000
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def account_of(n: int) -> str:
    """The account of workflow number n."""
    return ACCOUNTS[n % len(ACCOUNTS)]


@functools.cache
def scenarios(n: int) -> list[dict[str, Any]]:
    """The scenarios of workflow number n."""
    grouped = ["company"] if n % 3 == 0 else []
    return [
        {"name": "only", "when": [], "group_by": grouped, "tags": [], "max_tasks": (1, 4, 8, 8)[n % 4],
         "worker": True, "script": "only.py"}
    ]  # fmt: skip


async def fill(ground: Ground, mongo: Mongo, tasks: int) -> None:
    """Publish the workflows and put `tasks` tasks in the queue of an empty database; then make the indexes."""
    for n in range(WORKFLOWS):
        account, name = account_of(n), f"flow-{n:02d}"
        document = {
            "_id": f"{account}/{name}", "account": account, "name": name, "title": name, "current": 1,
            "settings": {"priority": n % 6, "concurrency": {"runs": None, "group": 1, "scope": "account"}},
        }  # fmt: skip
        version = {
            "_id": f"{account}/{name}/1", "account": account, "workflow": name, "number": 1,
            "input": {"type": "object", "properties": {"company": {"type": "integer"}}}, "scenarios": scenarios(n),
        }  # fmt: skip
        await mongo["workflows"].insert_one(document)
        await mongo["versions"].insert_one(version)
    await mongo["accounts"].insert_many([{"_id": name, "name": name, "title": name} for name in ACCOUNTS])
    _insert(ground, mongo.db.name, tasks)
    ground.say(f"\r{mongo.db.name}: {tasks:,} tasks; making the indexes", end="")
    _index(ground, mongo.db.name)
    await apply_indexes(mongo)
    ground.say(f"\r{mongo.db.name}: {tasks:,} tasks with their indexes")


def _index(ground: Ground, database: str) -> None:
    """Make the indexes of tasks, through a client that waits as long as it takes: a service's own gives up before."""
    client: MongoClient[dict[str, Any]] = MongoClient(ground.mongo_url)
    with client:
        client[database]["tasks"].create_indexes([index.model() for index in INDEXES if index.collection == "tasks"])


def _insert(ground: Ground, database: str, tasks: int) -> None:
    companies = max(4, tasks // TASKS_PER_COMPANY)
    firsts = range(0, tasks, CHUNK)
    chunks = [(ground.mongo_url, database, companies, first, min(CHUNK, tasks - first)) for first in firsts]
    done = 0
    with multiprocessing.get_context("spawn").Pool(min(CLIENTS, len(chunks))) as pool:
        for count in pool.imap_unordered(_insert_chunk, chunks):
            done += count
            ground.say(f"\r{database}: {done:,} of {tasks:,} tasks", end="")


def _insert_chunk(chunk: tuple[str, str, int, int, int]) -> int:
    """In a process of its own: one client, some thousand tasks."""
    url, database, companies, first, count = chunk
    client: MongoClient[dict[str, Any]] = MongoClient(url)
    with client:
        for start in range(first, first + count, BATCH):
            documents = list(_documents(companies, start, min(BATCH, first + count - start)))
            client[database]["tasks"].insert_many(documents, ordered=False)
    return count


def _documents(companies: int, first: int, count: int) -> Iterator[dict[str, Any]]:
    draw = random.Random(first)
    for n in range(first, first + count):
        number = draw.randrange(WORKFLOWS)
        value = {"company": draw.randrange(companies), "n": n}
        at = BEGIN + timedelta(milliseconds=n)
        push = Push(
            account=account_of(number), partner="partner", workflow=f"flow-{number:02d}", batch=f"batch-{n // 500}",
            at=at, at_us=int(at.timestamp() * 1_000_000), traceparent="00-" + "0" * 32 + "-" + "0" * 16 + "-00",
        )  # fmt: skip
        item = Item(
            index=0, reference=f"ref-{n}", input=value, digest=digest_of(value),
            priority=draw.choice([None, 0, 1, 2, 3, 4, 5]), group=_key(number, value["company"]),
        )  # fmt: skip
        yield from task_documents(push, [item], {item.reference: new_id("task_")}, op="")


@functools.cache
def _key(number: int, company: int) -> str:
    """Key of scenario and group."""
    return place_key(scenarios(number), {"company": company})
