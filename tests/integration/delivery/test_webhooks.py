"""Webhooks on the real parts: made once, signed, repeated as they are, given up, replayed."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from shared.contracts.messages import TaskFinished
from shared.obs.ids import new_id
from tests.integration.collector.running import until
from tests.integration.delivery.conftest import Account, Answer


@pytest.mark.parametrize("hint", [True, False], ids=["by the hint", "by the sweep"])
def test_an_outcome_reaches_the_partner_signed(account: Account, hint: bool) -> None:
    account.endpoint()
    id = account.finish(hint=hint)
    delivery = account.until_delivery(id, "delivered")
    (got,) = account.side.got(account.path)
    content = got.verify(account.secret)
    assert content["type"] == "task.succeeded"
    assert (content["data"]["id"], content["data"]["result"]) == (id, {"protocol": "P-1"})
    assert got.headers["webhook-id"] == delivery["webhook_id"]
    assert got.body.decode() == delivery["body"]
    assert [(attempt["status"], attempt["answer"]) for attempt in delivery["attempts"]] == [(200, "ok")]
    task = until(lambda: account.db["tasks"].find_one({"_id": id, "pending": None}), "nothing owed any more")
    assert task["events"] == {"succeeded": 1}
    assert account.db["results"].count_documents({"task": id}) == 1


def test_a_hint_that_comes_again_changes_nothing(account: Account) -> None:
    account.endpoint()
    id = account.finish()
    account.until_delivery(id, "delivered")
    until(lambda: account.db["tasks"].find_one({"_id": id, "pending": None}), "nothing owed any more")
    pending = {
        "to": "delivery",
        "what": "succeeded",
        "since": datetime.now(UTC),
        "due_at": datetime.now(UTC),
        "claims": 0,
    }
    account.db["tasks"].update_one({"_id": id}, {"$set": {"pending": pending}})
    account.ground.publish("task.finished", TaskFinished(task=id, event="succeeded"))
    account.ground.publish("task.finished", TaskFinished(task="task_unknown", event="succeeded"))
    until(lambda: account.db["tasks"].find_one({"_id": id, "pending": None}), "nothing owed once more")
    assert account.db["deliveries"].count_documents({"task": id}) == 1
    assert account.db["results"].count_documents({"task": id}) == 1
    assert len(account.side.got(account.path)) == 1


def test_failures_are_repeated_with_the_same_id_and_bytes(account: Account) -> None:
    account.endpoint()
    account.side.will(
        account.path, Answer(500, body=b"x" * 9000), Answer(302, {"location": account.side.url + "/away"})
    )
    id = account.finish()
    delivery = account.until_delivery(id, "delivered")
    got = account.side.got(account.path)
    assert len(got) == 3
    assert len({(request.headers["webhook-id"], request.body) for request in got}) == 1
    for request in got:
        request.verify(account.secret)
    assert account.side.got("/away") == []
    assert [attempt["status"] for attempt in delivery["attempts"]] == [500, 302, 200]
    assert len(delivery["attempts"][0]["answer"]) == 2048
    assert delivery["attempts_made"] == 3


def test_after_the_last_attempt_it_is_dead_and_a_person_replays_it(account: Account) -> None:
    account.endpoint()
    account.side.will(account.path, Answer(500), Answer(503, {"retry-after": "0"}), Answer(400))
    id = account.finish()
    dead = account.until_delivery(id, "dead")
    assert "given up after 3 attempts" in dead["reason"]
    assert "next_at" not in dead
    ended = account.command("delivery.replay", {"ids": [dead["_id"]]})
    assert (ended["state"], ended["reason"]) == ("done", "1 dead deliveries are tried again")
    delivered = account.until_delivery(id, "delivered")
    assert (delivered["attempts_made"], delivered["body"]) == (4, dead["body"])
    assert len({request.headers["webhook-id"] for request in account.side.got(account.path)}) == 1


def test_a_replayed_delivery_has_its_whole_schedule_again(account: Account) -> None:
    account.endpoint()
    account.side.will(account.path, *[Answer(500)] * 5)
    id = account.finish()
    account.until_delivery(id, "dead")
    account.command("delivery.replay", {"state": "dead", "account": account.name, "endpoint": "hook"})
    assert account.until_delivery(id, "delivered")["attempts_made"] == 6


@pytest.mark.parametrize(
    ("kind", "args"),
    [("delivery.replay", {}), ("delivery.replay", {"ids": "all"}), ("delivery.stop", {"ids": ["a"]})],
)
def test_commands_that_mean_nothing_are_refused(account: Account, kind: str, args: dict[str, object]) -> None:
    assert account.command(kind, args)["state"] == "refused"


def test_gone_disables_the_endpoint_until_it_is_put_again(account: Account) -> None:
    account.endpoint()
    account.side.will(account.path, Answer(410))
    first = account.finish()
    assert "410" in account.until_delivery(first, "dead")["reason"]
    (endpoint,) = account.http.get("/v1/endpoints").json()["items"]
    assert (endpoint["enabled"], "410" in endpoint["disabled_reason"]) == (False, True)
    second = account.finish()
    assert "is disabled" in account.until_delivery(second, "dead")["reason"]
    assert len(account.side.got(account.path)) == 1
    account.endpoint()
    account.command("delivery.replay", {"endpoint": f"{account.name}/hook"})
    account.until_delivery(first, "delivered")
    account.until_delivery(second, "delivered")


def test_an_endpoint_that_does_not_exist_is_visible_and_can_be_made_good(account: Account) -> None:
    id = account.finish()
    assert account.until_delivery(id, "dead")["reason"] == "endpoint hook does not exist"
    account.endpoint()
    account.command("delivery.replay", {"ids": [f"{id}:hook:succeeded"]})
    account.until_delivery(id, "delivered")


def test_silence_is_a_failure_and_an_endpoint_that_hangs_holds_up_nobody_else(account: Account) -> None:
    account.endpoint()
    release = threading.Event()
    account.side.will(account.path, *[Answer(wait=release)] * 8)
    hung = [account.finish() for _ in range(6)]
    until(lambda: len(account.side.got(account.path)) >= 4, "four at once")
    other = {"url": account.side.url + "/quick" + account.path}
    account.http.put("/v1/endpoints/quick", json=other).raise_for_status()
    settings = {"delivery": {"endpoint": "quick"}}
    account.db["workflows"].insert_one({"_id": f"{account.name}/fast", "settings": settings})
    account.finish(workflow="fast")
    until(lambda: account.side.got("/quick" + account.path), "the other endpoint's delivery", 2.5)
    assert len(account.side.got(account.path)) == 4
    errors = until(lambda: (account.delivery(hung[0]) or {}).get("attempts"), "an attempt written down")
    assert "no answer within 3 s" in errors[0]["error"]
    release.set()
    for id in hung:
        account.until_delivery(id, "delivered")


def test_nobody_listens(account: Account) -> None:
    account.http.put("/v1/endpoints/hook", json={"url": "http://127.0.0.1:1/"}).raise_for_status()
    id = account.finish()
    dead = account.until_delivery(id, "dead")
    assert {attempt["status"] for attempt in dead["attempts"]} == {None}
    assert "it takes no connection" in dead["attempts"][0]["error"]


def test_only_the_events_asked_for_are_sent_and_the_feed_has_all(account: Account) -> None:
    account.endpoint(events=["held"])
    held = account.finish("held", hold={"reason": "in_doubt", "text": "may have been paid"})
    quiet = account.finish("succeeded")
    account.until_delivery(held, "delivered", "held")
    until(lambda: account.db["results"].count_documents({"account": account.name}) == 2, "two feed entries")
    assert account.delivery(quiet) is None
    (got,) = account.side.got(account.path)
    assert got.verify(account.secret)["data"]["hold"] == {"reason": "in_doubt", "text": "may have been paid"}


def test_a_second_hold_is_another_delivery(account: Account) -> None:
    account.endpoint()
    id = account.finish("held")
    account.until_delivery(id, "delivered", "held")
    until(lambda: account.db["tasks"].find_one({"_id": id, "pending": None}), "nothing owed any more")
    at = datetime.now(UTC)
    pending = {"to": "delivery", "what": "held", "since": at, "due_at": at, "claims": 0}
    account.db["tasks"].update_one({"_id": id}, {"$set": {"pending": pending}, "$inc": {"events.held": 1}})
    account.ground.publish("task.finished", TaskFinished(task=id, event="held"))
    account.until_delivery(id, "delivered", "held-2")
    assert len({request.headers["webhook-id"] for request in account.side.got(account.path)}) == 2


def test_while_a_secret_changes_both_verify(account: Account) -> None:
    account.endpoint()
    first = account.secret
    second = "whsec_" + "QUJD" * 10
    account.endpoint(secret=second)
    account.until_delivery(account.finish(), "delivered")
    (got,) = account.side.got(account.path)
    assert got.verify(first) == got.verify(second)


def test_a_claim_of_a_dead_instance_becomes_due_again(account: Account) -> None:
    account.endpoint()
    id = new_id("task_")
    past = datetime(2020, 1, 1, tzinfo=UTC)
    account.db["deliveries"].insert_one(
        {"_id": f"{id}:hook:succeeded", "account": account.name, "task": id, "endpoint": "hook", "event": "succeeded",
         "lane": f"{account.name}/hook", "webhook_id": "msg_1", "body": "{}", "state": "pending", "attempts": [],
         "attempts_made": 0,
         "failed_since_replay": 0, "next_at": past, "claimed_by": "delivery-9", "claimed_until": past,
         "created_at": past, "traceparent": None}
    )  # fmt: skip
    account.until_delivery(id, "delivered")
