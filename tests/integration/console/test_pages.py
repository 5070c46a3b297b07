"""The pages in a real browser: log-in, fleet, a run as it happens, the live log, a decision, Portuguese."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser, expect

from tests.integration.console import browsing
from tests.integration.console.site import (
    ACME,
    PASSWORD,
    Site,
    answer_commands,
    now,
    put_evidence,
    put_log,
    put_run,
    put_task,
    put_worker,
    workflow_files,
)

expect.set_options(timeout=browsing.DEADLINE_MS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of the pages."""
    with browsing.browser() as started:
        yield started


@pytest.fixture(scope="module", autouse=True)
def published(console: Site) -> None:
    """The workflow that runs and tasks name."""
    with console.client() as admin:
        admin.post("workflows", json={"account": ACME, "files": workflow_files("tax")}).raise_for_status()


def test_log_in_leads_where_one_wanted_to_go_and_log_out_ends_it(console: Site, browser: Browser) -> None:
    context = browser.new_context(base_url=console.url, locale="en-US")
    page = context.new_page()
    page.goto("/fleet")
    page.get_by_label("User").fill("vera")
    page.get_by_label("Password").fill("wrong password 1")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_have_text("User or password is wrong.")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.locator("h1")).to_have_text("Robots")
    (cookie,) = [one for one in context.cookies() if one.get("name") == "regente_session"]
    assert (cookie.get("httpOnly"), cookie.get("sameSite")) == (True, "Lax")
    page.get_by_title("Log out").click()
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    page.goto("/tasks")
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    context.close()


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example"])
def test_log_in_never_leads_away(console: Site, target: str) -> None:
    form = {"user": "vera", "password": PASSWORD, "next": target}
    answer = httpx.post(f"{console.url}/login", data=form)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    foreign = httpx.post(f"{console.url}/login", data=form, headers={"Sec-Fetch-Site": "cross-site"})
    assert (foreign.status_code, "set-cookie" in foreign.headers) == (403, False)


def test_robot_is_authorised_after_a_question(console: Site, browser: Browser) -> None:
    worker = put_worker(console, "0c0000000001", None, name="desk-new", authorisation="pending", connected=False)
    with browsing.visiting(browser, console, "admin") as page, answer_commands(console) as commands:
        page.goto("/fleet")
        row = page.locator("tr", has_text=worker)
        row.get_by_role("button", name="Authorise").click()
        dialog = page.locator(".q-dialog")
        expect(dialog).to_contain_text("desk-new")
        dialog.get_by_role("button", name="Authorise").click()
        expect(page.locator(".q-notification")).to_contain_text("Done.")
        assert [(one["kind"], one["target"], one["args"]) for one in commands] == [
            ("worker.authorise", worker, {"account": None})
        ]
        put_worker(console, worker, ACME, name="desk-new", status="running")
        expect(row.get_by_text("running")).to_be_visible()
        row.get_by_role("button", name="Revoke").click()
        page.locator(".q-dialog").get_by_role("button", name="No").click()
        expect(page.locator(".q-dialog")).to_have_count(0)
    assert len(commands) == 1


def test_viewers_have_no_buttons(console: Site, browser: Browser) -> None:
    put_worker(console, "0c0000000002", ACME)
    with browsing.visiting(browser, console, "vera") as page:
        page.goto("/fleet")
        expect(page.locator("tr", has_text="0c0000000002")).to_be_visible()
        expect(page.locator("[data-action]")).to_have_count(0)


def test_run_page_follows_and_marks_the_line(console: Site, browser: Browser) -> None:
    task = put_task(console, state="running")
    run = put_run(
        console, task, put_worker(console, "0c0000000003", ACME), state="executing", finished_at=None, end=None
    )
    with browsing.visiting(browser, console, "admin") as page:
        page.goto(f"/runs/{run}")
        expect(page.locator("tr.step.here")).to_contain_text("tax.py:14")
        expect(page.locator(".source tr.here .no")).to_have_text("14")
        failed = page.locator("tr.step", has_text="tax.py:11")
        expect(failed).to_contain_text("TIMEOUT: the button did not appear")
        picture = page.locator("tr.step", has_text="screen.evidence").locator("img")
        expect(picture).to_have_js_property("complete", True)
        assert picture.evaluate("image => image.naturalWidth") == 1
        failed.click()
        expect(page.locator(".source tr.here .no")).to_have_text("11")
        step = {"_id": f"{run}/00000007", "run": run, "seq": 7, "token": 1, "kind": "instruction", "at": now()}
        asked = {"name": "browser.text", "args": {}, "effect": "read", "commit": False, "script": "tax.py", "line": 13}
        console.db["steps"].insert_one({**step, "phase": "task", "task": task, "attempt": 1, "instruction": asked})
        expect(page.locator("tr.step", has_text="browser.text")).to_contain_text("running")
        page.get_by_role("button", name="Follow").click()
        expect(page.locator(".source tr.here .no")).to_have_text("13")
        picture.click()
        expect(page.locator(".lightbox img")).to_be_visible()


