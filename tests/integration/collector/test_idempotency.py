"""Idempotency-Key on the real parts: once, whoever dies and whoever comes at the same time."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import pytest

from tests.integration.collector.conftest import Account, item
from tests.integration.collector.running import Ground, Instance, running, until

KEY = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"


@pytest.fixture(scope="module")
def second(collector_ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """Another collector on the same database, whose claims lapse after a second; the last test kills it."""
    folder = tmp_path_factory.mktemp("second")
    with running("collector", collector_ground, folder, "collector-2", REGENTE_IDEMPOTENCY_CLAIM_S="1") as instance:
        yield instance


def kept(account: Account) -> list[dict[str, Any]]:
    """What is stored of this account's keys."""
    return list(account.db["idempotency"].find({"_id": {"$regex": f"^{account.name}/"}}))


def test_the_same_request_gets_the_first_answer_again(account: Account) -> None:
    first = account.push(item("a"), item("b", "x"), **{KEY: '"k-1"'})
    again = account.push(item("a"), item("b", "x"), **{KEY: "k-1"})
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert [one["duplicate"] for one in again.json()["accepted"]] == [False]
    assert (first.headers.get(REPLAYED), again.headers.get(REPLAYED)) == (None, "true")
    assert account.db["batches"].count_documents({"account": account.name}) == 1
    (document,) = kept(account)
    assert (document["expires_at"] - document["claimed_at"]).total_seconds() > 24 * 3600


def test_another_request_with_the_same_key_is_refused(account: Account) -> None:
    account.push(item("a"), **{KEY: "k"})
    other = account.push(item("b"), **{KEY: "k"})
    assert (other.status_code, other.json()["code"]) == (422, "INVALID_INPUT")
    elsewhere = account.http.post("/v1/files?name=a", content=b"x", headers={KEY: "k"})
    assert elsewhere.status_code == 422
    assert [task["reference"] for task in account.stored()] == ["a"]


def test_another_accounts_key_is_another_key(account: Account, collector: Instance) -> None:
    account.push(item("a"), **{KEY: "shared"})
    headers = account.ground.key("stranger", "tasks")
    answer = httpx.post(
        f"{collector.url}/v1/tasks", json={"workflow": "none", "tasks": [1]}, headers={**headers, KEY: "shared"}
    )
    assert answer.json()["code"] == "UNKNOWN_WORKFLOW"


def test_an_answer_that_took_nothing_is_not_kept(account: Account) -> None:
    assert account.push(item("a"), workflow="later", **{KEY: "k"}).status_code == 404
    assert kept(account) == []
    assert account.push(item("a"), **{KEY: "k"}).status_code == 202


@pytest.mark.parametrize("key", ['"', "x" * 700, "a b", "x" * 256, '"a"; b'])
def test_what_is_no_key_is_refused(account: Account, key: str) -> None:
    answer = account.push(item("a"), **{KEY: key})
    assert answer.status_code == 400
    assert account.stored() == []


def test_many_at_once_on_two_collectors_are_one(account: Account, second: Instance) -> None:
    """Whoever isn't first is told that it is in hand, and gets the answer when it comes again."""
    url = (str(account.http.base_url), second.url)
    body = {"workflow": "tax", "tasks": [item(f"r{i}") for i in range(300)]}
    headers = {**account.http.headers, KEY: "k"}

    def push(n: int) -> httpx.Response:
        return httpx.post(f"{url[n % 2]}/v1/tasks", json=body, headers=headers, timeout=30)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(push, range(8)))
    assert {answer.status_code for answer in answers} <= {202, 409}
    for answer in answers:
        assert answer.status_code == 202 or answer.headers["retry-after"]
    done = [answer.json() for answer in answers if answer.status_code == 202] + [push(0).json(), push(1).json()]
    assert all(one == done[0] for one in done)
    assert not any(one["duplicate"] for one in done[0]["accepted"])
    assert account.db["batches"].count_documents({"account": account.name}) == 1
    assert len(account.stored()) == 300


def test_lines_under_a_key_are_answered_again_and_others_refused(account: Account) -> None:
    data = b"".join(json.dumps(item(f"r{i}")).encode() + b"\n" for i in range(3))
    headers = {KEY: "k", "content-type": "application/x-ndjson"}
    first = account.http.post("/v1/tasks?workflow=tax", content=data, headers=headers)
    again = account.http.post("/v1/tasks?workflow=tax", content=data, headers=headers)
    assert first.status_code == 202
    assert (again.json(), again.headers.get(REPLAYED)) == (first.json(), "true")
    other = account.http.post("/v1/tasks?workflow=tax", content=data + b"{}\n", headers=headers)
    assert other.status_code == 422
    assert len(account.stored()) == 3


def test_a_long_answer_is_kept(account: Account) -> None:
    items = [item("é" * 190 + f"{i:05d}", "1" if i % 2 else "x") for i in range(3000)]
    first = account.push(*items, **{KEY: "k"})
    again = account.push(*items, **{KEY: "k"})
    assert (again.json(), again.headers.get(REPLAYED)) == (first.json(), "true")


def test_a_collector_that_died_in_flight_blocks_no_key_and_the_retry_is_the_same_push(
    account: Account, collector: Instance, second: Instance
) -> None:
    """kill -9 while a streamed push is half stored: the key is free after the claim's time, the batch is the same."""
    data = b"".join(json.dumps(item(f"r{i}", str(i))).encode() + b"\n" for i in range(1500))
    headers = {**account.http.headers, KEY: "k", "content-type": "application/x-ndjson"}
    hold = threading.Event()

    def slowly() -> Iterator[bytes]:
        yield data[: len(data) // 4 * 3]
        hold.wait(30)

    def start() -> None:
        with suppress(httpx.HTTPError):
            httpx.post(f"{second.url}/v1/tasks?workflow=tax", content=slowly(), headers=headers, timeout=30)

    pushing = threading.Thread(target=start)
    pushing.start()
    try:
        until(lambda: len(account.stored()) >= 1000, "half of it is stored")
        busy = httpx.post(f"{collector.url}/v1/tasks?workflow=tax", content=data, headers=headers, timeout=30)
        second.kill()
    finally:
        hold.set()
        pushing.join(30)

    def retried() -> dict[str, Any] | None:
        answer = httpx.post(f"{collector.url}/v1/tasks?workflow=tax", content=data, headers=headers, timeout=30)
        assert answer.status_code in (202, 409), answer.text
        return answer.json() if answer.status_code == 202 else None

    body = until(retried, "the key is free again")
    assert busy.status_code in (202, 409)
    assert len(body["accepted"]) == len(account.stored()) == 1500
    if busy.status_code == 409:  # nobody finished it in between: the first answer, as the dead one would have given it
        assert not any(one["duplicate"] for one in body["accepted"])
    (batch,) = account.db["batches"].find({"account": account.name})
    assert (batch["_id"], batch["complete"], batch["count"]) == (body["batch"], True, 1500)
    assert {task["batch"] for task in account.stored()} == {batch["_id"]}
