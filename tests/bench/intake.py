"""Accepted tasks per second: the real collector over HTTP beside a bare `insert_many` with majority writes of the same
documents, with the same indexes and batches, by as many clients at a time, in turns.

The collector is one process with its own settings; its clients post bodies that were made before. What it stored is
read back and inserted as it is into a second database, with other ids. So both sides write the same bytes, and what the
collector adds (reading, checking, answering) is the whole difference.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from services.collector.store import INSERT_BATCH
from shared.mongo import Mongo
from shared.mongo.indexes import apply_indexes
from shared.obs.clock import now
from shared.obs.ids import new_id
from shared.runtime.auth import new_key
from tests.bench.ground import Ground
from tests.bench.rows import Row
from tests.bench.service_process import running

BROKER = True
ACCOUNT, WORKFLOW = "acme", "tax-certificate"
ROUNDS = 5
ROUND_TASKS = 10_000
CLIENTS = 4
PUSHES = (1_000, 10_000)
"""Tasks of a push."""
RATIO_MAX = 2.0
"""At least half as many."""
SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["registration", "company", "kind"],
    "properties": {
        "registration": {"type": "string", "pattern": "^[0-9]{8,14}$"},
        "company": {"type": "string", "minLength": 1, "maxLength": 100},
        "kind": {"enum": ["tax", "labour", "city"]},
        "amount": {"type": "number", "minimum": 0},
        "contact": {
            "type": "object",
            "properties": {"mail": {"type": "string"}, "phone": {"type": "string"}},
        },
        "notes": {"type": "array", "maxItems": 10, "items": {"type": "string"}},
    },
}
SCENARIO = {"name": "all", "when": [{"field": "kind", "op": "in", "value": ["tax", "labour", "city"]}],
            "group_by": ["company"], "tags": [], "max_tasks": 10, "worker": True, "script": "all.py"}  # fmt: skip


def item(n: int) -> dict[str, Any]:
    """A task to push, of the size of a real one."""
    return {
        "reference": f"order-{n:09d}",
        "input": {
            "registration": f"{n:011d}", "company": f"Company {n % 200}", "kind": ("tax", "labour", "city")[n % 3],
            "amount": n / 7, "contact": {"mail": f"office{n}@example.com", "phone": "+55 11 5555-0100"},
            "notes": ["as every month", f"ordered by clerk {n % 17}"],
        },
    }  # fmt: skip


class Side:
    """A database with the indexes of all."""

    def __init__(self, ground: Ground, name: str) -> None:
        self.mongo = Mongo(ground.mongo_url, f"bench_intake_{name}_{uuid.uuid4().hex[:8]}")

    async def prepare(self) -> str:
        """Indexes, a workflow, and a key: its text."""
        await apply_indexes(self.mongo)
        document = {"account": ACCOUNT, "workflow": WORKFLOW, "number": 1, "input": SCHEMA, "scenarios": [SCENARIO]}
        await self.mongo["versions"].insert_one({"_id": f"{ACCOUNT}/{WORKFLOW}/1", **document})
        await self.mongo["workflows"].insert_one(
            {"_id": f"{ACCOUNT}/{WORKFLOW}", "account": ACCOUNT, "name": WORKFLOW, "current": 1, "settings": {}}
        )
        id, key, hashed = new_key()
        await self.mongo["keys"].insert_one(
            {"_id": id, "hash": hashed, "account": ACCOUNT, "partner": "erp", "scopes": ["tasks"], "created_at": now(),
             "revoked_at": None, "expires_at": None}
        )  # fmt: skip
        return key

    async def close(self) -> None:
        """Take it away."""
        await self.mongo.client.drop_database(self.mongo.db.name)
        await self.mongo.close()


async def rows(ground: Ground) -> list[Row]:
    """Measure. REGENTE_BENCH_TASKS: another number of tasks in a round than 10,000."""
    count = int(os.environ.get("REGENTE_BENCH_TASKS") or ROUND_TASKS)
    bare, real = Side(ground, "bare"), Side(ground, "real")
    try:
        await bare.prepare()
        key = await real.prepare()
        async with _collector(ground, real, key) as http:
            found = []
            for size in PUSHES:
                found.append(await _compared(ground, bare, real, http, size=size, count=max(count, CLIENTS * size)))
            return found
    finally:
        for side in (bare, real):
            await side.close()


async def _compared(ground: Ground, bare: Side, real: Side, http: httpx.AsyncClient, *, size: int, count: int) -> Row:
    real_s, bare_s = [], []
    for n in range(ROUNDS + 1):
        first = n * count + size * 100_000_000
        took_s, batches = await _push(http, first, count, size)
        documents = await _stored(real, batches, count)
        pause_s = await _insert(bare, documents, size)
        if n:  # the first round warms up
            real_s.append(took_s)
            bare_s.append(pause_s)
        ground.say(f"\rpushes of {size:,}: round {n} of {ROUNDS}", end="")
    ground.say("")
    mine, other = count / statistics.median(real_s), count / statistics.median(bare_s)
    return Row(
        f"tasks accepted, pushes of {size:,}, {CLIENTS} clients", round(mine), "tasks/s",
        f"bare insert_many: {other:.0f} tasks/s", round(other / mine, 3), RATIO_MAX,
    )  # fmt: skip


async def _push(http: httpx.AsyncClient, first: int, count: int, size: int) -> tuple[float, list[str]]:
    """Seconds for `count` tasks in pushes of `size`, and the batches."""
    bodies = [
        json.dumps({"workflow": WORKFLOW, "tasks": [item(n) for n in range(start, start + size)]}).encode()
        for start in range(first, first + count, size)
    ]
    answers: list[str] = []

    async def post(body: bytes) -> None:
        answer = await http.post("/v1/tasks", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 202, answer.text[:500]
        answers.append(answer.text)

    took_s = await _timed(bodies, post)
    return took_s, [json.loads(text)["batch"] for text in answers]


async def _stored(real: Side, batches: list[str], count: int) -> list[dict[str, Any]]:
    """What the collector made of it, under other ids."""
    found = await real.mongo["tasks"].find({"batch": {"$in": batches}}).to_list(None)
    assert len(found) == count, f"{len(found)} tasks of {count}: the bench does not measure what it says"
    return [{**document, "_id": new_id("task_")} for document in found]


async def _insert(bare: Side, documents: list[dict[str, Any]], size: int) -> float:
    """Seconds for the same documents, each client inserting as many at a time as a push has, as the collector does."""
    pushes = [documents[start : start + size] for start in range(0, len(documents), size)]

    async def insert(push: list[dict[str, Any]]) -> None:
        for start in range(0, len(push), INSERT_BATCH):
            await bare.mongo["tasks"].insert_many(push[start : start + INSERT_BATCH], ordered=False)

    return await _timed(pushes, insert)


async def _timed(parts: list[Any], work: Callable[[Any], Awaitable[None]]) -> float:
    """Seconds until CLIENTS have worked off all parts."""
    left = iter(parts)

    async def client() -> None:
        for part in left:
            await work(part)

    began_s = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return time.perf_counter() - began_s


@asynccontextmanager
async def _collector(ground: Ground, side: Side, key: str) -> AsyncIterator[httpx.AsyncClient]:
    settings = {
        "REGENTE_AMQP_URL": str(ground.amqp_url),
        "REGENTE_AMQP_ADMIN_URL": str(ground.amqp_admin_url),
        "REGENTE_MONGO_URL": ground.mongo_url,
        "REGENTE_MONGO_DB": side.mongo.db.name,
        "REGENTE_MASTER_KEY": base64.b64encode(bytes(32)).decode(),
    }
    with TemporaryDirectory() as folder, running("collector", settings, Path(folder)) as url:
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=120) as http:
            yield http
