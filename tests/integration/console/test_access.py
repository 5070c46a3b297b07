"""Roles and accounts: who may do what, and that other accounts' things do not exist."""

from __future__ import annotations

import pytest

from tests.integration.console.site import (
    ACME,
    OTHER,
    PASSWORD,
    Site,
    put_decision,
    put_event,
    put_run,
    put_task,
    put_worker,
    workflow_files,
)

ADMIN_ONLY = [
    ("POST", "accounts", {"name": "x"}),
    ("GET", "users", None),
    ("POST", "users", {"user": "x", "password": PASSWORD, "role": "viewer", "accounts": [ACME]}),
    ("PATCH", "users/vera", {"role": "viewer"}),
    ("DELETE", "users/vera", None),
    ("GET", "keys", None),
    ("POST", "keys", {"account": ACME, "partner": "p", "scopes": ["tasks"]}),
    ("POST", "keys/x/rotate", {}),
    ("DELETE", "keys/x", None),
    ("POST", "workflows", {"account": ACME, "files": workflow_files("never")}),
    ("PATCH", "workflows/acme/tax/settings", {"priority": 2}),
    ("GET", "documents", None),
    ("PUT", "documents/acme/portal/x", {"kind": "text", "text": "t"}),
    ("DELETE", "documents/acme/portal/x", None),
    ("PUT", "endpoints/acme/x", {"url": "https://x.example/"}),
    ("DELETE", "endpoints/acme/x", None),
    ("PATCH", "accounts/acme/settings", {"runs": 2}),
    ("PUT", "calendars/acme/x", {"dates": []}),
    ("DELETE", "calendars/acme/x", None),
    ("PUT", "portals/acme/x", {}),
    ("DELETE", "portals/acme/x", None),
]
OPERATOR_ONLY = [
    ("POST", "tasks/x/cancel", None),
    ("POST", "tasks/x/settle", {"outcome": "failed"}),
    ("POST", "runs/x/abort", {}),
    ("POST", "runs/x/stop", {}),
    ("POST", "tasks/x/abort", None),
    ("POST", "workers/x/authorise", None),
    ("POST", "workers/x/revoke", None),
    ("POST", "workers/x/mode", {"mode": "pause"}),
    ("DELETE", "workers/x", None),
    ("POST", "deliveries/replay", {"ids": ["x"]}),
    ("POST", "tasks/x/hold", {"text": "t"}),
    ("POST", "tasks/x/release", None),
    ("POST", "tasks/x/front", None),
    ("POST", "tasks/x/priority", {"priority": 5}),
    ("POST", "queue/actions", {"action": "hold", "filter": {"account": ACME, "workflow": "x"}}),
    ("POST", "queue/count", {"action": "hold", "filter": {"account": ACME, "workflow": "x"}}),
    ("POST", "workflows/acme/x/hold", {"text": "t"}),
    ("POST", "workflows/acme/x/release", None),
    ("POST", "workers/x/config", {"tags": ["sap"]}),
    ("POST", "workers/x/drain", None),
    ("POST", "workers/x/release", None),
    ("POST", "decisions/run_x.00000001/answer", {"answer": "yes"}),
    ("GET", "decisions/run_x.00000001/link", None),
]


@pytest.mark.parametrize("user", ["vera", "otto"])
def test_admin_calls_are_refused_to_others(console: Site, user: str) -> None:
    with console.client(user) as http:
        answers = [
            (method, path, http.request(method, path, json=body).status_code) for method, path, body in ADMIN_ONLY
        ]
    assert [answer for answer in answers if answer[2] != 403] == []


def test_operator_calls_are_refused_to_viewers(console: Site) -> None:
    with console.client("vera") as viewer, console.client("otto") as operator:
        for method, path, body in OPERATOR_ONLY:
            assert viewer.request(method, path, json=body).status_code == 403, path
            assert operator.request(method, path, json=body).status_code == 404, path


def test_without_a_session_nothing_is_shown(console: Site) -> None:
    import httpx

    for method, path, body in [*ADMIN_ONLY, *OPERATOR_ONLY, ("GET", "tasks", None), ("GET", "logs", None)]:
        answer = httpx.request(method, f"{console.url}/api/v1/{path}", json=body)
        assert (path, answer.status_code) == (path, 401)


