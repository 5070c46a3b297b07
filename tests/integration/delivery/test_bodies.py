"""What webhooks hold: evidence as links or inline, questions to people, several endpoints."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from gridfs import GridFSBucket

from shared.contracts.messages import DecisionAsked
from shared.domain.decision import PURPOSE
from shared.domain.task_view import EVIDENCE_PURPOSE
from shared.obs.ids import new_id
from shared.seal import Sealer
from tests.integration.collector.running import MASTER_KEY, Ground, Instance, running, until
from tests.integration.delivery.conftest import Account

PICTURE = b"\x89PNG" + b"x" * 3000


def proof(account: Account, data: bytes = PICTURE) -> dict[str, Any]:
    """A piece of evidence as the executor keeps it; the task's entry of it."""
    sha256, id = hashlib.sha256(data).hexdigest(), new_id("ev_")
    if account.db["evidence"].find_one({"_id": sha256}) is None:
        file = GridFSBucket(account.db, bucket_name="blobs").upload_from_stream(sha256, data)
        account.db["evidence"].insert_one({"_id": sha256, "file": file, "size_bytes": len(data)})
    entry = {"id": id, "name": "page", "sha256": sha256, "media_type": "image/png", "size_bytes": len(data)}
    link = {key: value for key, value in entry.items() if key != "id"}
    account.db["evidence_links"].insert_one({"_id": id, "account": account.name, "dropped": False, **link})
    return entry


