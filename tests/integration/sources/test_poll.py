"""Polling a real HTTP server: pages, cursors, authentication, acknowledgements, and what a partner's faults lead to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.integration.collector.running import until
from tests.integration.sources.conftest import Account
from tests.integration.sources.partner import Partner, Seen


def poll(partner: Partner, path: str = "/orders", **changes: Any) -> dict[str, Any]:
    """Settings of a poller of orders."""
    request = {"url": f"{partner.url}{path}", "params": {"size": "2"}, **changes.pop("request", {})}
    return {
        "kind": "poll",
        "schedule": {"every_s": 3600},
        "request": request,
        "items": "orders",
        "item": {"reference": "id", "input": {"registration": "registration"}},
        **changes,
    }


def test_pages_by_link_become_tasks_and_the_cursor_is_kept(account: Account, partner: Partner) -> None:
    partner.add(5)
    params = {"size": "2", "after": "{cursor}"}
    settings = poll(
        partner, paging={"kind": "link"}, cursor={"expression": "last"}, request={"params": params},
        acknowledge={"url": f"{partner.url}/ack", "body": {"references": "{references}", "count": "{count}"}},
    )  # fmt: skip
    id = account.add("orders", settings)
    look = account.looked(id)
    assert account.references() == ["1", "2", "3", "4", "5"]
    assert (look["outcome"], look["came"], look["taken"], look["pages"], look["acknowledged"]) == ("ok", 5, 5, 3, 3)
    assert partner.acknowledged == ["1", "2", "3", "4", "5"]
    assert {task["source"] for task in account.tasks()} == {id}
    assert "after" not in partner.asked("/orders")[0].query
    partner.add(2, start=6)
    account.again(id)
    look = account.looked(id, 2)
    assert (look["came"], look["taken"]) == (2, 2)
    assert partner.asked("/orders")[3].query["after"] == "2026-01-01T00:00:000005"
    source = account.source(id)
    assert (source["cursor"], source["position"]) == ("2026-01-01T00:00:000007", None)
    assert source["counters"] == {"looks": 2, "came": 7, "taken": 7}
    assert source["next_at"] > datetime.now(UTC) + timedelta(minutes=50)


@pytest.mark.parametrize(
    "paging",
    [
        {"kind": "next", "expression": "next"},
        {"kind": "offset", "param": "offset", "size": 2, "size_param": "size"},
        {"kind": "page", "param": "page", "size": 2},
    ],
)
def test_every_kind_of_paging_comes_to_the_end(account: Account, partner: Partner, paging: dict[str, Any]) -> None:
    partner.add(5)
    if paging["kind"] == "page":
        page = partner.answer

        def numbered(one: Seen) -> Any:
            partner.answers.pop("/orders")
            offset = str((int(one.query["page"]) - 1) * 2)
            answer = page(Seen(one.method, one.path, {**one.query, "offset": offset}, one.headers, None))
            partner.answers["/orders"] = numbered
            return answer

        partner.answers["/orders"] = numbered
    id = account.add("orders", poll(partner, paging=paging))
    assert account.looked(id)["pages"] == 3
    assert account.references() == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("moves", ["look", "page"])
@pytest.mark.parametrize("paging", [{"kind": "link"}, {"kind": "offset", "size": 2, "size_param": "size"}])
def test_more_pages_than_one_look_may_go_on_at_once(
    account: Account, partner: Partner, paging: dict[str, Any], moves: str
) -> None:
    partner.add(7)
    settings = poll(
        partner, paging=paging, pages_max=2, cursor={"expression": "last", "moves": moves},
        request={"params": {"size": "2", "after": "{cursor}"}},
    )  # fmt: skip
    id = account.add("orders", settings)
    account.looked(id, 2)
    assert len(account.references()) == 7
    assert [look["pages"] for look in account.log(id)] == [2, 2]
    assert account.source(id)["cursor"] == "2026-01-01T00:00:000007"


def test_items_that_do_not_fit_are_told_and_block_nothing(account: Account, partner: Partner) -> None:
    partner.add(2)
    partner.orders.insert(1, {"id": 9, "registration": "no digits", "at": "2026-01-01T00:00:000001"})
    partner.orders.append({"registration": "4", "at": "2026-01-01T00:00:000004"})
    id = account.add("orders", poll(partner, cursor={"expression": "last"}, request={"params": {"after": "{cursor}"}}))
    look = account.looked(id)
    assert (look["taken"], look["refused"]) == (2, 2)
    assert [(one["reference"], one["errors"][0]["path"]) for one in look["refusals"]] == [
        ("9", "/input/registration"), (None, "/reference")
    ]  # fmt: skip
    assert account.source(id)["cursor"] == "2026-01-01T00:00:000004"


def test_each_task_is_acknowledged_by_itself_and_again_until_it_works(account: Account, partner: Partner) -> None:
    partner.add(3)
    partner.answers["/ack/2"] = lambda _: (500, {}, None)
    settings = poll(
        partner, request={"params": {}}, acknowledge={"per": "task", "url": f"{partner.url}/ack/{{reference}}"}
    )
    id = account.add("orders", settings)
    look = account.looked(id)
    assert (look["outcome"], look["taken"]) == ("failed", 3)
    assert "the acknowledgement answered 500" in look["reason"]
    assert account.source(id)["owed"] == [{"reference": "2", "id": account.tasks()[1]["_id"], "cursor": None}]
    partner.answers.clear()
    partner.orders.clear()
    account.again(id)
    account.looked(id, 2)
    assert sorted(partner.acknowledged) == ["1", "2", "3"]
    assert account.source(id)["owed"] == []


def test_an_acknowledgement_that_is_refused_for_good_blocks_nothing(account: Account, partner: Partner) -> None:
    partner.add(3)
    partner.answers["/ack/2"] = lambda one: (422, {}, {"error": "I do not like it"})
    acknowledge = {"per": "task", "url": f"{partner.url}/ack/{{reference}}"}
    id = account.add("orders", poll(partner, request={"params": {}}, acknowledge=acknowledge))
    look = account.looked(id)
    assert (look["outcome"], look["acknowledged"]) == ("ok", 2)
    assert "refused for good (answered 422)" in look["words"][0]
    partner.orders.clear()
    partner.add(1, start=4)
    account.again(id)
    assert account.looked(id, 2)["taken"] == 1
    assert sorted(partner.acknowledged) == ["1", "3", "4"]
    source = account.db["sources"].find_one({"_id": id})
    assert [(one["status"], one["values"]["reference"]) for one in source["unacknowledged"]] == [(422, "2")]
    assert source["owed"] == []
    events = list(account.db["events"].find({"target": id}))
    assert [(one["kind"], one["severity"]) for one in events] == [("source_unacknowledged", "warning")]
    assert "answered 422" in events[0]["text"]


def test_oauth_tokens_are_kept_and_asked_for_once_more_when_refused(account: Account, partner: Partner) -> None:
    partner.add(1)
    account.document("client", {"kind": "login", "user": "client!", "password": "s3cret"})
    auth = {"kind": "oauth2", "token_url": f"{partner.url}/token", "client": "client", "scope": "orders"}
    id = account.add("orders", poll(partner, "/secure", auth=auth))
    assert account.looked(id)["outcome"] == "ok"
    account.again(id)
    assert account.looked(id, 2)["outcome"] == "ok"
    assert partner.tokens == 1
    partner.tokens += 1  # the token that it gave is no good any more
    account.again(id)
    assert account.looked(id, 3)["outcome"] == "ok"
    assert partner.tokens == 3
    assert partner.asked("/token")[0].body == "grant_type=client_credentials&scope=orders"
    partner.answers["/secure"] = lambda _: (401, {}, None)
    account.again(id)
    look = account.looked(id, 4)
    assert look["outcome"] == "failed"
    assert "does not accept the authentication" in look["reason"]
    assert len(partner.asked("/token")) == 3


def test_the_other_kinds_of_authentication(account: Account, partner: Partner) -> None:
    partner.add(1)
    account.document("login", {"kind": "login", "user": "client!", "password": "s3cret"})
    account.document("key", {"kind": "text", "text": "v4lue"})
    basic = account.add("basic", poll(partner, "/basic", auth={"kind": "basic", "login": "login"}))
    header = {"kind": "header", "name": "X-Key", "value": "key", "prefix": "Key "}
    key = account.add("key", poll(partner, "/key", auth=header))
    missing = account.add("missing", poll(partner, "/key", auth={"kind": "bearer", "token": "nobody"}))
    assert (account.looked(basic)["outcome"], account.looked(key)["outcome"]) == ("ok", "ok")
    assert "no document 'nobody'" in account.looked(missing)["reason"]
    assert "v4lue" not in str(account.log(key)) + str(account.source(key))


def test_a_partner_that_fails_is_asked_ever_more_rarely_and_somebody_is_told(
    account: Account, partner: Partner
) -> None:
    partner.answers["/orders"] = lambda _: (503, {"retry-after": "120"}, None)
    id = account.add("orders", poll(partner))
    for n in (1, 2, 3):
        look = account.looked(id, n)
        assert "answered 503 and asks to wait 120 s" in look["reason"]
        assert account.source(id)["next_at"] > datetime.now(UTC) + timedelta(seconds=115)
        account.again(id)
    account.looked(id, 4)
    events = list(account.db["events"].find({"target": id}))
    assert [event["kind"] for event in events] == ["source_down"]
    assert account.source(id)["failures"] == 4
    partner.answers.clear()
    account.again(id)
    account.looked(id, 5)
    kinds = [event["kind"] for event in account.db["events"].find({"target": id}).sort("at", 1)]
    assert kinds == ["source_down", "source_up"]
    assert (account.source(id)["failures"], account.source(id)["down"]) == (0, None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"request": {"url": "http://169.254.169.254/latest/meta-data"}}, "is a metadata address"),
        ({"request": {"url": "http://10.0.0.1/orders"}}, "is a private address"),
        ({"request": {"url": "http://0x7f.1/orders"}}, "four decimal numbers"),
        ({"request": {"url": "http://[::ffff:10.0.0.1]/orders"}}, "is a private address"),
        ({"auth": {"kind": "oauth2", "token_url": "http://192.168.1.1/token", "client": "login"}}, "private address"),
        ({"acknowledge": {"url": "http://10.0.0.1/ack"}}, "is a private address"),
    ],
)
def test_nothing_is_sent_to_addresses_that_are_not_allowed(
    account: Account, partner: Partner, change: dict[str, Any], said: str
) -> None:
    partner.add(1)
    account.document("login", {"kind": "login", "user": "client!", "password": "s3cret"})
    id = account.add("orders", {**poll(partner), **change})
    look = account.looked(id)
    assert look["outcome"] == "failed"
    assert said in look["reason"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((302, {"location": "http://127.0.0.1/"}, None), "redirects are not followed"),
        ((200, {}, b"<html>"), "can't be read"),
        ((200, {}, {"orders": {"a": 1}}), "gives no list"),
        ((200, {"link": '<http://127.0.0.1:1/x>; rel="next"'}, {"orders": []}), "is on another server"),
        ((200, {"link": '<?size=2>; rel="next"'}, {"orders": []}), "this page again"),
        ((200, {}, b"[" + b"1," * 600_000 + b"1]"), "bytes"),
        ((200, {"content-encoding": "gzip"}, b"no gzip"), "127.0.0.1: "),
    ],
)
def test_answers_that_are_no_pages_fail_the_look(account: Account, partner: Partner, answer: Any, said: str) -> None:
    partner.answers["/orders"] = lambda _: answer
    id = account.add("orders", poll(partner, paging={"kind": "link"}, page_bytes_max=1_000_000))
    look = account.looked(id)
    assert look["outcome"] == "failed"
    assert said in look["reason"]


def test_who_wants_a_look_gets_it_and_hears_what_came(account: Account, partner: Partner) -> None:
    partner.add(2)
    id = account.add("orders", poll(partner), due=False, enabled=False)
    now = datetime.now(UTC)
    command = {
        "_id": f"cmd_{account.name}", "kind": "source.run", "to": "collector", "target": id, "args": {}, "by": "otto",
        "state": "pending", "reason": None, "claims": 0, "created_at": now, "due_at": now,
    }  # fmt: skip
    account.db["commands"].insert_one(command)
    ended = until(lambda: account.db["commands"].find_one({"_id": command["_id"], "state": "done"}), "it is done")
    assert ended["reason"] == "2 taken, 0 there before, 0 refused"
    assert account.looked(id)["asked_by"] == "otto"
    assert account.source(id)["next_at"] is None  # it is still switched off
