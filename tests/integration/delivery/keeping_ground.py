"""Tasks that ended long ago, with everything that belongs to one; and a database that fails at a chosen write."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId
from gridfs.asynchronous import AsyncGridFSBucket

from services.delivery.feed import Feed
from services.delivery.keeping.archive import Archive
from services.delivery.keeping.erasing import PURPOSE, Erasing
from services.delivery.keeping.evidence import EvidenceKeeping
from shared.domain.erasure import canonical
from shared.mongo import Mongo
from shared.mongo.files import Files
from shared.seal import Sealer

OLD = datetime.now(UTC).replace(microsecond=0) - timedelta(days=40)
SECRET = "Maria-52998224725"
SEALER = Sealer(bytes(32))
WRITES = frozenset(
    {"insert_one", "insert_many", "update_one", "update_many", "delete_one", "delete_many", "find_one_and_update",
     "replace_one", "aggregate"}
)  # fmt: skip


class Died(BaseException):
    """The process is gone."""


class _Dying:
    """A collection whose process dies at a write: before it, or after it and before the answer is heard."""

    def __init__(self, mongo: DyingMongo, collection: Any) -> None:
        self._mongo, self._collection = mongo, collection

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._collection, name)
        if name not in WRITES:
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            self._mongo.writes += 1
            if self._mongo.writes == self._mongo.die_at and self._mongo.before:
                raise Died
            answer = await found(*args, **kwargs)
            if name == "aggregate":  # carried out when it is read
                rows = await answer.to_list(None)

                class Read:
                    async def to_list(self, _: Any) -> Any:
                        return rows

                answer = Read()
            if self._mongo.writes == self._mongo.die_at:
                raise Died
            return answer

        return call


class DyingMongo(Mongo):
    """The real database, seen by a process that dies at its n-th write."""

    writes, die_at, before = 0, 0, True

    def __getitem__(self, collection: str) -> Any:
        return _Dying(self, self.db[collection])


@contextmanager
def erasing(mongo_url: str, mongo_db: str, sealer: Sealer) -> Iterator[None]:
    """Somebody carries out erasures all the while, as a delivery process does."""
    stop = threading.Event()

    async def work() -> None:
        mongo = Mongo(mongo_url, mongo_db)
        keeper = Keeper(mongo, sealer=sealer)
        while not stop.is_set():
            await keeper.erasing.sweep()
            await asyncio.sleep(0.05)
        await mongo.close()

    thread = threading.Thread(target=lambda: asyncio.run(work()), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)


class Keeper:
    """The parts that keep and delete, as one process has them."""

    def __init__(self, mongo: Mongo, *, grace_s: float = 0.0, sealer: Sealer = SEALER) -> None:
        self.mongo, self.feed = mongo, Feed(mongo)
        files = Files(mongo)
        self.evidence = EvidenceKeeping(mongo, grace_s=grace_s)
        self.archive = Archive(mongo, self.feed, self.evidence, files, lambda: True)
        self.erasing = Erasing(mongo, sealer, self.evidence, files, lambda: True)

    async def archive_all(self, account: str, before: datetime) -> None:
        """Everything that is old enough goes to the archive."""
        await self.archive.tasks(account, before)
        await self.archive.runs(account, before)

    async def delete_all(self, account: str, before: datetime) -> None:
        """Everything that is old enough is deleted from the archive."""
        await self.archive.delete_tasks(account, before)
        await self.archive.delete_runs(account, before)
        await self.evidence.sweep_bytes()


def documents(account: str, n: int, **fields: Any) -> dict[str, list[dict[str, Any]]]:
    """A task that ended long ago: one run, its journal, a delivery, a feed entry, a decision, logs; by collection."""
    id, run = f"task_{account}_{n}", f"run_{account}_{n}"
    of = {"account": account, "workflow": "tax"}
    task = {
        "_id": id, "schema_version": 1, **of, "reference": f"R{n}", "batch": "b",
        "input": {"cpf": SECRET, "n": n}, "input_digest": f"digest {n}", "state": "succeeded", "attempts": 1,
        "created_at": OLD, "finished_at": OLD, "result": {"output": {"name": SECRET}}, "error": None,
        "evidence": [], "hold": None, "pending": None, "held_by": None, "history": [], "group": None, **fields,
    }  # fmt: skip
    failure = {"kind": "system", "code": "X", "message": SECRET}
    steps = [
        {"_id": f"{run}/{seq:08d}", "run": run, "seq": seq, "kind": "instruction", "at": OLD,
         "task": None if seq == 1 else id,
         "instruction": {"name": "browser.fill", "args": {"text": SECRET if seq > 1 else "x"}},
         "reply": {"seq": seq - 1, "outcome": "done", "value": SECRET if seq > 1 else None}, "logs": []}
        for seq in (1, 2, 3)
    ]  # fmt: skip
    view = {"id": id, "reference": f"R{n}", "workflow": "tax", "state": "succeeded", "result": {"name": SECRET}}
    body = {"type": "task.succeeded", "timestamp": "t", "data": view}
    return {
        "tasks": [task],
        "runs": [
            {"_id": run, **of, "state": "finished", "pending": None, "group": {"c": SECRET},
             "finished_at": OLD, "opened_at": OLD,
             "tasks": [{"task": id, "attempt": 1, "state": "ended", "failure": failure}]}
        ],
        "steps": steps,
        "late_replies": [{"_id": f"{run}/2/m", "run": run, "seq": 2, "value": SECRET}],
        "decisions": [{"_id": f"{run}/00000002", "run": run, "task": id, "account": account, "state": "answered",
                       "question": SECRET}],
        "deliveries": [
            {"_id": f"{id}:hook:succeeded", "account": account, "task": id, "endpoint": "hook", "event": "succeeded",
             "body": json.dumps(body), "state": "delivered", "attempts": [{"answer": SECRET}], "created_at": OLD}
        ],
        "results": [
            {"_id": f"{id}:succeeded", **of, "task": id, "event": "succeeded", "body": json.dumps(view), "at": OLD}
        ],
        "logs": [{"_id": f"log_{id}", "task": id, "run": run, "event": SECRET}],
    }  # fmt: skip


async def old_tasks(mongo: Mongo, account: str, *wanted: dict[str, Any]) -> None:
    """Such tasks, as many as there are wishes: {n, more fields of the task}."""
    whole: dict[str, list[dict[str, Any]]] = {}
    for fields in wanted:
        for name, ones in documents(account, **fields).items():
            whole.setdefault(name, []).extend(ones)
    entries = whole.pop("results")
    await asyncio.gather(*(mongo[name].insert_many(ones) for name, ones in whole.items()))
    feed = Feed(mongo)
    await asyncio.gather(*(feed.add(entry) for entry in entries))


async def old_task(mongo: Mongo, account: str, n: int, **fields: Any) -> None:
    """One such task."""
    await old_tasks(mongo, account, {"n": n, **fields})


async def picture(mongo: Mongo, account: str, task: str, sha256: str, *, at: datetime = OLD, n: int = 1) -> None:
    """A piece of evidence of a task; its bytes may be another's too."""
    if await mongo["evidence"].find_one({"_id": sha256}) is None:
        file = ObjectId()
        await AsyncGridFSBucket(mongo.db, "blobs").upload_from_stream_with_id(
            file, sha256, b"bytes of " + sha256.encode()
        )
        await mongo["evidence"].insert_one(
            {"_id": sha256, "file": file, "size_bytes": 9, "media_type": "image/png", "created_at": at}
        )
    run = task.replace("task_", "run_")
    await mongo["evidence_links"].insert_one(
        {"_id": f"ev_{task}_{sha256}_{n}", "account": account, "workflow": "tax", "task": task, "run": run, "seq": 2,
         "name": SECRET, "sha256": sha256, "media_type": "image/png", "size_bytes": 9, "at": at, "dropped": False}
    )  # fmt: skip


