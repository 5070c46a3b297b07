"""Legal holds and erasures over the console's API: who may ask, what is kept of it, what comes back."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from shared.mongo import Mongo
from shared.seal import Sealer
from tests.integration.console.site import ACME, MASTER_KEY, OTHER, Site
from tests.integration.delivery.keeping_ground import OLD, SECRET, Keeper, documents, erasing


@pytest.fixture
def account(console: Site) -> str:
    """An account that no other test has."""
    name = f"keep{uuid.uuid4().hex[:8]}"
    console.db["accounts"].insert_one({"_id": name, "name": name, "title": "", "created_at": OLD, "settings": {}})
    for collection, ones in documents(name, 1).items():
        if collection != "results":
            console.db[collection].insert_many(ones)
    return name


@pytest.fixture
def worker(console: Site) -> Iterator[None]:
    """What delivery does with erasures."""
    with erasing(console.ground.mongo_url, console.db.name, Sealer(MASTER_KEY)):
        yield


def test_a_hold_is_placed_listed_and_lifted(console: Site, admin: httpx.Client, account: str) -> None:
    placed = admin.post("legal-holds", json={"account": account, "workflow": "tax", "reason": "case 12"})
    assert placed.status_code == 201, placed.text
    hold = placed.json()
    assert (hold["workflow"], hold["reason"], hold["going"], hold["lifted_at"]) == ("tax", "case 12", 0, None)
    assert [one["id"] for one in admin.get("legal-holds", params={"account": account}).json()["items"]] == [hold["id"]]
    assert admin.delete(f"legal-holds/{hold['id']}").json()["lifted_by"] == "admin"
    assert admin.delete(f"legal-holds/{hold['id']}").status_code == 409
    assert admin.delete("legal-holds/none").status_code == 404
    standing = {"account": account, "standing": "true"}
    assert admin.get("legal-holds", params=standing).json()["items"] == []
    assert len(admin.get("legal-holds", params={"account": account}).json()["items"]) == 1
    actions = [one["action"] for one in console.db["audit"].find({"target": hold["id"]}).sort("at", 1)]
    assert actions == ["legal_hold.place", "legal_hold.lift"]


def test_a_hold_says_what_was_decided_before_it(console: Site, admin: httpx.Client, account: str) -> None:
    task = {**documents(account, 5)["tasks"][0], "doomed_at": documents(account, 5)["tasks"][0]["created_at"]}
    console.db["archive_tasks"].insert_one(task)
    placed = admin.post("legal-holds", json={"account": account, "reference": "R5", "reason": "late"}).json()
    assert placed["going"] == 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"reason": ""},
        {"reason": "x", "task": "task_1", "reference": "r"},
        {"reason": "x", "colour": "red"},
        {"reason": "x", "workflow": "No Name"},
    ],
)
def test_holds_that_can_not_be(admin: httpx.Client, account: str, body: dict[str, Any]) -> None:
    assert admin.post("legal-holds", json={"account": account, **body}).status_code == 422


def test_a_dry_run_and_then_an_erasure(console: Site, admin: httpx.Client, account: str, worker: None) -> None:
    match = {"field": "cpf", "value": SECRET}
    tried = admin.post("erasures", json={"account": account, "match": match, "dry_run": True})
    assert tried.status_code == 200, tried.text
    assert (tried.json()["state"], tried.json()["counts"]["tasks"], tried.json()["about"]) == ("done", 1, "field cpf")
    task = f"task_{account}_1"
    assert console.db["tasks"].find_one({"_id": task})["input"]["cpf"] == SECRET  # type: ignore[index]
    done = admin.post("erasures", json={"account": account, "match": match, "reason": "request 7"}).json()
    assert (done["state"], done["counts"]["tasks"], done["counts"]["steps"]) == ("done", 1, 2)
    assert done["criteria_hash"] == tried.json()["criteria_hash"]
    assert console.db["tasks"].find_one({"_id": task})["input"] == {"erased": done["id"]}  # type: ignore[index]
    for collection in ("erasures", "audit", "commands"):
        found = list(console.db[collection].find({"account": account}))
        assert SECRET not in json.dumps(found, default=str), collection
    again = admin.post("erasures", json={"account": account, "match": match}).json()
    assert (again["state"], again["counts"]["tasks"]) == ("done", 0)
    assert admin.get(f"erasures/{done['id']}").json()["counts"] == done["counts"]
    assert len(admin.get("erasures", params={"account": account}).json()["items"]) == 3
    shown = admin.get(f"tasks/{task}")
    assert shown.status_code == 200
    assert SECRET not in shown.text
    journal = admin.get(f"runs/run_{account}_1/steps")
    assert SECRET not in journal.text


def test_only_admins_of_the_account_hold_and_erase(console: Site, admin: httpx.Client, account: str) -> None:
    hold = {"account": account, "reason": "x"}
    erasure = {"account": account, "match": {"references": ["R1"]}}
    with console.client("ada") as ada:  # admin of acme
        assert ada.post("legal-holds", json=hold).status_code == 404
        assert ada.post("erasures", json=erasure).status_code == 404
        assert ada.get("erasures", params={"account": account}).json()["items"] == []
    placed = admin.post("legal-holds", json=hold).json()
    with console.client("ada") as ada:
        assert ada.delete(f"legal-holds/{placed['id']}").status_code == 404
    assert admin.post("legal-holds", json={**hold, "account": "nobody"}).status_code == 404
    assert ACME != OTHER


@pytest.mark.parametrize(
    "match",
    [
        {},
        {"references": []},
        {"references": ["a"], "field": "b", "value": "c"},
        {"field": "a"},
        {"value": "a"},
        {"field": "$where", "value": "a"},
        {"field": "a..b", "value": "c"},
        {"field": "a", "value": {"$gt": ""}},
        {"field": "a", "value": ""},
    ],
)
def test_criteria_that_can_not_be(admin: httpx.Client, account: str, match: dict[str, Any]) -> None:
    assert admin.post("erasures", json={"account": account, "match": match}).status_code == 422


def test_retention_is_a_setting_of_the_account(console: Site, admin: httpx.Client, account: str) -> None:
    retention = {"results_days": 90, "archive_days": 700, "evidence_days": None}
    answer = admin.patch(f"accounts/{account}/settings", json={"retention": retention})
    assert answer.status_code == 200, answer.text
    assert answer.json()["settings"]["retention"] == retention
    assert console.db["accounts"].find_one({"_id": account})["settings"]["retention"] == retention  # type: ignore[index]
    for wrong in ({"archive_days": 5}, {"results_days": 0}, {"results_days": 1, "colour": "red"}):
        assert admin.patch(f"accounts/{account}/settings", json={"retention": wrong}).status_code == 422
    assert admin.patch(f"accounts/{account}/settings", json={"retention": None}).json()["settings"]["retention"] is None


def test_an_archived_task_and_its_run_are_still_shown(console: Site, admin: httpx.Client, account: str) -> None:
    async def archive() -> None:
        mongo = Mongo(console.ground.mongo_url, console.db.name)
        await Keeper(mongo).archive_all(account, documents(account, 1)["tasks"][0]["created_at"].replace(year=2100))
        await mongo.close()

    asyncio.run(archive())
    assert console.db["tasks"].count_documents({"account": account}) == 0
    assert admin.get(f"tasks/task_{account}_1").json()["reference"] == "R1"
    assert admin.get(f"runs/run_{account}_1").status_code == 200
    assert len(admin.get(f"runs/run_{account}_1/steps").json()["items"]) == 3
