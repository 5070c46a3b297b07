"""Requests for tasks that people typed or uploaded, on the real collector."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from shared.contracts.messages import CommandIssued
from shared.mongo.uploads import chunk_id
from shared.obs.ids import uuid7
from tests.integration.collector.conftest import Account, item
from tests.integration.collector.running import until


def ask(account: Account, **args: Any) -> str:
    """A request as the console issues it; its id."""
    id = f"cmd_{uuid7()}"
    at = datetime.now(UTC)
    target = f"{account.name}/tax"
    head = {"_id": id, "schema_version": 1, "kind": "tasks.add", "to": "collector", "target": target, "by": "otto"}
    args = {"account": account.name, "workflow": "tax", **args}
    standing = {"state": "pending", "reason": None, "claims": 0, "created_at": at, "due_at": at + timedelta(seconds=2)}
    account.db["commands"].insert_one({**head, "args": args, **standing})
    return id


def ended(account: Account, id: str) -> dict[str, Any]:
    """The request once it has ended."""
    account.ground.publish("command.collector", CommandIssued(command=id, to="collector"))

    def found() -> dict[str, Any] | None:
        command = account.db["commands"].find_one({"_id": id})
        return command if command["state"] != "pending" else None

    return until(found, "the request has ended")


def upload(account: Account, *chunks: list[Any]) -> str:
    """An upload whose rows became these items."""
    id = f"upload_{uuid7()}"
    for number, items in enumerate(chunks, start=1):
        account.db["upload_rows"].insert_one({"_id": chunk_id(id, number), "upload": id, "items": json.dumps(items)})
    account.db["uploads"].insert_one({"_id": id, "account": account.name, "chunks": len(chunks)})
    return id


def test_typed_tasks_are_taken_like_a_push_and_say_who_made_them(account: Account) -> None:
    account.push(item("old"), item("other", "7"))
    id = ask(account, tasks=[item("a", priority=4), item("old"), item("other", "8"), item("b", "x")])
    done = ended(account, id)
    assert (done["state"], done["reason"]) == ("done", "2 taken, 2 refused")
    progress = done["progress"]
    assert {name: progress[name] for name in ("batch", "accepted", "duplicates", "rejected")} == {
        "batch": f"batch_{id.removeprefix('cmd_')}",
        "accepted": 2,
        "duplicates": 1,
        "rejected": 2,
    }
    assert [one["errors"][0]["code"] for one in progress["refused"]] == ["REFERENCE_CONFLICT", "INVALID_INPUT"]
    task = account.db["tasks"].find_one({"account": account.name, "reference": "a"})
    assert (task["source"], task["partner"], task["batch"]) == (f"{account.name}/hand", "otto", progress["batch"])
    assert task["queue"]["list"] == f"{account.name}/tax/4"


def test_an_upload_that_is_carried_out_twice_makes_its_tasks_once(account: Account) -> None:
    items = [item(f"r-{n}", str(n)) for n in range(30)]
    id = ask(account, upload=upload(account, items[:20], items[20:]))
    first = ended(account, id)
    assert first["progress"]["accepted"] == 30
    # as after a crash between the insert and the end of the request, with a part of the tasks missing
    account.db["tasks"].delete_many({"account": account.name, "reference": {"$in": ["r-5", "r-29"]}})
    account.db["commands"].update_one({"_id": id}, {"$set": {"state": "pending"}, "$unset": {"progress": "", "op": ""}})
    again = ended(account, id)
    names = ("batch", "accepted", "duplicates", "rejected")
    assert [again["progress"][name] for name in names] == [first["progress"][name] for name in names]
    assert [task["reference"] for task in account.stored()].count("r-5") == 1
    assert len(account.stored()) == 30
    assert account.db["batches"].count_documents({"account": account.name}) == 1


def test_what_can_not_be_carried_out_is_refused_with_a_reason(account: Account) -> None:
    gone = upload(account, [item("x")], [item("y")])
    account.db["upload_rows"].delete_one({"_id": chunk_id(gone, 2)})
    for args, reason in (
        ({"upload": gone}, "not kept any more"),
        ({"upload": "upload_unheard-of"}, "not kept any more"),
        ({"tasks": []}, "from 1 to 10000"),
        ({"tasks": [item("z")], "workflow": "unheard-of"}, "there is no workflow"),
    ):
        command = ended(account, ask(account, **args))
        assert (command["state"], reason in command["reason"]) == ("refused", True), command["reason"]
    assert account.stored() == []