@pytest.fixture(scope="module")
def collector(delivery_ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The service that the links lead to."""
    with running("collector", delivery_ground, tmp_path_factory.mktemp("collector")) as instance:
        yield instance


def test_a_link_in_a_webhook_needs_no_key_and_is_valid_as_long_as_the_evidence(
    account: Account, collector: Instance
) -> None:
    account.endpoint()
    entry = proof(account)
    account.until_delivery(account.finish(evidence=[entry]), "delivered")
    (got,) = account.side.got(account.path)
    (item,) = got.verify(account.secret)["data"]["evidence"]
    assert "content" not in item
    link = collector.url + item["url"].removeprefix("http://collector.test")
    answer = httpx.get(link, timeout=10)
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, PICTURE, "image/png")
    for wrong in (link[:-1] + ("A" if link[-1] != "A" else "B"), link.partition("?")[0] + "?token=", link + "x"):
        assert httpx.get(wrong, timeout=10).status_code == 401
    assert httpx.get(link.partition("?")[0], timeout=10).status_code == 401, "without a token it asks for a key"
    other = proof(account, b"other")
    token = link.partition("token=")[2]
    assert httpx.get(f"{collector.url}/v1/evidence/{other['id']}?token={token}", timeout=10).status_code == 401
    account.db["evidence_links"].update_one({"_id": entry["id"]}, {"$set": {"dropped": True}})
    assert httpx.get(link, timeout=10).status_code == 404
    account.db["evidence_links"].delete_one({"_id": entry["id"]})
    assert httpx.get(link, timeout=10).status_code == 404


def test_inline_evidence_comes_along_up_to_the_limit_and_the_rest_as_links(account: Account) -> None:
    account.endpoint(evidence="inline", inline_size_bytes_max=4000)
    first, too_much, small = proof(account), proof(account, b"y" * 2000), proof(account, b"z" * 500)
    account.until_delivery(account.finish(evidence=[first, too_much, small]), "delivered")
    (got,) = account.side.got(account.path)
    shown = got.verify(account.secret)["data"]["evidence"]
    contents = [base64.b64decode(item["content"]) if "content" in item else None for item in shown]
    assert contents == [PICTURE, None, b"z" * 500]
    token = Sealer(MASTER_KEY).derive(EVIDENCE_PURPOSE, too_much["id"])
    assert shown[1]["url"] == f"http://collector.test/v1/evidence/{too_much['id']}?token={token}"


def test_bytes_that_are_gone_become_a_link(account: Account) -> None:
    account.endpoint(evidence="inline")
    entry = proof(account, b"soon gone")
    account.db["evidence"].delete_one({"_id": entry["sha256"]})
    account.until_delivery(account.finish(evidence=[entry]), "delivered")
    (got,) = account.side.got(account.path)
    assert "content" not in got.verify(account.secret)["data"]["evidence"][0]


def ask(account: Account, *, hint: bool, task: str | None) -> str:
    """A question as the executor asks it; its id."""
    at, id = datetime.now(UTC), f"{new_id('run_')}/00000003"
    account.db["decisions"].insert_one(
        {"_id": id, "schema_version": 1, "account": account.name, "workflow": "tax", "task": task,
         "run": id.partition("/")[0], "seq": 3, "worker": None, "question": "Pay twice?", "options": ["yes", "no"],
         "image": None, "asked_at": at, "due_at": None, "default": None, "state": "open", "answer": None, "by": None,
         "at": None, "woken": False, "op": "",
         "pending": {"to": "delivery", "what": "asked", "since": at, "due_at": at, "claims": 0}}
    )  # fmt: skip
    if hint:
        account.ground.publish("decision.asked", DecisionAsked(decision=id))
    return id


@pytest.mark.parametrize("hint", [True, False], ids=["by the hint", "by the sweep"])
def test_a_question_reaches_who_asks_for_it_with_the_link_for_people(account: Account, hint: bool) -> None:
    account.endpoint(events=["decision"])
    task = account.finish("running", hint=False, pending=None, events={})
    id = ask(account, hint=hint, task=task)
    until(lambda: account.side.got(account.path), "the question arrives")
    (got,) = account.side.got(account.path)
    content = got.verify(account.secret)
    assert content["type"] == "decision.asked"
    data, address = content["data"], id.replace("/", ".")
    assert (data["id"], data["question"], data["options"], data["task"]["id"]) == (
        address, "Pay twice?", ["yes", "no"], task
    )  # fmt: skip
    assert data["answer_url"].endswith(f"/d/{address}?t={Sealer(MASTER_KEY).derive(PURPOSE, id)}")
    until(lambda: account.db["decisions"].find_one({"_id": id, "pending": None}), "nothing is owed any more")
    assert account.db["deliveries"].count_documents({"task": task}) == 1
    assert account.db["results"].count_documents({"account": account.name}) == 0


def test_a_question_asked_in_setup_belongs_to_no_task_and_others_are_not_told(account: Account) -> None:
    account.endpoint()
    id = ask(account, hint=True, task=None)
    until(lambda: account.db["decisions"].find_one({"_id": id, "pending": None}), "it is settled")
    assert account.side.got(account.path) == []
    account.endpoint(events=["decision"])
    ask(account, hint=True, task=None)
    until(lambda: account.side.got(account.path), "the second one is told")
    (got,) = account.side.got(account.path)
    assert got.verify(account.secret)["data"]["task"] is None


def test_a_workflow_names_several_endpoints_each_with_its_own_bytes(account: Account) -> None:
    account.endpoint(evidence="inline")
    second = {"url": account.side.url + account.path + "/second", "events": ["succeeded"]}
    account.http.put("/v1/endpoints/second", json=second).raise_for_status()
    settings = {"delivery": {"endpoint": "hook", "endpoints": ["second", "hook"], "events": ["succeeded", "held"]}}
    account.db["workflows"].update_one({"_id": f"{account.name}/tax"}, {"$set": {"settings": settings}})
    id = account.finish(evidence=[proof(account)])
    account.until_delivery(id, "delivered")
    until(lambda: account.side.got(account.path + "/second"), "the second endpoint's")
    (mine,), (other,) = account.side.got(account.path), account.side.got(account.path + "/second")
    assert mine.headers["webhook-id"] != other.headers["webhook-id"]
    assert (b'"content"' in mine.body, b'"content"' in other.body) == (True, False)
    held = account.finish("held")
    account.until_delivery(held, "delivered", "held")
    assert account.db["deliveries"].count_documents({"task": held}) == 1
