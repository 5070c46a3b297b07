"""Endpoints that are down, slow, overloaded: what waits, what is tried, and that others don't notice."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import httpx

from tests.integration.collector.running import Instance, until
from tests.integration.delivery.conftest import Account, Answer

DOWN = {"schedule_s": [0.05] * 30, "breaker_failures": 3}


def circuit(account: Account) -> dict[str, Any]:
    """As the partner sees it."""
    found: dict[str, Any] = account.http.get("/v1/endpoints/hook").json()["circuit"]
    return found


def attempts(account: Account, ids: list[str]) -> int:
    """Attempts made of some tasks' deliveries."""
    return sum((account.delivery(id) or {}).get("attempts_made", 0) for id in ids)


def events(account: Account) -> list[str]:
    """Kinds of what was told of its endpoint, in order."""
    found = account.db["events"].find({"target": f"{account.name}/hook"}).sort("at", 1)
    return [event["kind"] for event in found]


def test_a_dead_endpoint_opens_its_circuit_nothing_is_dropped_and_all_goes_out_when_it_is_back(
    account: Account, delivery: Instance
) -> None:
    account.endpoint(**DOWN)
    account.side.will(account.path, *[Answer(500)] * 5)
    ids = [account.finish() for _ in range(12)]
    until(lambda: events(account)[:1] == ["endpoint_down"], "somebody is told that it is down")
    for id in ids:
        account.until_delivery(id, "delivered")
    got = len(account.side.got(account.path))
    assert attempts(account, ids) == got, "every attempt is written down"
    assert got <= 12 + 8, "while it was open only probes were made"
    until(lambda: events(account) == ["endpoint_down", "endpoint_up"], "somebody is told that it is back")
    assert circuit(account) == {
        "open": False, "failures": 0, "reason": None, "opened_at": None, "waits_until": None
    }  # fmt: skip
    assert "regente_delivery_circuits_open" in httpx.get(f"{delivery.url}/metrics", timeout=5).text


def test_while_it_is_open_one_delivery_probes_and_the_others_keep_their_whole_schedule(account: Account) -> None:
    account.endpoint(schedule_s=[0.05, 1.0] * 15, breaker_failures=3)
    account.side.will(account.path, *[Answer(503)] * 200)
    ids = [account.finish() for _ in range(10)]
    until(lambda: circuit(account)["open"], "the circuit opens")
    seen = len(account.side.got(account.path))
    until(lambda: len(account.side.got(account.path)) >= seen + 2, "two more probes")
    made = attempts(account, ids)
    assert made <= 16, "what failed before it opened, what was under way, and a few probes"
    states = {(account.delivery(id) or {})["state"] for id in ids}
    assert states <= {"pending", "retrying"}


def broken(account: Account, *more: Answer) -> list[str]:
    """Three deliveries that failed once each and come back in an hour: the circuit is open, and nothing probes it.
    more: what is answered after that."""
    account.endpoint(schedule_s=[3600], breaker_failures=3)
    account.side.will(account.path, *[Answer(500)] * 3, *more)
    ids = [account.finish() for _ in range(3)]
    until(lambda: circuit(account)["open"], "the circuit opens")
    far = datetime(2100, 1, 1, tzinfo=UTC)
    account.db["endpoints"].update_one({"_id": f"{account.name}/hook"}, {"$set": {"circuit.probe_at": far}})
    return ids


def test_an_open_circuit_keeps_what_comes_waiting_and_put_closes_it(account: Account) -> None:
    ids = broken(account)
    stored = account.db["endpoints"].find_one({"_id": f"{account.name}/hook"})["circuit"]
    assert (stored["open"], stored["failures"]) == (True, 3)
    late = account.finish()
    until(lambda: account.delivery(late), "it waits")
    assert circuit(account)["waits_until"].startswith("2100")
    assert len(account.side.got(account.path)) == 3
    account.endpoint(schedule_s=[3600], breaker_failures=3)
    account.until_delivery(late, "delivered")
    assert {(account.delivery(id) or {})["state"] for id in ids} == {"retrying"}, "they keep their own times"


def test_a_test_event_goes_through_an_open_circuit_once_and_tells_what_came_back(account: Account) -> None:
    broken(account, Answer(500, body=b"still down"))
    sent = account.http.post("/v1/endpoints/hook/test")
    assert sent.status_code == 202
    shown = until(lambda: ended(account, sent.json()["delivery"]), "the test ended")
    assert (shown["state"], shown["attempts"][0]["status"], shown["attempts"][0]["answer"]) == (
        "dead", 500, "still down"
    )  # fmt: skip
    assert shown["type"] == "endpoint.test"
    again = account.http.post("/v1/endpoints/hook/test").json()["delivery"]
    assert until(lambda: ended(account, again), "it is back")["state"] == "delivered"
    assert circuit(account)["open"] is False


def ended(account: Account, id: str) -> dict[str, Any] | None:
    """A delivery as its partner sees it, when it has ended."""
    found: dict[str, Any] = account.http.get(f"/v1/deliveries/{id}").json()
    return found if found["state"] in ("delivered", "dead") else None


def test_retry_after_slows_the_whole_endpoint_down(account: Account) -> None:
    account.endpoint()
    account.side.will(account.path, Answer(429, {"retry-after": "2"}))
    first = account.finish()
    until(lambda: (account.delivery(first) or {}).get("state") == "retrying", "the first was told to wait")
    until_text = until(lambda: circuit(account)["waits_until"], "it is left alone")
    others = [account.finish() for _ in range(3)]
    for id in [first, *others]:
        account.until_delivery(id, "delivered")
    asked_until = datetime.fromisoformat(until_text)
    for id in others:
        (attempt,) = (account.delivery(id) or {})["attempts"]
        assert attempt["at"] >= asked_until, "nothing went to it before the time that it asked for"


def test_an_endpoint_that_fails_every_second_call_gets_everything(account: Account) -> None:
    account.endpoint(**DOWN)
    account.side.will(account.path, *[Answer(500), Answer(200)] * 12)
    ids = [account.finish() for _ in range(12)]
    for id in ids:
        account.until_delivery(id, "delivered")
    bodies = {request.headers["webhook-id"]: request.body for request in account.side.got(account.path)}
    assert len(bodies) == 12


def test_connections_that_are_closed_in_the_middle_are_failures_like_others(account: Account) -> None:
    account.endpoint()
    account.side.will(account.path, Answer(cut=True))
    id = account.finish()
    delivery = account.until_delivery(id, "delivered")
    assert delivery["attempts"][0]["status"] is None
    assert "broke" in delivery["attempts"][0]["error"]


def test_concurrency_is_the_endpoints_own(account: Account) -> None:
    account.endpoint(concurrency=1)
    release = threading.Event()
    account.side.will(account.path, Answer(wait=release), Answer(wait=release))
    ids = [account.finish() for _ in range(3)]
    until(lambda: len(account.side.got(account.path)) == 1, "one at a time")
    until(lambda: all(account.delivery(id) for id in ids), "all are made")
    assert len(account.side.got(account.path)) == 1
    release.set()
    for id in ids:
        account.until_delivery(id, "delivered")
