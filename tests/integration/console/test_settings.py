"""Settings of workflows and accounts, and the calendars and portals that they name."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from tests.integration.console.site import ACME, Site, put_worker, workflow_files

DAYS = {"title": "Brazil", "dates": [{"date": "2026-12-25", "name": "Natal"}, {"date": "2026-01-01"}]}


def fresh(prefix: str = "flow") -> str:
    """A name that no other test has."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def publish(http: httpx.Client, **settings: Any) -> str:
    """A workflow of its own for a test."""
    name = fresh()
    http.post("workflows", json={"account": ACME, "files": workflow_files(name)}).raise_for_status()
    if settings:
        http.patch(f"workflows/{ACME}/{name}/settings", json=settings).raise_for_status()
    return name


def test_every_setting_can_be_changed_and_parts_merge(admin: httpx.Client) -> None:
    path = f"workflows/{ACME}/{publish(admin)}/settings"

    def patch(**change: Any) -> dict[str, Any]:
        answer = admin.patch(path, json=change)
        assert answer.status_code == 200, answer.text
        settings: dict[str, Any] = answer.json()["settings"]
        return settings

    first = patch(priority=3)
    assert patch(aging={"every_s": 3600})["aging"] == {"every_s": 3600.0}
    assert patch(aging={"every": "30m"})["aging"] == {"every_s": 1800.0}
    assert patch(aging=None)["aging"] is None
    assert patch(concurrency={"runs": 2})["concurrency"] == {"runs": 2, "group": 1, "scope": "account"}
    assert patch(concurrency={"group": None})["concurrency"] == {"runs": 2, "group": None, "scope": "account"}
    assert patch(breaker={"failures": None})["breaker"] == {"failures": None, "login_rejected": True}
    assert patch(breaker={"login_rejected": False})["breaker"] == {"failures": None, "login_rejected": False}
    assert patch(retry={"delay": "2m"})["retry"] == {**first["retry"], "delay_s": 120.0}
    assert patch(retry={"attempts": 4})["retry"] == {**first["retry"], "delay_s": 120.0, "attempts": 4}
    window = {"days": ["mon", "holiday"], "start": "22:00", "end": "06:00"}
    limit = {"per": "day", "max": 100, "warn_at": [50, 90], "on_limit": "alert"}
    rest = {"timezone": "America/Sao_Paulo", "windows": [window], "limits": [limit], "tags": ["sap"]}
    last = patch(**rest, count_system_failures=True, price={"currency": "BRL", "per_dispatch": "0.35"})
    assert {name: last[name] for name in rest} == rest
    assert (last["count_system_failures"], last["price"]["currency"], last["priority"]) == (True, "BRL", 3)
    assert patch(price=None, limits=[], windows=[])["limits"] == []


def test_what_is_wrong_with_settings_names_the_field(admin: httpx.Client) -> None:
    path = f"workflows/{ACME}/{publish(admin)}/settings"
    before = admin.get(path.removesuffix("/settings")).json()["settings"]
    for change, field in [
        ({"timezone": ""}, "timezone"),
        ({"windows": [{"days": ["mon"], "start": "24:00", "end": "06:00"}]}, "windows.0"),
        ({"windows": [{"days": ["mon"], "start": 600, "end": "06:00"}]}, "windows.0.start"),
        ({"limits": [{"per": "day", "max": 0}]}, "limits.0.max"),
        ({"limits": [{"per": "day", "max": 1}, {"per": "day", "max": 2}]}, "limits"),
        ({"aging": {"every_s": 0}}, "aging"),
        ({"concurrency": {"runs": 0}}, "concurrency.runs"),
        ({"concurrency": None}, "concurrency"),
        ({"breaker": {"failure": 1}}, "breaker.failure"),
        ({"retry": {"delay": "soon"}}, "retry.delay"),
        ({"priority": None}, "priority"),
        ({"tags": ["Not A Tag"]}, "tags.0"),
    ]:
        answer = admin.patch(path, json=change)
        assert (answer.status_code, field in answer.json()["detail"]) == (422, True), (change, answer.text)
    assert admin.get(path.removesuffix("/settings")).json()["settings"] == before


