"""The partners' Python client against the real collector and delivery: from a push to a verified webhook."""

from __future__ import annotations

import time
from typing import Any

import pytest

from regente_client import Conflict, InvalidRequest, NewTask, NotAllowed, NotFound, WaitTimedOut, new_secret, verify
from tests.integration.collector.running import until
from tests.partners.stack import WORKFLOW, Account, Side


def new(*references: str, registration: str = "1") -> list[NewTask]:
    return [NewTask(reference, {"registration": registration}) for reference in references]


def test_from_a_push_to_a_verified_webhook_evidence_and_the_feed(account: Account, side: Side) -> None:
    secret = new_secret()
    with account.client() as client:
        endpoint = client.put_endpoint("orders", side.url, secret=secret, events=["succeeded"])
        assert (endpoint.name, endpoint.enabled, endpoint.events) == ("orders", True, ("succeeded",))
        assert [one.name for one in client.endpoints()] == ["orders"]
        pushed = client.push(WORKFLOW, [*new("a", "b"), NewTask("c", {"registration": "x"})])
        assert list(pushed.ids) == ["a", "b"]
        assert [(item.reference, item.errors[0]["path"]) for item in pushed.rejected] == [("c", "/input/registration")]
        with pytest.raises(WaitTimedOut, match="queued"):
            client.wait(pushed.ids["a"], timeout_s=0.1)
        account.finish(pushed.ids["a"], evidence=b"a picture")
        task = client.wait(pushed.ids["a"], timeout_s=10)
        assert (task.state, task.is_final, task.attempts) == ("succeeded", True, 1)
        assert client.evidence(task.evidence[0].id) == b"a picture"
        headers, body = side.wait_for(1)[0]
        event = verify(headers, body, secret)
        assert (event.type, event.task and event.task.reference) == ("task.succeeded", "a")
        page = next(client.results(wait_s=5))
        assert [one.reference for one in page] == ["a"]
        assert list(client.results(page.after, follow=False)) == []
        assert page.after is not None
        client.acknowledge(page.after, "erp")
        assert list(client.results(reader="erp", follow=False)) == []
        assert [one.items for one in client.results(reader="other", follow=False)] == [page.items]
        assert client.batch(pushed.batches[0]).open == 1
        client.delete_endpoint("orders")
        with pytest.raises(NotFound):
            client.delete_endpoint("orders")


def test_a_push_in_several_requests_and_again(account: Account) -> None:
    with account.client() as client:
        first = client.push(WORKFLOW, new(*map(str, range(25))), items_max=10)
        again = client.push(WORKFLOW, new(*map(str, range(25))), items_max=10)
        assert [item.index for item in first.accepted] == list(range(25))
        assert (len(first.batches), again.ids) == (3, first.ids)
        assert all(item.duplicate for item in again.accepted)
        assert [task.reference for task in client.tasks(workflow=WORKFLOW, page_size=7)] == [
            task.reference for task in client.tasks(state="queued")
        ]
        assert [task.id for task in client.tasks(reference="3")] == [first.ids["3"]]


def test_a_large_push_goes_as_lines(account: Account) -> None:
    with account.client() as client:
        tasks = [NewTask(str(n), {"registration": "1", "text": "x" * 500}) for n in range(800)]
        assert len(client.push(WORKFLOW, tasks).ids) == 800
        again = client.push(WORKFLOW, [*tasks[:-1], NewTask("bad", {"registration": "x", "text": "y" * 500})])
        assert all(item.duplicate for item in again.accepted)
        assert [(item.index, item.reference) for item in again.rejected] == [(799, "bad")]


def test_files_go_up_and_come_back(account: Account) -> None:
    with account.client() as client:
        file = client.upload("form ção.png", b"\x89PNG\x00", "image/png")
        assert (file.name, file.media_type, file.size_bytes) == ("form ção.png", "image/png", 5)
        assert client.file(file.id) == b"\x89PNG\x00"
        assert client.upload("form ção.png", b"\x89PNG\x00", "image/png").id == file.id


def test_errors_come_as_exceptions_that_say_what_to_do(account: Account) -> None:
    with account.client() as client:
        with pytest.raises(NotFound, match="UNKNOWN_WORKFLOW"):
            client.push("nothing", new("a"))
        with pytest.raises(InvalidRequest) as caught:
            client.put_endpoint("orders", "ftp://x")
        assert caught.value.errors[0]["path"] == "/url"
        ended = client.push(WORKFLOW, new("a")).ids["a"]
        account.finish(ended)
        with pytest.raises(Conflict, match="FINAL"):
            client.cancel(ended)
    account.key = account.key[:-1] + ("A" if account.key[-1] != "A" else "B")
    with account.client() as client, pytest.raises(NotAllowed, match="not known"):
        client.task("x")


async def test_the_async_client_does_the_same(account: Account) -> None:
    async with account.async_client() as client:
        pushed = await client.push(WORKFLOW, new("a", "b"), items_max=1)
        assert [task.reference async for task in client.tasks()] == ["b", "a"]
        assert (await client.task(pushed.ids["a"])).state == "queued"
        assert (await client.cancel(pushed.ids["a"])).state in ("queued", "cancelled")
        assert [page async for page in client.results(follow=False)] == []


def test_the_feed_is_followed_while_outcomes_come(account: Account) -> None:
    with account.client() as client:
        ids = client.push(WORKFLOW, new("a", "b")).ids
        account.finish(ids["a"])
        pages = client.results(wait_s=2)
        first = next(pages)
        assert [task.reference for task in first] == ["a"]
        began = time.monotonic()
        account.finish(ids["b"], state="failed")
        second: Any = next(pages)
        assert [(task.reference, task.state) for task in second] == [("b", "failed")]
        assert time.monotonic() - began < 5
        until(lambda: account.db["results"].count_documents({"account": account.name}) == 2, "both are in the feed")
