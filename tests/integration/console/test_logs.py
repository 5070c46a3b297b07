"""Log lines: whose they are, filters, following."""

from __future__ import annotations

import uuid
from datetime import timedelta

import httpx

from tests.integration.console.site import ACME, Site, now, put_log


def test_two_robots_lines_never_mix(console: Site, admin: httpx.Client) -> None:
    one, two = (f"0b{uuid.uuid4().hex[:10]}" for _ in range(2))
    for n in range(10):
        put_log(console, f"line {n}", service="agent", instance=None, worker=(one, two)[n % 2], account=ACME)
    for worker in (one, two):
        lines = admin.get("logs", params={"worker": worker}).json()["items"]
        assert {line["worker"] for line in lines} == {worker}
        assert len(lines) == 5


def test_filters_and_order(console: Site, admin: httpx.Client) -> None:
    run = f"run_{uuid.uuid4().hex}"
    at = now()
    for n, level in enumerate(["debug", "info", "warning", "error"]):
        put_log(console, level, run=run, level=level, at=at - timedelta(seconds=4 - n), service="executor")
    assert [one["event"] for one in admin.get("logs", params={"run": run}).json()["items"]] == [
        "debug",
        "info",
        "warning",
        "error",
    ]
    severe = admin.get("logs", params={"run": run, "level": "warning"}).json()["items"]
    assert [one["event"] for one in severe] == ["warning", "error"]
    assert admin.get("logs", params={"run": run, "service": "delivery"}).json()["items"] == []
    newest = admin.get("logs", params={"run": run, "limit": 2}).json()["items"]
    assert [one["event"] for one in newest] == ["warning", "error"]


def test_following_gives_each_line_once_and_late_ones_too(console: Site, admin: httpx.Client) -> None:
    worker = f"0b{uuid.uuid4().hex[:10]}"
    put_log(console, "first", worker=worker)
    position = admin.get("logs", params={"worker": worker}).json()["next"]
    assert admin.get("logs", params={"worker": worker, "after": position}).json()["items"] == []
    put_log(console, "second", worker=worker)
    put_log(console, "kept while offline", worker=worker, at=now() - timedelta(seconds=5))
    found = admin.get("logs", params={"worker": worker, "after": position}).json()
    assert [one["event"] for one in found["items"]] == ["second"]
    again = admin.get("logs", params={"worker": worker, "after": position, "overlap_s": 20}).json()
    assert [one["event"] for one in again["items"]] == ["kept while offline", "first", "second"]
    assert again["next"] == found["next"]


def test_lines_of_no_account_are_for_users_of_all(console: Site) -> None:
    run = f"run_{uuid.uuid4().hex}"
    put_log(console, "internal", run=run)
    put_log(console, "of the account", run=run, account=ACME)
    with console.client("vera") as viewer, console.client("ole") as everywhere:
        assert [one["event"] for one in viewer.get("logs", params={"run": run}).json()["items"]] == ["of the account"]
        assert len(everywhere.get("logs", params={"run": run}).json()["items"]) == 2


def test_the_consoles_own_lines_arrive(console: Site, admin: httpx.Client) -> None:
    from tests.integration.console.site import until

    def there() -> list[str]:
        return [one["event"] for one in admin.get("logs", params={"service": "console"}).json()["items"]]

    assert until(there, "a line of the console")
