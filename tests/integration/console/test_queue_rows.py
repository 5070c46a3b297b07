"""The queue's rows: open or not and why, limits used; why a task waits; events."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import httpx

from shared.domain.limits import period
from tests.integration.console.site import (
    ACME,
    Site,
    now,
    put_circuit,
    put_event,
    put_task,
    put_worker,
    until,
    workflow_files,
)

ZONE = "America/Sao_Paulo"


def publish(http: httpx.Client, **settings: Any) -> str:
    """A workflow of its own for a test."""
    name = f"flow-{uuid.uuid4().hex[:8]}"
    http.post("workflows", json={"account": ACME, "files": workflow_files(name)}).raise_for_status()
    if settings:
        http.patch(f"workflows/{ACME}/{name}/settings", json=settings).raise_for_status()
    return name


def row_of(http: httpx.Client, workflow: str) -> dict[str, Any]:
    """The queue's row of a workflow; rows are kept for a second, so a fresh workflow may have none yet."""

    def find() -> dict[str, Any] | None:
        rows = http.get("queue", params={"limit": 200}).json()["items"]
        return next((one for one in rows if one["workflow"] == workflow), None)

    found: dict[str, Any] = until(find, "the workflow has a row")
    return found


def test_an_open_workflow_and_its_limits(console: Site, admin: httpx.Client) -> None:
    limits = [{"per": "day", "max": 10}, {"per": "hour", "max": 4, "on_limit": "alert"}]
    workflow = publish(admin, timezone=ZONE, limits=limits)
    today = period("day", now(), ZONE)
    about = {"account": ACME, "workflow": workflow, "per": "day"}
    used = [
        {"_id": f"{ACME}/{workflow}/day/{today}", **about, "period": today, "used": 7},
        {"_id": f"{ACME}/{workflow}/day/2020-01-01", **about, "period": "2020-01-01", "used": 9},
    ]
    console.db["usage"].insert_many([{**one, "expires_at": now() + timedelta(days=2)} for one in used])
    row = row_of(admin, workflow)
    assert (row["open"], row["why"], row["held_since"]) == (True, None, None)
    assert row["limits"] == [
        {"per": "day", "max": 10, "used": 7, "on_limit": "block"},
        {"per": "hour", "max": 4, "used": 0, "on_limit": "alert"},
    ]


def test_a_limit_that_is_used_up_closes_and_says_so(console: Site, admin: httpx.Client) -> None:
    workflow = publish(admin, limits=[{"per": "month", "max": 2}])
    month = period("month", now(), "UTC")
    about = {"account": ACME, "workflow": workflow, "per": "month", "period": month, "used": 2}
    console.db["usage"].insert_one({"_id": f"{ACME}/{workflow}/month/{month}", **about})
    row = row_of(admin, workflow)
    assert (row["open"], row["reason"]) == (False, "limit")
    assert "limit of 2 tasks per month" in row["why"]


def test_a_held_workflow_says_why_and_since_when(console: Site, admin: httpx.Client) -> None:
    workflow = publish(admin)
    at = now() - timedelta(minutes=5)
    put_circuit(console, workflow, at=at, text="the portal refused the log-in", reason="login_rejected")
    row = row_of(admin, workflow)
    assert (row["open"], row["reason"]) == (False, "held")
    assert "the portal refused the log-in" in row["why"]
    assert row["held_since"] == at.isoformat().replace("+00:00", "Z")
    released = publish(admin)
    put_circuit(console, released, state="closed", failures=0)
    again = row_of(admin, released)
    assert (again["open"], again["held_since"]) == (True, None)


def test_why_gives_facts_and_a_forecast(console: Site, admin: httpx.Client) -> None:
    workflow = publish(admin)
    put_worker(console, "0a0000000041", ACME, status="running", run="run_x")
    for _ in range(3):
        put_task(console, workflow=workflow)
    last = put_task(console, workflow=workflow, deadline=now() + timedelta(days=3))
    why = admin.get("queue/why", params={"task": last}).json()
    assert why["why"] == admin.get(f"tasks/{last}").json()["why_waiting"]
    assert why["facts"]["ahead"] >= 3
    assert why["facts"]["gate"]["open"] is True
    assert set(why["forecast"]) == {"starts_at", "ends_at", "deadline_kept", "text"}
    put_circuit(console, workflow, text="certificate revoked")
    held = admin.get("queue/why", params={"task": last}).json()
    assert "certificate revoked" in held["why"]
    assert held["facts"]["gate"]["open"] is False
    done = admin.get("queue/why", params={"task": put_task(console, state="succeeded")}).json()
    assert (done["state"], done["forecast"]) == ("succeeded", None)


def test_events_are_listed_newest_first_and_filtered(console: Site, admin: httpx.Client) -> None:
    target = f"{ACME}/flow-{uuid.uuid4().hex[:8]}"
    at = now()
    events = [
        put_event(console, ACME, target=target, at=at - timedelta(minutes=n), severity=severity, kind=kind)
        for n, (severity, kind) in enumerate(
            [("error", "workflow_held"), ("warning", "limit_warning"), ("info", "workflow_released")]
        )
    ]
    shared = put_event(console, None, target="0a0000000042", kind="robot_quarantined")
    found = admin.get("events", params={"target": target, "limit": 2})
    assert [one["id"] for one in found.json()["items"]] == events[:2]
    rest = admin.get("events", params={"target": target, "cursor": found.json()["next"]}).json()
    assert ([one["id"] for one in rest["items"]], rest["next"]) == (events[2:], None)
    for params, wanted in [
        ({"severity": "error"}, events[:1]),
        ({"kind": "limit_warning"}, events[1:2]),
        ({"account": ACME}, events),
        ({"account": "other"}, []),
    ]:
        items = admin.get("events", params={"target": target, **params}).json()["items"]
        assert [one["id"] for one in items] == wanted, params
    assert admin.get("events", params={"severity": "awful"}).status_code == 422
    assert admin.get("events", params={"target": "0a0000000042"}).json()["items"][0]["id"] == shared
    with console.client("vera") as viewer:
        assert [one["id"] for one in viewer.get("events", params={"target": target}).json()["items"]] == events
        assert viewer.get("events", params={"target": "0a0000000042"}).json()["items"] == []
