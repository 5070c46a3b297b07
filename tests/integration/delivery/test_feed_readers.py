"""Waiting for the feed, filters, acknowledged positions."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.integration.collector.running import Ground, Instance, launch, running, until, wait_ready
from tests.integration.delivery.conftest import ENV, Account, PartnerSide, opened


class Asking:
    """A question in another thread."""

    def __init__(self, http: httpx.Client, **query: Any) -> None:
        self.answer: httpx.Response | None = None
        self.took_s = 0.0
        self._http, self._query = http, query
        self._thread = threading.Thread(target=self._ask, daemon=True)
        self._thread.start()

    def _ask(self) -> None:
        began = time.monotonic()
        self.answer = self._http.get("/v1/results", params=self._query, timeout=40)
        self.took_s = time.monotonic() - began

    def done(self, deadline_s: float = 15) -> httpx.Response:
        """The answer."""
        self._thread.join(deadline_s)
        assert self.answer is not None, "no answer"
        return self.answer


def waits(instance: Instance, count: int) -> Callable[[], bool]:
    """Whether so many readers wait in a process."""
    return lambda: f"regente_feed_waiters {count}.0" in httpx.get(f"{instance.url}/metrics").text


def test_an_entry_wakes_who_waits(account: Account, delivery: Instance) -> None:
    asking = Asking(account.http, wait=30)
    until(waits(delivery, 1), "the reader waits")
    id = account.finish()
    assert [item["id"] for item in asking.done().json()["items"]] == [id]
    assert asking.took_s < 15
    until(waits(delivery, 0), "nobody waits")


def test_an_entry_of_another_process_wakes_who_waits(
    account: Account, delivery: Instance, delivery_ground: Ground
) -> None:
    asking = Asking(account.http, wait=30)
    until(waits(delivery, 1), "the reader waits")
    entry = {"_id": "elsewhere:succeeded", "account": account.name, "n": 1, "event": "succeeded", "body": '{"id":"x"}'}
    delivery_ground.db["results"].insert_one(entry)
    assert asking.done().json()["items"] == [{"id": "x"}]


def test_without_an_entry_the_answer_is_empty_when_the_time_is_up(account: Account) -> None:
    began = time.monotonic()
    answer = account.http.get("/v1/results", params={"wait": 0.3})
    assert answer.json() == {"items": [], "next": None, "after": None}
    assert time.monotonic() - began >= 0.3
    assert account.http.get("/v1/results", params={"wait": 31}).status_code == 422


def test_whoever_waits_is_answered_when_the_service_ends(
    delivery_ground: Ground, side: PartnerSide, tmp_path_factory: pytest.TempPathFactory
) -> None:
    instance = launch("delivery", delivery_ground, tmp_path_factory.mktemp("ends"), "delivery-8", **ENV)
    try:
        wait_ready(instance)
        with opened(instance, delivery_ground, side) as account:
            asking = Asking(account.http, wait=30)
            until(waits(instance, 1), "the reader waits")
            instance.process.send_signal(signal.SIGTERM)
            assert asking.done().json()["items"] == []
            assert asking.took_s < 10
        assert instance.process.wait(20) == 0
    finally:
        if instance.process.poll() is None:
            instance.kill()


def test_a_filter_shows_what_is_wanted_and_the_cursor_passes_the_rest(account: Account) -> None:
    db = account.db["workflows"]
    db.insert_one({"_id": f"{account.name}/other", "account": account.name, "name": "other", "settings": {}})
    wanted = []
    for n, (workflow, event) in enumerate(
        [("tax", "succeeded"), ("other", "succeeded"), ("tax", "failed"), ("other", "failed"), ("tax", "succeeded")]
    ):
        id = account.finish(event, workflow=workflow)
        wanted += [id] if (workflow, event) == ("tax", "succeeded") else []
        until(lambda n=n: account.db["results"].count_documents({"account": account.name}) == n + 1, "the entry")
    # an entry of an older version names its workflow in its body only
    account.db["results"].update_one({"task": wanted[0]}, {"$unset": {"workflow": ""}})
    query = {"workflow": "tax", "event": "succeeded"}
    whole = account.http.get("/v1/results", params=query).json()
    assert [item["id"] for item in whole["items"]] == wanted
    first = account.http.get("/v1/results", params={**query, "limit": 1}).json()
    assert [item["id"] for item in first["items"]] == wanted[:1]
    second = account.http.get("/v1/results", params={**query, "after": first["next"]}).json()
    assert [item["id"] for item in second["items"]] == wanted[1:]
    nothing = account.http.get("/v1/results", params={"event": "held"}).json()
    assert (nothing["items"], nothing["after"]) == ([], whole["after"])


def test_a_reader_goes_on_where_it_acknowledged(account: Account) -> None:
    ids = []
    for n in range(3):
        ids.append(account.finish())
        until(lambda n=n: account.db["results"].count_documents({"account": account.name}) == n + 1, "the entry")
    page = account.http.get("/v1/results", params={"reader": "erp", "limit": 2}).json()
    assert [item["id"] for item in page["items"]] == ids[:2]
    assert [i["id"] for i in account.http.get("/v1/results", params={"reader": "erp"}).json()["items"]] == ids
    first = account.http.get("/v1/results", params={"limit": 1}).json()["after"]

    def ack(**body: Any) -> httpx.Response:
        return account.http.post("/v1/results/ack", json={"name": "erp", **body})

    done = ack(after=page["after"])
    assert (done.status_code, done.json()["behind"], done.json()["after"]) == (200, 1, page["after"])
    assert ack(after=first).json()["after"] == page["after"]  # late and repeated: it does not go back
    assert [i["id"] for i in account.http.get("/v1/results", params={"reader": "erp"}).json()["items"]] == ids[2:]
    assert ack(after=first, back=True).json()["after"] == first
    assert [i["id"] for i in account.http.get("/v1/results", params={"reader": "erp"}).json()["items"]] == ids[1:]
    assert ack(after=None, back=True).json()["behind"] == 3
    assert account.http.post("/v1/results/ack", json={"after": page["after"]}).json()["name"] == "default"
    assert [one["name"] for one in account.http.get("/v1/results/readers").json()["items"]] == ["default", "erp"]
    assert account.http.delete("/v1/results/readers/erp").status_code == 204
    assert account.http.delete("/v1/results/readers/erp").status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"after": "x"}, 400),
        ({"after": "eyJuIjo5fQ"}, 422),  # {"n":9}: behind the end
        ({}, 422),
        ({"after": None, "name": "A!"}, 422),
        ({"after": None, "colour": "red"}, 422),
    ],
)
def test_acknowledgements_that_can_not_be(account: Account, body: dict[str, Any], status: int) -> None:
    answer = account.http.post("/v1/results/ack", json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/problem+json")


def test_a_feed_under_several_writers_that_are_killed_never_skips_and_never_repeats(
    account: Account, delivery_ground: Ground, side: PartnerSide, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Three processes write one account's feed; one is killed again and again; a reader follows all the while."""
    folder, count, ids = tmp_path_factory.mktemp("writers"), 150, []
    stop, read, cursor = threading.Event(), [], None

    def follow() -> None:
        nonlocal cursor
        http = httpx.Client(base_url=account.http.base_url, headers=account.http.headers, timeout=40)
        with http:
            while not (stop.is_set() and len(read) >= count):
                query = {"wait": 1, "limit": 7, **({"after": cursor} if cursor else {})}
                page = http.get("/v1/results", params=query).json()
                read.extend(item["id"] for item in page["items"])
                cursor = page["after"]
                if not page["items"] and stop.is_set():
                    return

    reader = threading.Thread(target=follow, daemon=True)
    with running("delivery", delivery_ground, folder, "delivery-2", **ENV):
        victim = launch("delivery", delivery_ground, folder, "delivery-3", **ENV)
        try:
            wait_ready(victim)
            reader.start()
            for part in range(2):
                ids += [account.finish(hint=part > 0) for _ in range(count // 2)]
                reached = (part + 1) * count // 2 - 40
                until(lambda at=reached: account.db["results"].count_documents({"account": account.name}) >= at, "some")
                victim.kill()
                victim = launch("delivery", delivery_ground, folder, "delivery-3", **ENV)
            until(lambda: account.db["results"].count_documents({"account": account.name}) == count, "all entries", 60)
        finally:
            victim.kill()
    stop.set()
    reader.join(30)
    numbers = [entry["n"] for entry in account.db["results"].find({"account": account.name}).sort("n", 1)]
    assert numbers == list(range(1, count + 1))
    assert sorted(read) == sorted(ids)
    assert account.db["tasks"].count_documents({"account": account.name, "pending": {"$ne": None}}) == 0
