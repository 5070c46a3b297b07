"""Pushes that stream: lines are taken as they come, and what was taken stays when the stream breaks."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.integration.collector.conftest import Account, item
from tests.integration.collector.running import until

TYPE = "application/x-ndjson"


def lines(*items: Any) -> bytes:
    """Items, a line each; bytes stand as they are."""
    return b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in items)


def push(account: Account, content: bytes | Iterator[bytes], workflow: str | None = "tax", **headers: str) -> Any:
    """Push lines."""
    query = {"workflow": workflow} if workflow else {}
    return account.http.post("/v1/tasks", params=query, content=content, headers={"content-type": TYPE, **headers})


def test_every_line_is_answered_by_its_number(account: Account) -> None:
    content = lines(item("a"), b"{broken", b"", item("b", "x"), b'{"reference": "c", "input": {"n": NaN}}', b"\xff")
    answer = push(account, content + json.dumps(item("d")).encode())
    assert answer.status_code == 202
    body = answer.json()
    assert [(one["index"], one["reference"]) for one in body["accepted"]] == [(0, "a"), (6, "d")]
    assert [(one["index"], one["reference"]) for one in body["rejected"]] == [(1, None), (3, "b"), (4, None), (5, None)]
    told = [one["errors"][0]["message"] for one in body["rejected"]]
    assert told[0].startswith("line 2 is no JSON")
    assert told[2].startswith("line 5 is no JSON")
    assert told[3] == "line 6 is not UTF-8"
    batch = account.http.get(f"/v1/batches/{body['batch']}").json()
    assert (batch["count"], batch["rejected"], batch["tasks"], batch["complete"]) == (6, 4, 2, True)


def test_three_thousand_lines_in_chunks_are_one_batch_in_order(account: Account) -> None:
    items = [item(f"r{i:04d}", str(i)) for i in range(3000)]
    again = [*items[:5], item("r0000", "7")]
    body = push(account, iter([lines(one) for one in [*items, *again]])).json()
    assert [one["index"] for one in body["accepted"]] == list(range(3005))
    assert [one["duplicate"] for one in body["accepted"]] == [False] * 3000 + [True] * 5
    assert [one["errors"][0]["code"] for one in body["rejected"]] == ["REFERENCE_CONFLICT"]
    stored = account.stored()
    assert [task["reference"] for task in stored] == [one["reference"] for one in items]
    assert {task["batch"] for task in stored} == {body["batch"]}


def test_lines_are_tasks_before_the_stream_ends_and_stay_when_it_breaks(account: Account) -> None:
    parts = urlsplit(str(account.http.base_url))
    head = (
        f"POST /v1/tasks?workflow=tax HTTP/1.1\r\nHost: x\r\nAuthorization: {account.http.headers['authorization']}\r\n"
        f"Content-Type: {TYPE}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    data = lines(*(item(f"r{i}", str(i)) for i in range(1500)))
    with socket.create_connection((str(parts.hostname), int(parts.port or 0))) as raw:
        raw.sendall(head.encode() + f"{len(data):x}\r\n".encode() + data + b"\r\n")
        until(lambda: len(account.stored()) >= 1000, "the first chunk is stored while the request is still open")
    batch = account.stored()[0]["batch"]

    def settled() -> dict[str, Any] | None:
        found: dict[str, Any] | None = account.db["batches"].find_one({"_id": batch})
        return found if found and found["count"] else None

    found = until(settled, "the broken push is noted")
    assert (found["complete"], found["count"]) == (False, 1000)
    again = push(account, data).json()
    assert len(again["accepted"]) == 1500
    assert sum(one["duplicate"] for one in again["accepted"]) == 1000
    assert len(account.stored()) == 1500


def test_more_lines_than_a_push_takes(account: Account) -> None:
    answer = push(account, lines(*(item(f"r{i}") for i in range(10_001))))
    body = answer.json()
    assert (answer.status_code, body["code"]) == (422, "TOO_MANY")
    assert "the first 10000 items were looked at" in body["detail"]
    batch = account.http.get(f"/v1/batches/{body['batch']}").json()
    assert (batch["complete"], batch["tasks"]) == (False, 10_000)


def test_a_line_that_is_too_long_is_refused_and_the_rest_is_taken(account: Account) -> None:
    body = push(account, lines(item("a"), b'"' + b"x" * 5_000_000 + b'"', item("b"))).json()
    assert [one["reference"] for one in body["accepted"]] == ["a", "b"]
    assert "line 2 has more than" in body["rejected"][0]["errors"][0]["message"]


def test_a_stream_over_the_limit_says_what_was_taken(account: Account) -> None:
    wide = [item(f"r{i}", "1", colour="x" * 100_000) for i in range(200)]
    parts = iter([lines(item("first")), *(lines(one) for one in wide)])
    answer = push(account, parts)  # without a Content-Length, so that only reading it shows its size
    assert answer.status_code == 413
    assert "looked at as batch" in answer.json()["detail"]
    assert [task["reference"] for task in account.stored()] == ["first"]


@pytest.mark.parametrize(
    ("content", "workflow", "status", "code"),
    [
        (b"", "tax", 422, "MALFORMED"),
        (b"\n\n", "tax", 422, "MALFORMED"),
        (b"{}", None, 422, "MALFORMED"),
        (b"{}", "nothing", 404, "UNKNOWN_WORKFLOW"),
    ],
)
def test_what_is_wrong_as_a_whole(account: Account, content: bytes, workflow: str, status: int, code: str) -> None:
    answer = push(account, content, workflow)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert account.db["batches"].count_documents({"account": account.name}) == 0


def test_other_media_types_are_refused_with_what_to_send(account: Account) -> None:
    content = json.dumps({"workflow": "tax", "tasks": [item("a")]}).encode()
    for media_type in ("text/csv", "application/xml", "application/x-www-form-urlencoded"):
        answer = account.http.post("/v1/tasks", content=content, headers={"content-type": media_type})
        assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED")
        assert "application/x-ndjson" in answer.json()["detail"]
    for media_type in ("application/json; charset=utf-8", "application/vnd.acme+json"):
        assert account.http.post("/v1/tasks", content=content, headers={"content-type": media_type}).status_code == 202
    bare = http.client.HTTPConnection(str(account.http.base_url.host), account.http.base_url.port, timeout=20)
    bare.request("POST", "/v1/tasks", content, {"Authorization": account.http.headers["authorization"]})
    assert bare.getresponse().status == 202  # no media type at all
    bare.close()
