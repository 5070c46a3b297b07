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
    put_run,
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


def hold_scenario(console: Site, workflow: str, scenario: str) -> None:
    """A scenario that the scheduler holds."""
    text = "its setup failed 5 times in a row; the last time: no page"
    id = f"{ACME}/{workflow}#{scenario}"
    document = {"_id": id, "account": ACME, "workflow": workflow, "scenario": scenario, "state": "open", "failures": 5}
    console.db["circuits"].insert_one({**document, "reason": "setup", "text": text, "at": now(), "run": "run_1"})


def test_a_held_scenario_is_shown_and_its_workflow_stays_open(console: Site, admin: httpx.Client) -> None:
    workflow, other = publish(admin), publish(admin)
    hold_scenario(console, workflow, "certificates")
    row = row_of(admin, workflow)
    assert (row["open"], row["held_since"]) == (True, None)
    (held,) = row["held_scenarios"]
    assert (held["scenario"], held["failures"], held["run"]) == ("certificates", 5, "run_1")
    assert "no page" in held["text"]
    assert row_of(admin, other)["held_scenarios"] == []
    found = admin.get(f"workflows/{ACME}/{workflow}").json()
    assert [one["scenario"] for one in found["held_scenarios"]] == ["certificates"]
    assert found["circuit"] is None, "the workflow itself is not held"


def test_a_robot_whose_run_stands_ready_is_shown_as_warm(console: Site, admin: httpx.Client) -> None:
    ready, busy = "0a0000000051", "0a0000000052"
    for n, worker in enumerate((ready, busy)):
        wait = {"kind": "warm", "due_at": now(), "since": now(), "seq": 1}
        more = {"executor": "executor-1" if n else None, "abort": None, "pending": None}
        run = put_run(console, "task_none", worker, state="waiting", warm=True, wait=wait, **more)
        put_worker(console, worker, ACME, status="running", run=run)

    def warm() -> dict[str, bool] | None:
        rows = {one["id"]: one["warm"] for one in admin.get("workers", params={"limit": 200}).json()["items"]}
        return rows if {ready, busy} <= rows.keys() else None

    rows = until(warm, "both are listed")
    assert (rows[ready], rows[busy]) == (True, False)
    assert admin.get(f"workers/{ready}").json()["warm"] is True


def test_a_run_without_a_robot_is_shown(console: Site, admin: httpx.Client) -> None:
    run = put_run(console, "task_none", "", epoch=0, state="executing")
    console.db["runs"].update_one({"_id": run}, {"$set": {"worker": None}})
    found = admin.get(f"runs/{run}").json()
    assert (found["worker"], found["wants_robot"], found["warm"]) == (None, False, False)


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