def test_an_unknown_time_zone_is_refused_in_words(admin: httpx.Client) -> None:
    """It was a fault of the program, because what ZoneInfo raises is a KeyError."""
    for path in (f"workflows/{ACME}/{publish(admin)}/settings", f"accounts/{ACME}/settings"):
        answer = admin.patch(path, json={"timezone": "Mars/Base"})
        assert (answer.status_code, "America/Sao_Paulo" in answer.json()["detail"]) == (422, True), answer.text


def test_settings_of_an_account(console: Site, admin: httpx.Client) -> None:
    def shown() -> dict[str, Any]:
        items = admin.get("accounts").json()["items"]
        return next(one["settings"] for one in items if one["name"] == ACME)

    changes = {"action": "account.settings", "target": ACME}
    audited = console.db["audit"].count_documents(changes)
    console.db["accounts"].update_one({"_id": ACME}, {"$unset": {"settings": 1}})
    defaults = {"timezone": "UTC", "limits": [], "runs": None, "weight": None, "environment": None, "retention": None}
    assert shown() == defaults
    limit = {"per": "month", "max": 5000}
    changed = admin.patch(f"accounts/{ACME}/settings", json={"runs": 4, "limits": [limit]}).json()["settings"]
    assert (changed["runs"], changed["limits"][0]["on_limit"], changed["timezone"]) == (4, "block", "UTC")
    with ThreadPoolExecutor(max_workers=4) as pool:
        ways: list[dict[str, Any]] = [{"weight": 7}, {"timezone": "America/Sao_Paulo"}, {"runs": None}, {"limits": []}]
        codes = list(pool.map(lambda way: admin.patch(f"accounts/{ACME}/settings", json=way).status_code, ways))
    assert codes == [200] * 4
    assert shown() == {**defaults, "timezone": "America/Sao_Paulo", "weight": 7}
    assert admin.patch(f"accounts/{ACME}/settings", json={"weight": 0}).status_code == 422
    assert admin.patch("accounts/none/settings", json={"weight": 1}).status_code == 404
    assert console.db["audit"].count_documents(changes) - audited == 5


def test_calendars_are_put_listed_and_removed(console: Site, admin: httpx.Client) -> None:
    name = fresh("days")
    put = admin.put(f"calendars/{ACME}/{name}", json=DAYS)
    assert put.status_code == 200, put.text
    assert [one["date"] for one in put.json()["dates"]] == ["2026-01-01", "2026-12-25"]
    assert (put.json()["title"], put.json()["updated_by"]) == ("Brazil", "admin")
    stored = console.db["calendars"].find_one({"_id": f"{ACME}/{name}"})
    assert stored is not None
    assert stored["dates"][1] == {"date": "2026-12-25", "name": "Natal"}
    listed = admin.get("calendars", params={"account": ACME, "limit": 200}).json()["items"]
    assert name in {one["name"] for one in listed}
    with console.client("vera") as viewer:
        assert viewer.get(f"calendars/{ACME}/{name}").status_code == 200
    assert admin.put(f"calendars/{ACME}/{name}", json={"dates": [{"date": "2026-13-01"}]}).status_code == 422
    assert admin.put(f"calendars/none/{name}", json=DAYS).status_code == 404
    assert admin.delete(f"calendars/{ACME}/{name}").status_code == 204
    assert admin.delete(f"calendars/{ACME}/{name}").status_code == 404
    actions = [one["action"] for one in console.db["audit"].find({"target": f"{ACME}/{name}"}).sort("at", 1)]
    assert actions == ["calendar.put", "calendar.delete"]


def test_portals_keep_times_in_utc(console: Site, admin: httpx.Client) -> None:
    name = fresh("site")
    late = {"start": "2027-02-01T22:00:00-03:00", "end": "2027-02-02T02:00:00-03:00", "reason": "new release"}
    early = {"start": "2027-01-01T00:00:00Z", "end": "2027-01-01T06:00:00Z"}
    weekly = [{"days": ["sun"], "start": "02:00", "end": "05:00"}]
    body = {"title": "Tax office", "timezone": "America/Sao_Paulo", "weekly": weekly, "maintenance": [late, early]}
    put = admin.put(f"portals/{ACME}/{name}", json=body)
    assert put.status_code == 200, put.text
    assert [one["start"] for one in put.json()["maintenance"]] == ["2027-01-01T00:00:00Z", "2027-02-02T01:00:00Z"]
    stored = console.db["portals"].find_one({"_id": f"{ACME}/{name}"})
    assert stored is not None
    assert stored["maintenance"][1]["start"].isoformat() == "2027-02-02T01:00:00+00:00"
    for wrong in (
        {"maintenance": [{"start": "2027-01-01T00:00:00", "end": "2027-01-01T06:00:00"}]},
        {"maintenance": [{"start": late["end"], "end": late["start"]}]},
        {"maintenance": [{"start": "0001-01-01T00:00:00+05:00", "end": "2027-01-01T06:00:00Z"}]},
    ):
        answer = admin.put(f"portals/{ACME}/{name}", json=wrong)
        assert (answer.status_code, "maintenance" in answer.json()["detail"]) == (422, True), answer.text
    assert admin.delete(f"portals/{ACME}/{name}").status_code == 204


