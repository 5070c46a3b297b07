"""Two collectors, one source: kill -9 of the one that polls, in the middle of a page; nothing lost, nothing twice."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.collector.running import Ground, Instance, running, until
from tests.integration.sources.conftest import QUICK, Account, new_account
from tests.integration.sources.partner import Partner

Pair = dict[str, Instance]


@pytest.fixture
def pair(sources_ground: Ground, sources_home: Any, collector: Instance) -> Iterator[Pair]:
    """The session's collector and another one."""
    with running("collector", sources_ground, sources_home, "collector-2", **QUICK) as second:
        yield {"collector-1": collector, "collector-2": second}
        collector.process.send_signal(signal.SIGCONT)


@pytest.fixture
def other(sources_ground: Ground, sources_home: Any) -> Iterator[Account]:
    """An account without a fixture's collector."""
    made = new_account(sources_ground, sources_home)
    yield made
    made.db["sources"].delete_many({"account": made.name})


def pages(partner: Partner, **changes: Any) -> dict[str, Any]:
    """Orders in two pages; the second one at an address of its own."""
    partner.add(6)
    partner.answers["/first"] = lambda _: (200, {}, {"orders": partner.orders[:3], "next": "/second", "at": "3"})
    partner.answers["/second"] = lambda _: (200, {}, {"orders": partner.orders[3:], "next": None, "at": "6"})
    return {
        "kind": "poll",
        "schedule": {"every_s": 3600},
        "request": {"url": f"{partner.url}/first", "params": {"after": "{cursor}"}},
        "items": "orders",
        "item": {"reference": "id", "input": {"registration": "registration"}},
        "paging": {"kind": "next", "expression": "next"},
        "cursor": {"expression": "at"},
        "acknowledge": {"url": f"{partner.url}/ack", "body": {"references": "{references}"}},
        **changes,
    }


def holder(account: Account, id: str) -> str:
    """Who looks at it."""
    return str(until(lambda: account.source(id).get("holder"), "somebody has it in hand")["by"])


def only_second(pair: Pair, account: Account, settings: dict[str, Any]) -> str:
    """A source that collector-2 has in hand, because collector-1 stands still while it is claimed."""
    pair["collector-1"].process.send_signal(signal.SIGSTOP)
    id = account.add("orders", settings)
    assert holder(account, id) == "collector-2"
    pair["collector-1"].process.send_signal(signal.SIGCONT)
    return id


@pytest.mark.parametrize("place", ["/second", "/ack"])
def test_kill_in_the_middle_of_a_page(pair: Pair, other: Account, partner: Partner, place: str) -> None:
    partner.gates[place] = threading.Event()
    id = only_second(pair, other, pages(partner))
    until(lambda: partner.asked(place), f"it asks for {place}")
    assert other.references() == ["1", "2", "3"]  # stored before the partner hears of it
    began = time.monotonic()
    pair["collector-2"].kill()
    partner.gates.pop(place).set()
    look = other.looked(id)
    assert time.monotonic() - began < 10
    assert (look["by"], look["outcome"]) == ("collector-1", "ok")
    assert other.references() == ["1", "2", "3", "4", "5", "6"]
    assert set(partner.acknowledged) == {"1", "2", "3", "4", "5", "6"}
    source = other.source(id)
    assert (source["cursor"], source["position"], source["owed"]) == ("6", None, [])
    assert source["counters"] == {"looks": 1, "came": 6, "taken": 6}
    assert len(partner.asked("/first")) == 1  # it went on where the other one stood


def test_one_that_was_frozen_writes_nothing_any_more(pair: Pair, other: Account, partner: Partner) -> None:
    frozen = pair["collector-2"].process
    partner.gates["/second"] = threading.Event()
    id = only_second(pair, other, pages(partner))
    until(lambda: partner.asked("/second"), "it asks for the second page")
    frozen.send_signal(signal.SIGSTOP)
    try:
        partner.gates.pop("/second").set()
        look = other.looked(id)
        assert look["by"] == "collector-1"
        partner.answers["/first"] = lambda _: (200, {}, {"orders": [], "at": "7", "next": None})
        other.again(id)
        other.looked(id, 2)
    finally:
        frozen.send_signal(signal.SIGCONT)
    dropped = pair["collector-2"].log
    until(lambda: "look dropped" in dropped.read_text(), "the frozen one notices")
    assert other.source(id)["cursor"] == "7"
    assert other.source(id)["counters"]["taken"] == 6
    assert len(other.references()) == 6
    assert len(other.log(id)) == 2


def test_a_stop_hands_over_at_once(pair: Pair, other: Account, partner: Partner) -> None:
    id = only_second(pair, other, {**pages(partner), "schedule": {"every_s": 1}})
    other.looked(id)
    pair["collector-2"].process.send_signal(signal.SIGTERM)
    pair["collector-2"].process.wait(20)
    count = len(other.log(id))
    until(lambda: len(other.log(id)) > count, "collector-1 goes on")
    assert other.log(id)[-1]["by"] == "collector-1"


def test_what_a_collector_could_not_lay_down_is_taken_again(account: Account, partner: Partner) -> None:
    lease = account.db["leases"].find_one({"_id": "collector/collector-1"})
    left = {"by": "collector-1", "lease": lease["token"]}
    id = account.add("orders", pages(partner), holder=left, token=5)
    assert account.looked(id)["_id"] == f"{id}/{6:010d}"


def test_changed_settings_end_the_look_that_was_under_way(account: Account, partner: Partner) -> None:
    other = account
    partner.gates["/second"] = threading.Event()
    id = other.add("orders", pages(partner))
    until(lambda: partner.asked("/second"), "it asks for the second page")
    changes = {"rev": "rev_new", "cursor": "set by a person", "settings.request.url": f"{partner.url}/other"}
    other.db["sources"].update_one({"_id": id}, {"$set": {**changes, "position": None}})
    other.again(id)
    partner.answers["/other"] = lambda _: (200, {}, {"orders": [], "next": None})
    partner.gates.pop("/second").set()
    other.looked(id)
    assert other.source(id)["cursor"] == "set by a person"
    assert len(partner.asked("/other")) == 1