def test_other_accounts_do_not_exist(console: Site) -> None:
    task = put_task(console, OTHER)
    worker = put_worker(console, "0a0000000001", OTHER)
    run = put_run(console, task, worker, OTHER)
    link = console.db["evidence_links"].find_one({"run": run})
    assert link is not None
    with console.client("olga") as own, console.client("ada") as foreign:
        own.post("workflows", json={"account": OTHER, "files": workflow_files("tax")}).raise_for_status()
        own.put("documents/other/portal/pin", json={"kind": "text", "text": "1234"}).raise_for_status()
        own.put("endpoints/other/results", json={"url": "https://other.example/"}).raise_for_status()
        own.put("calendars/other/days", json={"dates": []}).raise_for_status()
        own.put("portals/other/site", json={}).raise_for_status()
        put_event(console, OTHER)
        decision = put_decision(console, OTHER).replace("/", ".")
        wanted = {"action": "hold", "filter": {"account": OTHER, "workflow": "tax"}}
        bulk = own.post("queue/actions", json=wanted).json()["command"]
        console.db["commands"].update_one({"_id": bulk}, {"$set": {"state": "done"}})
        key = own.post("keys", json={"account": OTHER, "partner": "p", "scopes": ["tasks"]}).json()["id"]
        paths = [
            f"tasks/{task}",
            f"runs/{run}",
            f"runs/{run}/steps",
            f"evidence/{link['_id']}",
            f"workers/{worker}",
            "workflows/other/tax",
            "workflows/other/tax/versions",
            "workflows/other/tax/versions/1",
            "documents/other/portal/pin",
            "endpoints/other/results",
            f"queue/why?task={task}",
            "calendars/other/days",
            "portals/other/site",
            f"queue/actions/{bulk}",
            f"decisions/{decision}",
            f"decisions/{decision}/link",
        ]
        assert [(path, own.get(path).status_code) for path in paths] == [(path, 200) for path in paths]
        assert [(path, foreign.get(path).status_code) for path in paths] == [(path, 404) for path in paths]
        lists = [
            "tasks",
            "runs",
            "workers",
            "workflows",
            "documents",
            "endpoints",
            "keys",
            "queue",
            "queue/actions",
            "calendars",
            "portals",
            "events",
            "decisions",
            "accounts",
            "users",
        ]
        for name in lists:
            assert OTHER not in {one.get("account", one.get("id")) for one in foreign.get(name).json()["items"]}, name
            narrowed = foreign.get(name, params={"account": OTHER}).json()["items"]
            assert OTHER not in {one.get("account") for one in narrowed}, name
        for method, path, body in [
            ("POST", f"tasks/{task}/cancel", None),
            ("POST", f"tasks/{task}/hold", {"text": "mine"}),
            ("POST", "queue/actions", wanted),
            ("POST", "queue/count", wanted),
            ("POST", "workflows/other/tax/hold", None),
            ("POST", f"workers/{worker}/config", {"tags": ["mine"]}),
            ("POST", f"workers/{worker}/drain", None),
            ("PATCH", "accounts/other/settings", {"runs": 1}),
            ("PUT", "calendars/other/days", {"dates": []}),
            ("DELETE", "portals/other/site", None),
            ("POST", f"runs/{run}/abort", {}),
            ("POST", f"runs/{run}/stop", {}),
            ("POST", f"tasks/{task}/abort", None),
            ("POST", f"decisions/{decision}/answer", {"answer": "yes"}),
            ("POST", f"workers/{worker}/revoke", None),
            ("POST", f"keys/{key}/rotate", {}),
            ("DELETE", f"keys/{key}", None),
            ("PUT", "documents/other/portal/pin", {"kind": "text", "text": "x"}),
            ("PUT", "endpoints/other/results", {"url": "https://mine.example/"}),
            ("POST", "workflows", {"account": OTHER, "files": workflow_files("tax")}),
            ("POST", "keys", {"account": OTHER, "partner": "p", "scopes": ["tasks"]}),
            ("DELETE", "users/olga", None),
        ]:
            assert (path, foreign.request(method, path, json=body).status_code) == (path, 404)
    assert console.db["commands"].count_documents({"target": {"$in": [task, run, worker]}}) == 0


def test_nobody_gives_more_than_it_has(console: Site) -> None:
    with console.client("ada") as http:
        for accounts in (["*"], [OTHER], [ACME, OTHER]):
            body = {"user": "eve", "password": PASSWORD, "role": "viewer", "accounts": accounts}
            assert http.post("users", json=body).status_code == 403
        assert http.post("accounts", json={"name": "mine"}).status_code == 403
        assert http.patch("users/ada", json={"accounts": ["*"]}).status_code in (403, 409)
        assert http.patch("users/admin", json={"password": PASSWORD}).status_code in (403, 404)
        assert http.get("cluster").status_code == 403
    assert console.db["users"].find_one({"_id": "eve"}) is None


def test_shared_robots_are_seen_by_all_and_changed_by_users_of_all(console: Site) -> None:
    worker = put_worker(console, "0a0000000002", None)
    with console.client("otto") as operator, console.client("vera") as viewer:
        assert viewer.get(f"workers/{worker}").status_code == 200
        assert operator.post(f"workers/{worker}/revoke").status_code == 403
        assert operator.post(f"workers/{worker}/authorise", json={"account": ACME}).status_code == 403


def test_a_changed_role_counts_at_once(console: Site) -> None:
    with console.client() as admin:
        body = {"user": "temp", "password": PASSWORD, "role": "operator", "accounts": [ACME]}
        admin.post("users", json=body).raise_for_status()
        with console.client("temp") as http:
            assert http.post("tasks/x/cancel").status_code == 404
            admin.patch("users/temp", json={"role": "viewer"}).raise_for_status()
            assert http.get("session").status_code == 401
        admin.delete("users/temp").raise_for_status()
    actions = [one["action"] for one in console.db["audit"].find({"target": "temp"}).sort("at", 1)]
    assert actions == ["user.add", "session.open", "user.change", "user.remove"]
