"""The pages of endpoints and deliveries in a real browser, in both languages, and the API behind them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, expect

from services.delivery.core.plan import Event, delivery_document
from tests.integration.console import browsing
from tests.integration.console.site import ACME, Site, answer_commands, now, put_task, until

expect.set_options(timeout=browsing.DEADLINE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser."""
    with browsing.browser() as started:
        yield started


def put_endpoint(console: Site, name: str, **circuit: Any) -> None:
    """An endpoint, made as an admin does; with a circuit as delivery keeps it."""
    with console.client() as admin:
        admin.put(f"endpoints/{ACME}/{name}", json={"url": "https://a.example/hook"}).raise_for_status()
    if circuit:
        console.db["endpoints"].update_one({"_id": f"{ACME}/{name}"}, {"$set": {"circuit": circuit}})


def put_dead(console: Site, endpoint: str) -> str:
    """A delivery that was given up; its id."""
    task = {"_id": put_task(console), "account": ACME, "workflow": "tax", "events": {"failed": 1}}
    made = delivery_document(task, endpoint, Event("failed"), body='{"type":"task.failed"}', at=now())
    attempt = {
        "at": now(),
        "status": 503,
        "duration_s": 0.12,
        "error": "the endpoint answered 503",
        "answer": "<b>no</b>",
    }
    dead = {"state": "dead", "reason": "given up after 1 attempts", "attempts": [attempt], "attempts_made": 1}
    console.db["deliveries"].insert_one({key: one for key, one in {**made, **dead}.items() if key != "lane"})
    return str(made["_id"])


@pytest.mark.parametrize(
    ("language", "title", "down", "again", "test"),
    [
        ("en-US", "Endpoints", "down", "Send again", "Send a test"),
        ("pt-BR", "Destinos", "fora do ar", "Enviar de novo", "Enviar teste"),
    ],
)
def test_what_does_not_get_through_is_seen_tried_and_sent_again(
    console: Site, browser: Browser, language: str, title: str, down: str, again: str, test: str
) -> None:
    name = f"page-{language.lower()}"
    put_endpoint(console, name, open=True, failures=12, opened_at=now(), reason="no answer within 15 s")
    dead = put_dead(console, name)
    with browsing.visiting(browser, console, "otto", language) as page, answer_commands(console) as commands:
        page.goto("/endpoints")
        expect(page.locator("h1")).to_have_text(title)
        row = page.locator("tr", has_text="https://a.example/hook").filter(has_text=name)
        expect(row).to_contain_text(down)
        expect(row).to_contain_text("no answer within 15 s")
        row.get_by_role("button", name=test).click()
        until(lambda: len(commands) == 1, "the test was asked for")
        row.get_by_role("link", name=name).click()
        line = page.locator("tr", has_text="given up after 1 attempts")
        expect(line).to_have_count(1)
        line.get_by_role("link").first.click()
        expect(page.locator("table", has_text="503")).to_contain_text("<b>no</b>")
        expect(page.locator(".code")).to_contain_text("task.failed")
        page.get_by_role("button", name=again).click()
        until(lambda: len(commands) == 2, "the replay was asked for")
    assert [(one["kind"], one["args"]) for one in commands] == [
        ("endpoint.test", {"account": ACME, "endpoint": name}),
        ("delivery.replay", {"ids": [dead]}),
    ]


def test_a_new_secret_is_shown_once_to_an_admin(console: Site, browser: Browser) -> None:
    put_endpoint(console, "page-rotate")
    with browsing.visiting(browser, console, "admin") as page:
        page.goto("/endpoints")
        row = page.locator("tr", has_text="page-rotate")
        row.get_by_role("button", name="Rotate").click()
        page.locator(".q-dialog").get_by_role("button", name="Rotate").click()
        expect(page.locator(".q-dialog")).to_contain_text("whsec_")
    stored = console.db["endpoints"].find_one({"_id": f"{ACME}/page-rotate"}) or {}
    assert len(stored["secrets"]) == 2


def test_the_api_asks_for_roles_and_sees_accounts(console: Site) -> None:
    put_endpoint(console, "page-roles")
    dead = put_dead(console, "page-roles")
    path = f"endpoints/{ACME}/page-roles"

    def call(user: str, method: str, path: str, **more: Any) -> httpx.Response:
        with console.client(user) as client:
            return client.request(method, path, **more)

    assert call("vera", "POST", f"{path}/test").status_code == 403
    assert call("otto", "POST", f"{path}/rotate").status_code == 403
    assert call("vera", "GET", f"deliveries/{dead}").json()["body"] == '{"type":"task.failed"}'
    found = call("vera", "GET", "deliveries", params={"endpoint": "page-roles", "state": "dead"}).json()["items"]
    assert [one["id"] for one in found] == [dead]
    assert call("admin", "PUT", path, json={"url": "http://169.254.169.254/"}).status_code == 422
    assert call("otto", "POST", "deliveries/replay", json={"account": ACME}).status_code == 422
    with answer_commands(console) as commands:
        answer = call("otto", "POST", "deliveries/replay", json={"account": ACME, "workflow": "tax", "event": "failed"})
        assert answer.status_code == 200, answer.text
    assert commands[0]["args"] == {"state": "dead", "account": ACME, "workflow": "tax", "event": "failed"}
