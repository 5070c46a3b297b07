"""A reference names one task for ever, also after the task was deleted, and at the moment when it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from services.collector.core.documents import Push
from services.collector.store import CollectorStore
from services.collector.taking import Taking
from shared.intake.schema import InputSchema
from shared.mongo import Mongo, tombstones
from shared.mongo.files import Files
from shared.obs.clock import now, now_us
from shared.obs.ids import new_id
from tests.integration.collector.conftest import SCHEMA, Account, item

OLD = timedelta(hours=1)


@pytest.fixture
async def mongo(account: Account) -> AsyncIterator[Mongo]:
    """The collector's database, as the services use it."""
    found = Mongo(account.ground.mongo_url, account.ground.db.name)
    yield found
    await found.close()


async def ended(account: Account, mongo: Mongo, reference: str) -> dict[str, Any]:
    """A task that was pushed, and ended long ago."""
    id = account.push(item(reference)).json()["accepted"][0]["id"]
    await mongo["tasks"].update_one(
        {"_id": id}, {"$set": {"state": "succeeded", "created_at": now() - OLD, "finished_at": now() - OLD}}
    )
    task = await mongo["tasks"].find_one({"_id": id})
    assert task is not None
    return task


async def delete(mongo: Mongo, task: dict[str, Any]) -> None:
    """What retention does."""
    await tombstones.bury(mongo, [task], at=now())
    await mongo["tasks"].delete_one({"_id": task["_id"]})


async def test_a_deleted_tasks_reference_stays_taken(account: Account, mongo: Mongo) -> None:
    task = await ended(account, mongo, "a")
    await delete(mongo, task)
    again = account.push(item("a"), item("b")).json()
    assert [(one["id"], one["duplicate"]) for one in again["accepted"]] == [
        (task["_id"], True),
        (account.stored()[0]["_id"], False),
    ]
    other = account.push(item("a", "2")).json()
    assert other["rejected"][0]["errors"][0]["code"] == "REFERENCE_CONFLICT"
    assert [one["reference"] for one in account.stored()] == ["b"]


async def test_a_deleted_task_is_gone_and_says_so(account: Account, mongo: Mongo) -> None:
    task = await ended(account, mongo, "a")
    await delete(mongo, task)
    for answer in (account.http.get(f"/v1/tasks/{task['_id']}"), account.http.delete(f"/v1/tasks/{task['_id']}")):
        assert (answer.status_code, answer.json()["code"]) == (410, "GONE")
        assert "succeeded" in answer.json()["detail"]
    stranger = account.ground.key("stranger", "tasks")
    assert account.http.get(f"/v1/tasks/{task['_id']}", headers=stranger).status_code == 404


async def test_a_batch_whose_tasks_were_deleted_is_done(account: Account, mongo: Mongo) -> None:
    task = await ended(account, mongo, "a")
    for left in (1, 0):
        await (tombstones.bury(mongo, [task], at=now()) if left else delete(mongo, task))
        view = account.http.get(f"/v1/batches/{task['batch']}").json()
        assert (view["tasks"], view["finished"], view["done"], sum(view["states"].values())) == (1, 1, True, left)
        assert account.http.get("/v1/batches").json()["items"][0]["tasks"] == 1


async def test_burying_again_changes_nothing_and_young_or_living_tasks_are_not_buried(
    account: Account, mongo: Mongo
) -> None:
    task = await ended(account, mongo, "a")
    await tombstones.bury(mongo, [task], at=now())
    before = await mongo["tombstones"].find_one({"task": task["_id"]})
    await tombstones.bury(mongo, [task, {**task, "reference": "b", "_id": "task_b"}], at=now())
    assert await mongo["tombstones"].find_one({"task": task["_id"]}) == before
    for wrong in ({**task, "created_at": now()}, {**task, "state": "queued"}):
        with pytest.raises(tombstones.TooYoung):
            await tombstones.bury(mongo, [{**wrong, "reference": "c", "_id": "task_c"}], at=now())
    assert await mongo["tombstones"].find_one({"task": "task_c"}) is None


class Interrupted(CollectorStore):
    """The store, with something that happens at one point of a push."""

    def __init__(self, mongo: Mongo, point: str, act: Callable[[], Awaitable[None]]) -> None:
        super().__init__(mongo)
        self.point, self.act = point, act

    async def standing(self, account: str, workflow: str, references: Any) -> Any:
        if self.point == "before the looks":
            await self.act()
        found = await super().standing(account, workflow, references)
        if self.point == "before the insert":
            await self.act()
        return found

    async def add_tasks(self, documents: Any) -> bool:
        clean = await super().add_tasks(documents)
        if self.point == "after the insert":
            await self.act()
        return clean


@pytest.mark.parametrize("half", ["buried", "deleted"])
@pytest.mark.parametrize("point", ["before the looks", "between the looks", "before the insert", "after the insert"])
async def test_a_deletion_at_any_moment_of_a_push_makes_no_second_task(
    account: Account, mongo: Mongo, monkeypatch: pytest.MonkeyPatch, point: str, half: str
) -> None:
    """half: how far the deleter comes before it dies."""
    task = await ended(account, mongo, "a")

    async def act() -> None:
        await tombstones.bury(mongo, [task], at=now())
        if half == "deleted":
            await mongo["tasks"].delete_one({"_id": task["_id"]})

    if point == "between the looks":
        real = tombstones.standing

        async def late(*arguments: Any) -> Any:
            await act()
            return await real(*arguments)

        monkeypatch.setattr(tombstones, "standing", late)
    store = Interrupted(mongo, point, act)
    push = Push(account.name, "erp", "tax", new_id("batch_"), now(), now_us(), "00-a-b-01")
    taking = Taking(store, Files(mongo), push, InputSchema(SCHEMA))
    good, bad = await taking.check([(0, item("a")), (1, item("new"))])
    await taking.open(good, bad)
    await taking.store([*good, *bad])
    answer = taking.answer()["accepted"]
    assert [(one["id"] == task["_id"], one["duplicate"]) for one in answer] == [(True, True), (False, False)]
    references = [one["reference"] for one in account.stored()]
    assert sorted(references) == (["a", "new"] if half == "buried" else ["new"])
