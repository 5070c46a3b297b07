"""Retention and erasure by the running service: its leader does what the account's settings and the console ask for."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

from gridfs import GridFSBucket

from shared.domain.erasure import canonical
from shared.seal import Sealer
from tests.integration.collector.running import MASTER_KEY, until
from tests.integration.delivery.conftest import Account
from tests.integration.delivery.peers import evidence

LONG_AGO = datetime.now(UTC) - timedelta(days=100)


def retention(account: Account, **days: int) -> None:
    """The account's setting."""
    document = {"_id": account.name, "name": account.name, "settings": {"retention": days}}
    account.db["accounts"].replace_one({"_id": account.name}, document, upsert=True)


def ended(account: Account, **fields: Any) -> str:
    """A task that ended long ago, and has been delivered."""
    fields = {"finished_at": LONG_AGO, "created_at": LONG_AGO, "input": {"cpf": "1"}, "input_digest": "d", **fields}
    id = account.finish(**fields)
    until(lambda: account.db["tasks"].find_one({"_id": id, "pending": None}), "the outcome is settled")
    account.until_delivery(id, "delivered")
    return id


def test_results_are_archived_then_deleted_and_the_feed_goes_on(account: Account) -> None:
    account.endpoint()
    picture = evidence(account.ground, account.name, "x", b"picture of " + account.name.encode())
    task = ended(account, evidence=[picture])
    account.db["evidence_links"].update_one({"_id": picture["id"]}, {"$set": {"task": task}})
    after = account.http.get("/v1/results").json()["after"]
    assert after is not None
    retention(account, results_days=30, archive_days=60)
    until(lambda: account.db["tasks"].find_one({"_id": task}) is None, "the task is archived")
    archived = account.db["archive_tasks"].find_one({"_id": task})
    assert archived is not None
    assert account.db["tombstones"].count_documents({"task": task}) == 1
    assert account.http.get("/v1/results").json()["items"] == []
    retention(account, results_days=3650)
    last = account.finish()
    page = until(lambda: account.http.get("/v1/results", params={"after": after}).json()["items"], "the next entry")
    assert [item["id"] for item in page] == [last]
    account.db["archive_tasks"].update_one({"_id": task}, {"$set": {"archived_at": LONG_AGO}})
    retention(account, results_days=3650, archive_days=60)
    until(lambda: account.db["archive_tasks"].find_one({"_id": task}) is None, "the task is deleted")
    sha256 = picture["sha256"]
    until(lambda: account.db["evidence"].find_one({"_id": sha256}) is None, "the bytes are deleted")
    until(lambda: not list(GridFSBucket(account.db, "blobs").find({"filename": sha256})), "the file is deleted")
    assert account.db["archive_deliveries"].count_documents({"task": task}) == 0
    assert account.db["tombstones"].count_documents({"task": task}) == 1


def test_an_erasure_is_carried_out(account: Account) -> None:
    account.endpoint()
    task = ended(account, input={"cpf": "123"}, result={"output": {"name": "Maria"}})
    id = f"erasure_{hashlib.sha256(task.encode()).hexdigest()[:12]}"
    criteria = canonical({"field": "cpf", "value": "123"}).encode()
    account.db["erasures"].insert_one(
        {"_id": id, "account": account.name, "criteria": Sealer(MASTER_KEY).seal("erasure", criteria, id.encode()),
         "state": "pending", "dry_run": False, "by": "ann", "created_at": datetime.now(UTC), "op": None}
    )  # fmt: skip
    ended_now = until(lambda: account.db["erasures"].find_one({"_id": id, "state": "done"}), "the erasure has ended")
    assert (ended_now["counts"]["tasks"], "criteria" in ended_now) == (1, False)
    (entry,) = account.http.get("/v1/results").json()["items"]
    assert (entry["id"], entry["state"], entry["result"], entry["erased"]) == (task, "succeeded", None, True)
    delivery = account.delivery(task)
    assert delivery is not None
    assert "Maria" not in delivery["body"]
    assert account.db["audit"].count_documents({"target": id, "action": "erasure.ended"}) == 1
