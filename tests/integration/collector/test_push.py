"""Pushes, on the real parts: what is taken, what is refused, and what a reference means."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from shared.contracts.topology import SCHEDULER_HANDOFFS
from tests.integration.collector.conftest import SCHEMA, Account, add_workflow, item
from tests.integration.collector.running import Ground, Instance, until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


def test_good_items_become_tasks_in_the_queue_and_bad_ones_are_refused_by_themselves(account: Account) -> None:
    answer = account.push(item("a"), item("b", "x"), item("c", priority=4), "nonsense", item("d", colour="red"))
    assert answer.status_code == 202
    body = answer.json()
    assert [(entry["index"], entry["reference"], entry["duplicate"]) for entry in body["accepted"]] == [
        (0, "a", False),
        (2, "c", False),
    ]
    refused = {entry["index"]: entry for entry in body["rejected"]}
    assert [refused[i]["reference"] for i in (1, 3, 4)] == ["b", None, "d"]
    assert refused[1]["errors"][0]["code"] == "INVALID_INPUT"
    assert refused[1]["errors"][0]["path"] == "/input/registration"
    assert "colour" in refused[4]["errors"][0]["message"]
    stored = account.stored()
    assert [(task["reference"], task["queue"]["list"]) for task in stored] == [
        ("a", f"{account.name}/tax/i"),
        ("c", f"{account.name}/tax/4"),
    ]
    assert [task["_id"] for task in stored] == [entry["id"] for entry in body["accepted"]]


def test_a_push_of_which_every_item_is_refused_is_still_answered_202(account: Account) -> None:
    answer = account.push({"reference": 1})
    assert (answer.status_code, answer.json()["accepted"]) == (202, [])


def test_the_scheduler_gets_one_hint_with_the_partners_trace(account: Account, collector_ground: Ground) -> None:
    account.push(item("a"), item("b"), traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")

    def hint() -> dict[str, object] | None:
        for message in collector_ground.take(SCHEDULER_HANDOFFS):
            content = json.loads(message["payload"])
            if content["body"].get("account") == account.name:
                return {**content, "headers": message["properties"].get("headers", {})}
        return None

    found = until(hint, "a hint")
    assert found["kind"] == "regente.task.accepted.v1"
    assert found["body"]["count"] == 2  # type: ignore[index]
    assert TRACE in found["headers"]["traceparent"]  # type: ignore[index]
    assert all(TRACE in task["traceparent"] for task in account.stored())


def test_the_same_push_twice_is_one_task(account: Account) -> None:
    first = account.push(item("a"), item("b")).json()["accepted"]
    second = account.push(item("a", priority=5), item("b")).json()["accepted"]
    assert [entry["id"] for entry in second] == [entry["id"] for entry in first]
    assert [entry["duplicate"] for entry in first + second] == [False, False, True, True]
    assert len(account.stored()) == 2


def test_a_reference_with_another_input_is_refused(account: Account) -> None:
    account.push(item("a", "1"))
    body = account.push(item("a", "2"), item("b")).json()
    assert [entry["reference"] for entry in body["accepted"]] == ["b"]
    assert body["rejected"][0]["errors"][0]["code"] == "REFERENCE_CONFLICT"


def test_doubles_inside_one_push(account: Account) -> None:
    body = account.push(item("a", "1"), item("a", "1"), item("a", "2")).json()
    assert [(entry["index"], entry["duplicate"]) for entry in body["accepted"]] == [(0, False), (1, True)]
    assert body["accepted"][0]["id"] == body["accepted"][1]["id"]
    assert [(entry["index"], entry["errors"][0]["code"]) for entry in body["rejected"]] == [(2, "REFERENCE_CONFLICT")]


def test_the_same_push_many_times_at_once_is_one_set_of_tasks(account: Account) -> None:
    items = [item(f"r{i}") for i in range(60)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: account.push(*items).json()["accepted"], range(8)))
    ids = {tuple(entry["id"] for entry in answer) for answer in answers}
    assert len(ids) == 1
    made = [entry for answer in answers for entry in answer if not entry["duplicate"]]
    assert len(made) == len(account.stored()) == 60


def test_a_repeated_push_is_a_duplicate_also_when_its_deadline_has_passed_or_the_rules_have_changed(
    account: Account, collector_ground: Ground
) -> None:
    deadline = datetime.now(UTC) + timedelta(seconds=1)
    late = item("a", deadline=deadline.isoformat())
    first = account.push(late, item("b")).json()["accepted"]
    add_workflow(collector_ground, account.name, "tax", {"type": "object", "required": ["more"]}, number=2)
    until(lambda: datetime.now(UTC) > deadline, "the deadline")
    second = account.push(late, item("b"), item("c")).json()
    assert [entry["id"] for entry in second["accepted"]] == [entry["id"] for entry in first]
    assert all(entry["duplicate"] for entry in second["accepted"])
    assert [entry["reference"] for entry in second["rejected"]] == ["c"]


def test_a_task_for_later_has_no_place_in_the_queue_yet(account: Account) -> None:
    account.push(item("a", not_before="2090-01-01T00:00:00+02:00"))
    (task,) = account.stored()
    assert "queue" not in task
    assert task["not_before"] == datetime(2089, 12, 31, 22, tzinfo=UTC)


def test_ten_thousand_items_keep_their_order(account: Account) -> None:
    answer = account.push(*(item(f"r{i:05d}", str(i)) for i in range(10_000)))
    assert len(answer.json()["accepted"]) == 10_000
    references = [task["reference"] for task in account.stored()]
    assert references == sorted(references)
    assert len(references) == 10_000


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b'{"workflow": "tax", "tasks": [', 400, "MALFORMED"),
        (b'{"workflow": "tax", "tasks": [{"reference": "a", "input": {"a": NaN}}]}', 400, "MALFORMED"),
        (b"\xff", 400, "MALFORMED"),
        (b"[" * 200_000, 400, "MALFORMED"),
        (b"[]", 422, "MALFORMED"),
        (b'{"workflow": 5, "tasks": [{}]}', 422, "MALFORMED"),
        (b'{"workflow": "tax", "tasks": []}', 422, "MALFORMED"),
        (b'{"workflow": "tax", "tasks": [' + b",".join([b"1"] * 10_001) + b"]}", 422, "TOO_MANY"),
        (b'{"workflow": "nothing", "tasks": [{}]}', 404, "UNKNOWN_WORKFLOW"),
        (b'{"workflow": "draft", "tasks": [{}]}', 409, "CONFLICT"),
        (b'{"workflow": "tax", "x": "' + b"y" * 17_000_000 + b'"}', 413, "TOO_LARGE"),
    ],
    ids=["cut", "NaN", "not utf-8", "deep", "list", "type", "empty", "too many", "unknown", "unpublished", "too large"],
)
def test_what_is_wrong_as_a_whole_is_a_problem(account: Account, content: bytes, status: int, code: str) -> None:
    add_workflow(account.ground, account.name, "draft", None)
    answer = account.http.post("/v1/tasks", content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert account.push(item("still works")).status_code == 202


def test_a_schema_that_cannot_be_used_is_a_conflict(account: Account) -> None:
    add_workflow(account.ground, account.name, "broken", {"$ref": "#/$defs/gone"})
    assert account.push(item("a"), workflow="broken").status_code == 409


def test_keys_are_needed_and_their_scope_counts(collector: Instance, collector_ground: Ground) -> None:
    body = {"workflow": "tax", "tasks": [{}]}
    past = datetime.now(UTC) - timedelta(days=1)
    cases = [
        ({}, 401),
        ({"Authorization": "Bearer rgk_none_none"}, 401),
        (collector_ground.key("acme", "tasks", revoked_at=past), 401),
        (collector_ground.key("acme", "tasks", expires_at=past), 401),
        (collector_ground.key("acme", "results"), 403),
    ]
    for headers, status in cases:
        answer = httpx.post(f"{collector.url}/v1/tasks", json=body, headers=headers)
        assert answer.status_code == status, headers
        assert answer.headers["content-type"].startswith("application/problem+json")


def test_another_accounts_workflow_is_unknown(account: Account) -> None:
    add_workflow(account.ground, "others", "private", SCHEMA, number=hash(account.name) % 10**6)
    assert account.push(item("a"), workflow="private").status_code == 404
