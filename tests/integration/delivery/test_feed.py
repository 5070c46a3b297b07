"""The results feed and the endpoints' API, also with two instances and after kill -9."""

from __future__ import annotations

import json
import threading
from collections import Counter
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests.integration.collector.running import Ground, Instance, ground, launch, running, until, wait_ready
from tests.integration.delivery.conftest import ENV, Account, Answer, PartnerSide, opened


def read_all(account: Account, limit: int) -> tuple[list[dict[str, Any]], str | None]:
    """Follow the feed to its end; the items and where to go on."""
    items: list[dict[str, Any]] = []
    after: str | None = None
    while True:
        query: dict[str, Any] = {"limit": limit, **({"after": after} if after else {})}
        body = account.http.get("/v1/results", params=query).json()
        items += body["items"]
        after = body["after"]
        if body["next"] is None:
            return items, after
        assert body["next"] == after


def test_the_feed_is_in_order_and_goes_on_where_it_was_left(account: Account) -> None:
    first = []
    for _ in range(5):
        first.append(account.finish(hint=False))
        until(lambda: account.db["results"].count_documents({"account": account.name}) == len(first), "the entry")
    items, after = read_all(account, 2)
    assert [item["id"] for item in items] == first
    assert account.http.get("/v1/results", params={"after": after}).json() == {
        "items": [],
        "next": None,
        "after": after,
    }
    last = account.finish()
    until(lambda: account.db["results"].count_documents({"account": account.name}) == 6, "the last entry")
    assert [item["id"] for item in account.http.get("/v1/results", params={"after": after}).json()["items"]] == [last]


def test_the_link_leads_to_the_next_page(account: Account) -> None:
    for _ in range(3):
        account.finish()
    until(lambda: account.db["results"].count_documents({"account": account.name}) == 3, "three entries")
    answer = account.http.get("/v1/results?limit=2")
    following = account.http.get(answer.links["next"]["url"])
    assert [item["reference"] for item in following.json()["items"]] != []
    assert following.json()["next"] is None


def test_an_empty_feed(account: Account) -> None:
    assert account.http.get("/v1/results").json() == {"items": [], "next": None, "after": None}


@pytest.mark.parametrize(
    ("query", "status"), [("after=x", 400), ("after=e30", 400), ("limit=0", 422), ("limit=501", 422)]
)
def test_bad_questions_are_problems(account: Account, query: str, status: int) -> None:
    answer = account.http.get(f"/v1/results?{query}")
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_two_instances_number_one_feed_without_gaps_and_one_dies_in_the_middle(
    account: Account, delivery_ground: Ground, side: PartnerSide, tmp_path_factory: pytest.TempPathFactory
) -> None:
    account.endpoint()
    folder = tmp_path_factory.mktemp("second")
    second = launch("delivery", delivery_ground, folder, "delivery-2", **ENV)
    try:
        wait_ready(second)
        ids = [account.finish() for _ in range(60)]
        until(lambda: account.db["results"].count_documents({"account": account.name}) >= 20, "a third of them")
    finally:
        second.kill()
    until(lambda: account.db["results"].count_documents({"account": account.name}) == 60, "all entries")
    numbers = [entry["n"] for entry in account.db["results"].find({"account": account.name}).sort("n", 1)]
    assert numbers == list(range(1, 61))
    assert Counter(item["id"] for item in read_all(account, 7)[0]) == Counter(ids)
    with running("delivery", delivery_ground, folder, "delivery-2", **ENV):
        for id in ids:
            account.until_delivery(id, "delivered")
    contents: dict[str, set[bytes]] = {}
    for request in side.got(account.path):
        contents.setdefault(request.headers["webhook-id"], set()).add(request.body)
    assert len(contents) == 60
    assert all(len(bodies) == 1 for bodies in contents.values())