async def ask_erasure(mongo: Mongo, account: str, criteria: dict[str, Any], *, dry_run: bool = False) -> str:
    """A request, as the console stores it."""
    id = f"erasure_{ObjectId()}"
    await mongo["erasures"].insert_one(
        {"_id": id, "account": account, "about": "x", "criteria_hash": "h", "dry_run": dry_run, "by": "ann",
         "criteria": SEALER.seal(PURPOSE, canonical(criteria).encode(), id.encode()), "state": "pending",
         "created_at": datetime.now(UTC), "counts": None, "ended_at": None, "reason": "", "op": None}
    )  # fmt: skip
    return id


async def everything(mongo: Mongo, account: str) -> dict[str, set[str]]:
    """Ids of everything of an account, by collection."""
    by_run = {"$regex": f"^run_{account}_"}
    queries: dict[str, Any] = {
        "tasks": {"account": account}, "runs": {"account": account}, "deliveries": {"account": account},
        "results": {"account": account}, "steps": {"run": by_run}, "late_replies": {"run": by_run},
        "decisions": {"run": by_run},
    }  # fmt: skip
    found = {}
    for name, query in queries.items():
        for collection in (name, f"archive_{name}"):
            found[collection] = {one["_id"] async for one in mongo[collection].find(query, {"_id": 1})}
    return found