def test_logs_are_live_and_robots_never_mix(console: Site, browser: Browser) -> None:
    one, two = "0c00000000a1", "0c00000000a2"
    for n in range(6):
        put_log(console, f"first {n}", service="agent", worker=(one, two)[n % 2])
    with browsing.visiting(browser, console, "admin") as page:
        page.goto(f"/logs?worker={one}")
        expect(page.locator(".line")).to_have_count(3)
        put_log(console, "while we watch <b>closely</b>", service="agent", worker=one, level="error")
        put_log(console, "somebody else's", service="agent", worker=two)
        expect(page.locator(".line.l-error .event")).to_have_text("while we watch <b>closely</b>")
        put_log(console, "and again", service="agent", worker=one)
        expect(page.locator(".line")).to_have_count(5)
        assert page.eval_on_selector_all(".line", "lines => lines.map(line => line.dataset.worker)") == [one] * 5


def test_held_task_is_settled_with_the_evidence_beside(console: Site, browser: Browser) -> None:
    hold = {"reason": "in_doubt", "text": "nobody knows whether the submit took effect", "at": now()}
    task = put_task(console, state="held", hold=hold, reference="settle-me")
    put_evidence(console, "run_x", task, 9, "last screen")
    with browsing.visiting(browser, console, "otto") as page, answer_commands(console) as commands:
        page.goto("/tasks?state=held")
        page.locator("tr", has_text="settle-me").get_by_role("link", name="Settle", exact=True).click()
        expect(page.locator(".part", has_text="Where it stands")).to_contain_text("took effect")
        expect(page.locator("figure", has_text="last screen").locator("img")).to_be_visible()
        page.get_by_label("Why (kept in its history)").fill("the portal shows it")
        page.get_by_label("Result as JSON, when it succeeded").fill('{"protocol": "p-1"}')
        page.get_by_role("button", name="It succeeded").click()
        expect(page.locator(".q-notification")).to_contain_text("Done.")
    (command,) = commands
    assert (command["kind"], command["target"], command["by"]) == ("task.settle", task, "otto")
    assert command["args"] == {"outcome": "succeeded", "output": {"protocol": "p-1"}, "note": "the portal shows it"}


def test_overview_in_portuguese_counts_and_changes(console: Site, browser: Browser) -> None:
    with browsing.visiting(browser, console, "admin", "pt-BR", dark=True) as page:
        page.goto("/")
        expect(page.locator("h1")).to_have_text("Visão geral")
        expect(page.locator("body")).to_have_class(re.compile("body--dark"))
        waiting = page.locator(".tile", has_text="na fila").locator("b")
        expect(waiting).to_have_text(re.compile(r"^\d+$"))
        before = int(waiting.inner_text())
        put_task(console, workflow="tax")
        expect(waiting).to_have_text(str(before + 1))
        expect(page.locator(".part", has_text="Saúde")).to_contain_text("MongoDB")


@pytest.mark.parametrize("path", ["/workflows", f"/workflows/{ACME}/tax", "/runs", "/tasks"])
def test_other_pages_open(console: Site, browser: Browser, path: str) -> None:
    with browsing.visiting(browser, console, "ada") as page:
        page.goto(path)
        expect(page.locator("h1")).to_be_visible()
        expect(page.locator("table").first).to_be_visible()


def test_a_revoked_session_leaves_open_pages(console: Site, browser: Browser) -> None:
    opened = httpx.post(f"{console.url}/api/v1/session", json={"user": "ole", "password": PASSWORD}).json()
    context = browser.new_context(base_url=console.url, locale="en-US")
    context.add_cookies([{"name": "regente_session", "value": opened["token"], "url": console.url}])
    page = context.new_page()
    page.goto("/runs")
    expect(page.locator("h1")).to_have_text("Runs")
    headers = {"Authorization": f"Bearer {opened['token']}"}
    assert httpx.delete(f"{console.url}/api/v1/session", headers=headers).status_code == 204
    expect(page.get_by_role("button", name="Log in")).to_be_visible()
    context.close()


def test_reference_of_the_api_needs_no_network(console: Site, browser: Browser) -> None:
    with browsing.visiting(browser, console, "admin") as page:
        page.goto("/docs")
        entry = page.locator("details", has_text="/api/v1/tasks/{task}/settle")
        entry.locator("summary").click()
        expect(entry).to_contain_text("again: back to the queue.")


def test_no_other_site_frames_our_pages(console: Site) -> None:
    for path in ("/login", "/docs", "/fleet"):
        assert httpx.get(console.url + path).headers["x-frame-options"] == "DENY"