def test_what_is_named_is_not_removed(console: Site, admin: httpx.Client) -> None:
    days, site = fresh("days"), fresh("site")
    admin.put(f"calendars/{ACME}/{days}", json=DAYS).raise_for_status()
    admin.put(f"portals/{ACME}/{site}", json={}).raise_for_status()
    users = sorted(publish(admin, holidays=[days], portals=[site]) for _ in range(2))
    robot = put_worker(console, "0a0000000031", ACME, schedule={"timezone": "UTC", "windows": [], "holidays": [days]})
    refused = admin.delete(f"calendars/{ACME}/{days}")
    assert refused.status_code == 409
    assert all(f"{ACME}/{user}" in refused.json()["detail"] for user in users)
    assert f"robot {robot}" in refused.json()["detail"]
    assert admin.delete(f"portals/{ACME}/{site}").status_code == 409
    console.db["workers"].delete_one({"_id": robot})
    for user in users:
        admin.patch(f"workflows/{ACME}/{user}/settings", json={"holidays": [], "portals": []}).raise_for_status()
    assert admin.delete(f"calendars/{ACME}/{days}").status_code == 204
    assert admin.delete(f"portals/{ACME}/{site}").status_code == 204


def test_naming_and_removing_at_once_never_leaves_a_name_without_its_calendar(
    console: Site, admin: httpx.Client
) -> None:
    workflow = publish(admin)
    path = f"workflows/{ACME}/{workflow}/settings"
    for _ in range(6):
        days = fresh("days")
        admin.put(f"calendars/{ACME}/{days}", json=DAYS).raise_for_status()
        with ThreadPoolExecutor(max_workers=2) as pool:
            named = pool.submit(admin.patch, path, json={"holidays": [days]})
            gone = pool.submit(admin.delete, f"calendars/{ACME}/{days}")
            codes = (named.result().status_code, gone.result().status_code)
        assert codes in ((200, 409), (422, 204))
        names = admin.get(path.removesuffix("/settings")).json()["settings"]["holidays"]
        there = console.db["calendars"].find_one({"_id": f"{ACME}/{days}"}) is not None
        assert (days in names) == there
        admin.patch(path, json={"holidays": []}).raise_for_status()


def test_names_of_nothing_are_refused_with_what_to_do(console: Site, admin: httpx.Client) -> None:
    workflow = publish(admin)
    for change, command in (({"holidays": ["none"]}, "calendar"), ({"portals": ["none"]}, "portal")):
        answer = admin.patch(f"workflows/{ACME}/{workflow}/settings", json=change)
        assert answer.status_code == 422
        assert f"regente {command} put FILE --account {ACME} --name none" in answer.json()["detail"]
    name = fresh()
    files = workflow_files(name)
    files["workflow.yaml"] = files["workflow.yaml"].replace("{priority: 1,", "{priority: 1, holidays: [none],")
    first = admin.post("workflows", json={"account": ACME, "files": files})
    assert (first.status_code, "workflow.yaml: settings.holidays" in first.json()["detail"]) == (422, True)
    assert console.db["workflows"].find_one({"name": name}) is None
    assert console.db["versions"].find_one({"workflow": name}) is None
    admin.post("workflows", json={"account": ACME, "files": workflow_files(name)}).raise_for_status()
    again = admin.post("workflows", json={"account": ACME, "files": files, "settings": True})
    assert again.status_code == 422
    assert admin.get(f"workflows/{ACME}/{name}").json()["current"] == 1
    without = admin.post("workflows", json={"account": ACME, "files": files})
    assert without.json()["number"] == 2, "settings that are not taken are not looked up"
