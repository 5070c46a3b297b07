"""The objects of a workflow and what is kept with a failure: API, command line's view, and the pages in a browser."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from shared.domain.objects import mark_of
from tests.integration.console import browsing
from tests.integration.console.site import (
    ACME,
    PNG,
    Site,
    now,
    put_evidence,
    put_run,
    put_task,
    put_worker,
    workflow_files,
)

expect.set_options(timeout=browsing.DEADLINE_MS)
OBJECTS = """\
issue: {selectors: ["css=#issue", "role=button[name=Issue]"],
  environments: {staging: {selectors: ["css=#issue-2"]}}}
protocol: {selectors: ["css=#protocol"]}
banner: {selectors: ["css=#banner", "text=Closed today"]}
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this module."""
    with browsing.browser() as started:
        yield started


@pytest.fixture(scope="module")
def workflow(console: Site) -> str:
    """A workflow with three objects and their counts."""
    files = {**workflow_files("issuing"), "objects.yaml": OBJECTS}
    with console.client() as admin:
        published = admin.post("workflows", json={"account": ACME, "files": files}).raise_for_status().json()
    warned = [(one["file"], one["line"], one["message"]) for one in published["warnings"]]
    assert warned == [
        ("objects.yaml", 3, "protocol is used by no script"),
        ("objects.yaml", 4, "banner is used by no script"),
    ]
    put_matches(console, "issue", ["css=#issue", "role=button[name=Issue]"], [0] * 5 + [1] * 30)
    put_matches(console, "protocol", ["css=#old"], [0] * 20)
    put_matches(console, "issue", ["css=#issue-2"], [0], environment="staging")
    return "issuing"


def put_matches(
    on: Site, object: str, selectors: list[str], uses: list[int | None], environment: str | None = None
) -> None:
    """Counts as an executor keeps them."""
    mark = mark_of(selectors)
    indexes = {index for index in uses if index is not None}
    document = {
        "_id": f"{ACME}/issuing/{object}/{environment or '-'}/{mark}", "account": ACME, "workflow": "issuing",
        "object": object, "environment": environment, "mark": mark, "selectors": selectors, "uses": len(uses),
        "counts": {str(index): uses.count(index) for index in indexes},
        "last_at": {str(index): now() - timedelta(hours=2 - index) for index in indexes}, "used_at": now(),
        "misses": uses.count(None), "recent": [{"matched": one, "at": now(), "worker": "w"} for one in uses],
    }  # fmt: skip
    on.db["object_matches"].replace_one({"_id": document["_id"]}, document, upsert=True)


def keep_picture(page: Page, name: str) -> None:
    """A picture of the page for people, where REGENTE_PICTURES names a folder."""
    folder = os.environ.get("REGENTE_PICTURES")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def test_unknown_objects_are_refused_when_published(admin: httpx.Client) -> None:
    files = {**workflow_files("unknown"), "objects.yaml": "isue: {selectors: ['css=#issue']}\n"}
    answer = admin.post("workflows", json={"account": ACME, "files": files})
    assert answer.status_code == 422
    assert answer.json()["errors"] == [
        {"file": "tax.py", "line": 11, "message": "objects.yaml has no issue; did you mean isue?"}
    ]


def test_selectors_have_their_counts_and_stale_ones_are_found(admin: httpx.Client, workflow: str) -> None:
    found = admin.get(f"workflows/{ACME}/{workflow}/objects").raise_for_status().json()
    assert (found["version"], found["environment"], found["environments"]) == (1, None, ["staging"])
    banner, issue, protocol = found["items"]
    assert [(one["selector"], one["matched"], one["state"]) for one in issue["selectors"]] == [
        ("css=#issue", 5, "stale"),
        ("role=button[name=Issue]", 30, "matches"),
    ]
    assert (issue["stale"], issue["reason"], issue["uses"]) == (True, "selector", 35)
    assert (protocol["uses"], protocol["reason"]) == (0, "unused"), "counts of other selectors say nothing"
    assert (banner["stale"], banner["selectors"][0]["last_at"]) == (True, None)


def test_an_environment_has_its_own(admin: httpx.Client, workflow: str) -> None:
    path = f"workflows/{ACME}/{workflow}"
    admin.patch(f"{path}/settings", json={"environment": "staging"}).raise_for_status()
    found = admin.get(f"{path}/objects").raise_for_status().json()
    issue = found["items"][1]
    assert (found["environment"], found["in_force"], issue["overridden"]) == ("staging", "staging", True)
    assert [one["selector"] for one in issue["selectors"]] == ["css=#issue-2"]
    assert admin.get(f"{path}/objects", params={"environment": "-"}).json()["items"][1]["uses"] == 35
    assert admin.get(f"{path}/objects", params={"environment": "Ü"}).status_code == 422
    admin.patch(f"{path}/settings", json={"environment": None}).raise_for_status()
    admin.patch(f"accounts/{ACME}/settings", json={"environment": "staging"}).raise_for_status()
    assert admin.get(f"{path}/objects").json()["in_force"] == "staging"
    admin.patch(f"accounts/{ACME}/settings", json={"environment": None}).raise_for_status()


def test_objects_of_others_are_not_there(console: Site, workflow: str) -> None:
    with console.client("olga") as other:
        assert other.get(f"workflows/{ACME}/{workflow}/objects").status_code == 404


@pytest.mark.parametrize(
    ("language", "stale", "forced"),
    [("en-US", "no longer matches", "without an environment"), ("pt-BR", "não encontra mais", "sem ambiente")],
)
def test_the_workflows_page_shows_them(
    console: Site, browser: Browser, workflow: str, language: str, stale: str, forced: str
) -> None:
    with browsing.visiting(browser, console, "vera", language) as page:
        page.goto(f"/workflows/{ACME}/{workflow}")
        row = page.locator("tr", has=page.locator(".mono", has_text="issue")).first
        expect(row.locator(".selector.stale")).to_contain_text("css=#issue")
        expect(row.locator(".selector.stale")).to_contain_text(stale)
        expect(page.locator(".chips b", has_text=forced)).to_be_visible()
        keep_picture(page, f"objects-{language}")
        page.get_by_role("link", name="staging").click()
        expect(page.locator(".selector", has_text="css=#issue-2")).to_be_visible()


def error(seq: int = 2) -> dict[str, Any]:
    """A failure as an executor keeps it."""
    recent = [{"seq": n, "name": "browser.fill", "line": 10, "outcome": "done", "error": None, "duration_s": 0.2}
              for n in range(1, seq)]  # fmt: skip
    last = {"seq": seq, "name": "browser.click", "line": 11, "outcome": "error", "error": "TIMEOUT", "duration_s": 25.0}
    failed = {"seq": seq, "name": "browser.click", "script": "tax.py", "function": "execute", "line": 11}
    return {
        "kind": "system", "code": "SCRIPT_ERROR",
        "message": "TimeoutError: TIMEOUT: issue did not appear within 25 s; tried css=#issue (not there)", "line": 11,
        "traceback": [{"file": "tax.py", "line": 11, "function": "execute"}], "recent": [*recent, last],
        "failed": {**failed, "outcome": "error", "code": "TIMEOUT", "picture": None},
        "context": {
            "pages": [
                {"url": "https://portal.example/login?ticket=***", "title": "Log in", "active": False},
                {"url": "https://portal.example/issue?id=***", "title": "Closed <today>", "active": True},
            ],
            "dialogs": [{"type": "confirm", "message": "Leave?", "answer": "dismissed"}],
            "windows": [{"title": "Certificate store", "process": "certmgr.exe", "active": True}],
            "notes": [],
        },
    }  # fmt: skip


def failing(console: Site, picture: bytes = PNG) -> tuple[str, str]:
    """A run that failed, and its task."""
    files = workflow_files("tax")
    with console.client() as admin:
        admin.post("workflows", json={"account": ACME, "files": files}).raise_for_status()
    task = put_task(console, state="failed", error=error())
    run = put_run(console, task, put_worker(console, "0c0000000031", ACME))
    history = [{"at": now(), "state": "failed", "reason": "SCRIPT_ERROR", "by": "executor", "run": run}]
    console.db["tasks"].update_one({"_id": task}, {"$set": {"history": history}})
    reply = {"matched": 1, "context": error()["context"]}
    console.db["steps"].update_one({"_id": f"{run}/00000003"}, {"$set": {f"reply.{k}": v for k, v in reply.items()}})
    outcome = {"state": "failed", "error": error()}
    console.db["steps"].update_one({"_id": f"{run}/00000006"}, {"$set": {"outcome": outcome}})
    put_evidence(console, run, task, 2, "failure", data=picture)
    return run, task


def test_steps_tell_what_is_kept_with_a_failure(console: Site, admin: httpx.Client) -> None:
    run, _ = failing(console)
    steps = admin.get(f"runs/{run}/steps").raise_for_status().json()["items"]
    assert (steps[1]["matched"], steps[1]["context"]["pages"][1]["active"]) == (1, True)
    assert steps[5]["failure"]["failed"]["seq"] == 2
    assert [one["failure"] for one in steps[:5]] == [None] * 5


@pytest.mark.parametrize(
    ("language", "title", "windows"), [("en-US", "Failure", "Open windows"), ("pt-BR", "Falha", "Janelas abertas")]
)
@pytest.mark.parametrize("of", ["task", "run"])
def test_pages_show_what_is_kept_with_a_failure(
    console: Site, browser: Browser, language: str, title: str, windows: str, of: str
) -> None:
    blank = browser.new_page(viewport={"width": 1280, "height": 800})
    blank.set_content("<h1 style='padding: 3em'>Closed today</h1>")
    run, task = failing(console, blank.screenshot())
    blank.close()
    with browsing.visiting(browser, console, "vera", language) as page:
        page.goto(f"/tasks/{task}" if of == "task" else f"/runs/{run}")
        part = page.locator(".part", has=page.get_by_role("heading", name=title, exact=True))
        expect(part.locator(".source tr.here")).to_contain_text("browser.click(objects.issue)")
        expect(part).to_contain_text("tried css=#issue (not there)")
        expect(part).to_contain_text("Closed <today>")
        expect(part.locator("div", has=page.get_by_role("heading", name=windows)).last).to_contain_text("certmgr.exe")
        expect(part.locator("table.grid tr", has_text="browser.fill")).to_have_count(1)
        expect(part.locator(".shot img")).to_have_js_property("naturalWidth", 1280)
        keep_picture(page, f"failure-{of}-{language}")
        part.locator(f"a[href='/runs/{run}?seq=2']").first.click()
        expect(page.locator("tr.step.here")).to_contain_text("tax.py:11")
