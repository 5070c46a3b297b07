"""The partner: what it verifies, what it calls a repeat, what it calls a conflict, and how it pushes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from demo.partner.push import PushRefused, push, read_tasks
from demo.portal import register
from tests.demo.servers import ROOT, Server

TASKS = ROOT / "demo" / "tasks.csv"


@pytest.fixture
def inbox(partner: Server) -> Iterator[httpx.Client]:
    """The partner's side, empty and healthy."""
    with httpx.Client(base_url=partner.url, timeout=10) as client:
        client.post("/_demo/reset")
        client.post("/_demo/faults", json={"fail_next": 0, "delay_s": 0, "store_failed": False})
        yield client


def _deliver(partner: Server, inbox: httpx.Client, webhook_id: str, content: dict[str, Any], **changes: Any) -> int:
    secret = changes.get("secret") or json.loads((partner.home / "demo" / "partner.json").read_bytes())["secret"]
    body = json.dumps(content)
    at = datetime.now(UTC) - timedelta(seconds=changes.get("age_s", 0))
    headers = {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": changes.get("signature") or Webhook(secret).sign(webhook_id, at, body),
    }
    return inbox.post("/webhooks", content=changes.get("sent", body), headers=headers).status_code


def _received(inbox: httpx.Client) -> tuple[int, int, int, int]:
    shown = inbox.get("/_demo/received").json()
    return shown["verified"], shown["exact_repeats"], shown["conflicts"], shown["rejected"]


def test_a_signed_delivery_is_stored_with_its_content(partner: Server, inbox: httpx.Client) -> None:
    assert _deliver(partner, inbox, "msg_1", {"type": "task.succeeded", "data": {"reference": "é"}}) == 200
    assert _received(inbox) == (1, 0, 0, 0)
    shown = inbox.get("/_demo/received").json()["deliveries"][0]
    assert shown["id"] == "msg_1"
    assert shown["content"]["data"]["reference"] == "é"


@pytest.mark.parametrize(
    "changes",
    [
        {"secret": "whsec_c29tZW9uZSBlbHNlJ3Mgc2VjcmV0IG9mIDMyIGI="},
        {"sent": '{"n": 2}'},
        {"age_s": 3600},
        {"signature": "garbage"},
        {"signature": "v1,***"},
        {"signature": "v1"},
    ],
)
def test_a_delivery_that_does_not_verify_is_refused_and_noted(
    partner: Server, inbox: httpx.Client, changes: Any
) -> None:
    assert _deliver(partner, inbox, "msg_1", {"n": 1}, **changes) == 401
    assert _received(inbox) == (0, 0, 0, 1)


def test_the_same_id_with_the_same_content_is_a_repeat_and_with_other_content_a_conflict(
    partner: Server, inbox: httpx.Client
) -> None:
    assert [_deliver(partner, inbox, "msg_1", {"n": 1}) for _ in range(3)] == [200, 200, 200]
    assert _received(inbox) == (1, 2, 0, 0)
    assert _deliver(partner, inbox, "msg_1", {"n": 2}) == 409
    assert _received(inbox) == (1, 2, 1, 0)
    assert inbox.get("/_demo/received").json()["deliveries"][0]["content"] == {"n": 1}


def test_failing_as_told_stores_nothing_unless_told_to(partner: Server, inbox: httpx.Client) -> None:
    inbox.post("/_demo/faults", json={"fail_next": 1, "status": 503})
    assert [_deliver(partner, inbox, "msg_1", {"n": 1}) for _ in range(2)] == [503, 200]
    assert _received(inbox) == (1, 0, 0, 0)
    inbox.post("/_demo/faults", json={"fail_next": 1, "store_failed": True})
    assert [_deliver(partner, inbox, "msg_2", {"n": 2}) for _ in range(2)] == [503, 200]
    assert _received(inbox) == (2, 1, 0, 0)


def test_what_was_answered_survives_a_killed_partner(partner: Server, inbox: httpx.Client) -> None:
    _deliver(partner, inbox, "msg_1", {"n": 1})
    partner.stop()
    partner.start()
    with httpx.Client(base_url=partner.url) as again:
        assert _deliver(partner, again, "msg_1", {"n": 1}) == 200
        assert _received(again) == (1, 1, 0, 0)


def test_the_demo_has_eleven_good_tasks_and_one_that_the_portal_does_not_know() -> None:
    tasks = read_tasks(TASKS, "s")
    known = [register.find(task["input"]["registration"]) is not None for task in tasks]
    assert (known.count(True), known.count(False)) == (11, 1)
    assert {task["priority"] for task in tasks} == {0, 1, 2, 3, 4, 5}
    assert len({task["reference"] for task in tasks}) == 12


def test_a_push_whose_answer_is_lost_is_sent_again_as_it_was() -> None:
    sent: list[bytes] = []

    def collector(request: httpx.Request) -> httpx.Response:
        sent.append(request.content)
        if len(sent) == 1:
            raise httpx.ReadTimeout("lost", request=request)
        if len(sent) == 2:
            return httpx.Response(503)
        references = [task["reference"] for task in json.loads(request.content)["tasks"]]
        accepted = [
            {"index": n, "reference": name, "id": f"task_{n}", "duplicate": True} for n, name in enumerate(references)
        ]
        return httpx.Response(202, json={"batch": "batch_1", "accepted": accepted, "rejected": []})

    with httpx.Client(base_url="http://collector", transport=httpx.MockTransport(collector)) as client:
        pushed = push(client, "key", read_tasks(TASKS, "s"))
    assert len(sent) == 3
    assert len(set(sent)) == 1
    assert len(pushed.accepted) == len(pushed.duplicates) == 12


def test_a_push_with_a_wrong_key_is_not_tried_again() -> None:
    asked: list[str] = []

    def collector(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers["authorization"])
        return httpx.Response(401, json={"title": "unknown key"})

    with (
        httpx.Client(base_url="http://collector", transport=httpx.MockTransport(collector)) as client,
        pytest.raises(PushRefused, match="unknown key"),
    ):
        push(client, "wrong", read_tasks(TASKS, "s"))
    assert asked == ["Bearer wrong"]


def test_a_csv_without_a_column_says_which(tmp_path: Path) -> None:
    path = tmp_path / "tasks.csv"
    path.write_text("reference,priority\n1,1\n")
    with pytest.raises(ValueError, match="column registration is missing"):
        read_tasks(path, "s")
