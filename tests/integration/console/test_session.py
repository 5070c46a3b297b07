"""Log-in, log-out, and what stands between a request and the data."""

from __future__ import annotations

from datetime import timedelta

import httpx

from tests.integration.console.site import PASSWORD, Site, now


def test_log_in_and_out(console: Site) -> None:
    with httpx.Client(base_url=f"{console.url}/api/v1/") as http:
        opened = http.post("session", json={"user": "vera", "password": PASSWORD})
        assert opened.status_code == 201
        assert opened.json()["role"] == "viewer"
        headers = {"Authorization": f"Bearer {opened.json()['token']}"}
        assert http.get("session", headers=headers).json() == {"user": "vera", "role": "viewer", "accounts": ["acme"]}
        assert http.delete("session", headers=headers).status_code == 204
        gone = http.get("session", headers=headers)
        assert gone.status_code == 401
        assert gone.headers["content-type"] == "application/problem+json"
        assert gone.headers["www-authenticate"] == "Bearer"


def test_token_is_stored_as_its_hash_only(console: Site) -> None:
    token = console.token("vera")
    assert console.db["sessions"].find_one({"_id": token}) is None
    assert token not in str(list(console.db["sessions"].find()))


def test_wrong_password_and_unknown_user_look_the_same(console: Site) -> None:
    answers = [
        httpx.post(f"{console.url}/api/v1/session", json={"user": user, "password": "wrong password 1"})
        for user in ("vera", "nobody-of-that-name")
    ]
    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].json() == answers[1].json()


def test_five_failures_bring_a_pause_for_this_user_only(console: Site) -> None:
    body = {"user": "limited", "password": "wrong password 1"}
    answers = [httpx.post(f"{console.url}/api/v1/session", json=body) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert int(answers[-1].headers["retry-after"]) > 0
    right = httpx.post(f"{console.url}/api/v1/session", json={"user": "vera", "password": PASSWORD})
    assert right.status_code == 201


def test_expired_session_is_none(console: Site) -> None:
    opened = httpx.post(f"{console.url}/api/v1/session", json={"user": "vera", "password": PASSWORD}).json()
    newest = console.db["sessions"].find_one({"user": "vera"}, sort=[("opened_at", -1)])
    assert newest is not None
    console.db["sessions"].update_one({"_id": newest["_id"]}, {"$set": {"expires_at": now() - timedelta(seconds=1)}})
    headers = {"Authorization": f"Bearer {opened['token']}"}
    assert httpx.get(f"{console.url}/api/v1/session", headers=headers).status_code == 401


def test_cookie_reads_but_never_writes(console: Site) -> None:
    cookies = {"regente_session": console.token("admin")}
    with httpx.Client(base_url=f"{console.url}/api/v1/", cookies=cookies) as http:
        assert http.get("accounts").status_code == 200
        assert http.post("accounts", json={"name": "by-cookie"}).status_code == 401
    assert console.db["accounts"].find_one({"_id": "by-cookie"}) is None


def test_everything_below_api_answers_with_problems(console: Site) -> None:
    for method, path, status in [
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/api/nothing", 404),
        ("PUT", "/api/v1/tasks", 405),
        ("POST", "/api/v1/session", 400),
    ]:
        content = b"{broken" if method == "POST" else None
        headers = {"Content-Type": "application/json"}
        answer = httpx.request(method, console.url + path, content=content, headers=headers)
        assert (path, answer.status_code) == (path, status)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
    assert "GET" in httpx.put(f"{console.url}/api/v1/tasks").headers["allow"]