def test_killed_while_posting_it_posts_the_same_again(
    servers: Any, side: PartnerSide, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder, env = tmp_path_factory.mktemp("killed"), {**ENV, "REGENTE_DELIVERY_TIMEOUT_S": "30"}
    release = threading.Event()
    with ground(servers.amqp, servers.amqp_admin, servers.mongo) as alone, ExitStack() as stack:
        instance = stack.enter_context(running("delivery", alone, folder, "delivery-7", **env))
        account = stack.enter_context(opened(instance, alone, side))
        account.endpoint()
        side.will(account.path, Answer(wait=release))
        id = account.finish()
        until(lambda: side.got(account.path), "the first attempt")
        assert (account.delivery(id) or {})["claimed_by"] == "delivery-7"
        instance.kill()
        stack.enter_context(running("delivery", alone, folder, "delivery-7", **env))
        delivered = account.until_delivery(id, "delivered")
        release.set()
        got = side.got(account.path)
        assert len({(request.headers["webhook-id"], request.body) for request in got}) == 1
        assert (len(got), delivered["attempts_made"], delivered["claimed_by"]) == (2, 1, None)


def test_endpoints_are_made_changed_listed_and_removed(account: Account) -> None:
    made = account.http.put("/v1/endpoints/hook", json={"url": "https://a.example/x", "events": ["failed"]})
    assert made.status_code == 201
    assert made.json()["secret"].startswith("whsec_")
    assert (made.json()["url"], made.json()["events"], made.json()["enabled"]) == (
        "https://a.example/x",
        ["failed"],
        True,
    )
    changed = account.http.put("/v1/endpoints/hook", json={"url": "https://a.example/y"})
    assert (changed.status_code, changed.json()["secret"], changed.json()["events"]) == (200, None, None)
    listed = account.http.get("/v1/endpoints").json()["items"]
    assert [(entry["name"], entry["url"]) for entry in listed] == [("hook", "https://a.example/y")]
    assert all(not entry.get("secret") for entry in listed)
    stored = json.dumps(account.db["endpoints"].find_one({"_id": f"{account.name}/hook"}), default=str)
    assert made.json()["secret"] not in stored
    assert account.http.delete("/v1/endpoints/hook").status_code == 204
    assert account.http.delete("/v1/endpoints/hook").status_code == 404
    assert account.db["audit"].count_documents({"account": account.name}) == 3


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("hook", {}),
        ("hook", {"url": "ftp://a.example/"}),
        ("hook", {"url": "https://u:p@a.example/"}),
        ("hook", {"url": "https://a.example/", "secret": "whsec_short"}),
        ("hook", {"url": "https://a.example/", "events": ["exploded"]}),
        ("hook", {"url": "https://a.example/", "colour": "red"}),
        ("Hook!", {"url": "https://a.example/"}),
    ],
)
def test_endpoints_that_can_not_be(account: Account, name: str, body: dict[str, Any]) -> None:
    answer = account.http.put(f"/v1/endpoints/{name}", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert "whsec_short" not in answer.text


def test_a_key_of_another_account_or_scope_sees_nothing(
    account: Account, delivery: Instance, delivery_ground: Ground
) -> None:
    account.endpoint()
    account.finish()
    until(lambda: account.db["results"].count_documents({"account": account.name}) == 1, "the entry")
    with httpx.Client(base_url=delivery.url, headers=delivery_ground.key("other", "results", "endpoints")) as other:
        assert other.get("/v1/results").json()["items"] == []
        assert other.get("/v1/endpoints").json()["items"] == []
        assert other.delete("/v1/endpoints/hook").status_code == 404
    with httpx.Client(base_url=delivery.url, headers=delivery_ground.key(account.name, "tasks")) as narrow:
        assert narrow.get("/v1/results").status_code == 403
        assert narrow.get("/v1/endpoints").status_code == 403
    assert httpx.get(f"{delivery.url}/v1/results").status_code == 401


def test_a_one_off_run_is_neither_delivered_nor_in_the_feed(account: Account) -> None:
    once = account.finish(once={"worker": "w", "version": "v", "scenario": "s", "by": "ana"})
    until(lambda: account.db["tasks"].find_one({"_id": once, "pending": None}), "the hand-over is cleared")
    last = account.finish()
    until(lambda: account.db["results"].count_documents({"account": account.name}) == 1, "the entry")
    assert [item["id"] for item in read_all(account, 5)[0]] == [last]
    assert account.db["deliveries"].count_documents({"task": once}) == 0
