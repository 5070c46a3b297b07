"""What partners see of their deliveries, and how they send dead ones again."""

from __future__ import annotations

import pytest

from tests.integration.collector.running import until
from tests.integration.delivery.conftest import Account, Answer


def test_a_partner_sees_every_attempt_and_pages_through(account: Account) -> None:
    account.endpoint(schedule_s=[0.05])
    account.side.will(account.path, Answer(500, body=b"no room"), Answer(500, body=b"still none"))
    dead = account.finish()
    account.until_delivery(dead, "dead")
    for id in [account.finish() for _ in range(3)]:
        account.until_delivery(id, "delivered")
    (shown,) = account.http.get("/v1/deliveries", params={"endpoint": "hook", "state": "dead"}).json()["items"]
    assert (shown["task"], shown["type"], shown["attempts_made"]) == (dead, "task.succeeded", 2)
    assert [(one["status"], one["answer"]) for one in shown["attempts"]] == [(500, "no room"), (500, "still none")]
    assert all(one["duration_s"] >= 0 and one["error"] for one in shown["attempts"])
    whole = account.http.get(f"/v1/deliveries/{shown['id']}").json()
    assert whole["body"] == account.side.got(account.path)[0].body.decode()
    seen, cursor = [], None
    while True:
        page = account.http.get("/v1/deliveries", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        seen += [one["id"] for one in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 4
    assert seen[-1] == shown["id"], "newest first"


def test_dead_ones_are_sent_again_one_or_all_that_match(account: Account) -> None:
    account.endpoint(schedule_s=[], breaker_failures=0)
    account.side.will(account.path, *[Answer(500)] * 4)
    ids = [account.finish() for _ in range(4)]
    for id in ids:
        account.until_delivery(id, "dead")
    one = account.http.post("/v1/deliveries/replay", json={"ids": [f"{ids[0]}:hook:succeeded"]})
    assert (one.status_code, one.json()) == (200, {"replayed": 1})
    account.until_delivery(ids[0], "delivered")
    assert account.http.post("/v1/deliveries/replay", json={"event": "held"}).json() == {"replayed": 0}
    rest = account.http.post("/v1/deliveries/replay", json={"endpoint": "hook", "workflow": "tax"})
    assert rest.json() == {"replayed": 3}
    for id in ids:
        account.until_delivery(id, "delivered")


@pytest.mark.parametrize("body", [{}, {"ids": []}, {"endpoint": "NO"}, {"account": "other"}, {"created_after": "x"}])
def test_a_replay_that_says_nothing_is_refused(account: Account, body: dict[str, object]) -> None:
    assert account.http.post("/v1/deliveries/replay", json=body).status_code == 422


def test_other_accounts_deliveries_are_not_seen_and_not_replayed(account: Account) -> None:
    account.endpoint(schedule_s=[])
    account.side.will(account.path, Answer(500))
    id = account.finish()
    dead = account.until_delivery(id, "dead")
    key = account.ground.key("somebody", "endpoints")
    assert account.http.get(f"/v1/deliveries/{dead['_id']}", headers=key).status_code == 404
    assert account.http.get("/v1/deliveries", headers=key).json()["items"] == []
    replay = account.http.post("/v1/deliveries/replay", json={"ids": [dead["_id"]]}, headers=key)
    assert replay.json() == {"replayed": 0}
    assert account.http.get("/v1/deliveries", headers=account.ground.key(account.name, "results")).status_code == 403


def test_an_endpoint_is_put_with_all_that_it_has_and_shown_so(account: Account) -> None:
    settings = {
        "url": "https://a.example/x", "events": ["decision", "held"], "signatures": ["v1", "v1a"],
        "schedule_s": [1, 60], "concurrency": 2, "breaker_failures": 7, "evidence": "inline",
        "inline_size_bytes_max": 1000,
    }  # fmt: skip
    assert account.http.put("/v1/endpoints/full", json=settings).status_code == 201
    shown = account.http.get("/v1/endpoints/full").json()
    assert {name: shown[name] for name in settings} == {**settings, "schedule_s": [1.0, 60.0]}
    assert (shown["kind"], shown["enabled"], len(shown["public_keys"])) == ("webhook", True, 1)
    account.http.put("/v1/endpoints/full", json={"url": "https://a.example/y"}).raise_for_status()
    bare = account.http.get("/v1/endpoints/full").json()
    assert (bare["signatures"], bare["schedule_s"], bare["concurrency"]) == (["v1"], None, None)
    assert account.http.get("/v1/endpoints/none").status_code == 404
    wrong = [{"signatures": []}, {"concurrency": 0}, {"schedule_s": [-1]}, {"events": ["x"]}, {"kind": "pigeon"}]
    for one in wrong:
        assert account.http.put("/v1/endpoints/full", json={"url": "https://a.example/", **one}).status_code == 422
    assert account.http.put("/v1/endpoints/full", json={}).status_code == 422
    until(lambda: account.db["audit"].count_documents({"account": account.name}) == 2, "both changes are audited")
