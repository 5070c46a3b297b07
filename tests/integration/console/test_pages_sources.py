"""The pages of sources, and what pages of tasks and workflows lead to, in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from shared.domain import pacing
from shared.domain.pacing import Observation
from shared.domain.pacing_find import Wait
from shared.domain.pacing_pause import Bounds
from tests.integration.console import browsing
from tests.integration.console.site import (
    ACME,
    OTHER,
    Site,
    answer_commands,
    now,
    put_decision,
    put_run,
    put_task,
    put_worker,
    until,
    workflow_files,
)
from tests.integration.console.test_pages_by_hand import keep_picture

expect.set_options(timeout=browsing.DEADLINE_MS)
REPORT = {
    "items": [{"reference": "order-9", "input": {"registration": "9"}}],
    "came": 2,
    "would_be_taken": 1,
    "refused": 1,
    "refusals": [{"index": 1, "reference": "order-10", "errors": [{"message": "it is no number", "path": "/input/n"}]}],
    "pages": 1,
    "files": [],
    "more": False,
    "cursor": "2027-01-31",
    "times": [],
    "words": [],
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this module."""
    with browsing.browser() as started:
        yield started


def put_source(on: Site, name: str, account: str = ACME, **fields: Any) -> str:
    """A source as console and collector keep it."""
    request = {"method": "GET", "url": "https://partner.example/orders"}
    auth = {"kind": "bearer", "token": "partner/token"}
    settings = {"schedule": {"every_s": 60}, "request": request, "auth": auth}
    document = {
        "_id": f"{account}/{name}",
        "schema_version": 1,
        "account": account,
        "name": name,
        "kind": "poll",
        "workflow": "tax",
        "settings": settings,
        "enabled": True,
        "rev": "r",
        "token": 1,
        "failures": 0,
        "down": None,
        "counters": {"came": 120, "taken": 117, "duplicates": 1, "refused": 2},
        "next_at": now() + timedelta(hours=1),
        "last_success_at": now() - timedelta(seconds=40),
        "updated_at": now(),
        **fields,
    }
    on.db["sources"].replace_one({"_id": document["_id"]}, document, upsert=True)
    return str(document["_id"])


def put_look(on: Site, source: str, number: int, **fields: Any) -> None:
    """A look at a source, as the collector logs it."""
    counts = {"came": 5, "taken": 4, "duplicates": 0, "refused": 1}
    errors = [{"code": "INVALID_INPUT", "message": "'x' is no registration", "path": "/input/registration"}]
    refusals = [{"index": 3, "reference": f"order-{number}", "errors": errors}]
    said = {"outcome": "ok", "reason": None, "words": [], "batches": [f"batch_{number}"], "files": [], "missed": None}
    about = {"source": source, "account": source.partition("/")[0], "kind": "poll", "by": "collector-1"}
    document = {"at": now(), "duration_s": 0.42, "pages": 1, "acknowledged": 4, **counts, "refusals": refusals, **said}
    on.db["source_log"].replace_one(
        {"_id": f"{source}/{number:010d}"},
        {**about, **document, "asked_by": None, "command": None, **fields},
        upsert=True,
    )


@pytest.mark.parametrize(
    ("language", "title", "run", "off", "refused"),
    [
        ("en-US", "Sources", "Run now", "Switch off", "refused acknowledgements for good"),
        ("pt-BR", "Fontes", "Buscar agora", "Desligar", "recusou confirmações em definitivo"),
    ],
)
def test_sources_are_listed_and_looked_at(
    console: Site, browser: Browser, language: str, title: str, run: str, off: str, refused: str
) -> None:
    lead = language[:2]
    unacknowledged = [{"at": now(), "status": 422, "values": {"reference": f"order-{n}"}} for n in (6, 7)]
    good = put_source(console, f"{lead}-orders", unacknowledged=unacknowledged)
    bad = f"{lead}-broken"
    down = {"since": now(), "reason": "https://partner.example answered 503"}
    ill = put_source(console, bad, failures=4, down=down, last_failure={"at": now(), "reason": down["reason"]})
    put_source(console, f"{lead}-theirs", OTHER)
    put_look(console, good, 1)
    put_look(console, good, 2, refused=0, refusals=[], at=now() - timedelta(days=2))
    put_look(console, ill, 1, outcome="failed", reason=down["reason"], came=0, taken=0, refused=0, refusals=[])
    with browsing.visiting(browser, console, "otto", language) as page, answer_commands(console) as commands:
        page.goto("/sources")
        expect(page.locator("h1")).to_have_text(title)
        row = page.locator("tr", has_text=good)
        expect(row.locator("td.num").nth(1)).to_have_text("4")
        expect(page.locator("tr", has_text=ill)).to_contain_text("answered 503")
        expect(page.locator("tr", has_text="theirs")).to_have_count(0)
        keep_picture(page, f"sources-{language}")
        row.get_by_role("link", name=good).click()
        expect(page.locator("h1")).to_contain_text(f"{lead}-orders")
        told = page.locator(".untold", has_text=refused)
        expect(told).to_contain_text('"reference": "order-7"')
        expect(page.locator(".side")).to_contain_text("registration: 'x' is no registration")
        expect(page.locator(".side .code").last).to_contain_text('"token": "partner/token"')
        put_look(console, good, 3, at=now(), refused=0, refusals=[], words=["the partner repeats itself"])
        fresh = page.locator("tr.step", has_text="repeats itself")
        fresh.click()
        expect(page.locator("tr.step.here")).to_contain_text("repeats itself")
        keep_picture(page, f"source-{language}")
        page.get_by_role("button", name=run).click()
        until(lambda: len(commands) == 1, "a look is asked for")
        page.get_by_role("button", name=off).click()
        expect(page.get_by_role("button", name=off)).not_to_be_visible()
    assert [(one["kind"], one["to"], one["target"]) for one in commands] == [("source.run", "collector", good)]
    stored = console.db["sources"].find_one({"_id": good})
    assert stored is not None
    assert (stored["enabled"], stored["next_at"]) == (False, None)


def test_a_try_shows_what_would_come(console: Site, browser: Browser) -> None:
    source = put_source(console, "tried")
    progress = {"report": json.dumps(REPORT), "finished": True}
    with (
        browsing.visiting(browser, console, "otto") as page,
        answer_commands(console, progress=progress) as commands,
    ):
        page.goto(f"/sources/{source}")
        page.get_by_role("button", name="Try, keep nothing").click()
        report = page.locator(".trial")
        expect(report).to_contain_text("order-9")
        expect(report).to_contain_text("n: it is no number")
        keep_picture(page, "source-try")
    assert [(one["kind"], one["target"]) for one in commands] == [("source.try", source)]


def test_viewers_see_sources_and_have_no_buttons(console: Site, browser: Browser) -> None:
    source = put_source(console, "seen")
    theirs = put_source(console, "seen", OTHER)
    with browsing.visiting(browser, console, "vera") as page:
        page.goto(f"/sources/{source}")
        expect(page.locator(".side .code")).to_be_visible()
        expect(page.get_by_role("button", name="Run now")).not_to_be_visible()
        expect(page.get_by_role("button", name="Switch off")).not_to_be_visible()
        page.goto(f"/sources/{theirs}")
        expect(page.locator(".empty")).to_contain_text("does not exist")


def test_pages_of_task_and_run_lead_to_the_open_decision(console: Site, browser: Browser) -> None:
    task = put_task(console, state="running", source=f"{ACME}/tried")
    run = put_run(console, task, put_worker(console, "0c0000000031", ACME), state="waiting", finished_at=None, end=None)
    id = put_decision(console, task=task, run=run, seq=9, question="Which of the two?", options=[])
    with browsing.visiting(browser, console, "otto") as page:
        page.goto(f"/runs/{run}")
        expect(page.locator(".asking")).to_contain_text("Which of the two?")
        page.goto(f"/tasks/{task}")
        asking = page.locator(".asking")
        expect(asking.get_by_role("link", name="Answer now")).to_be_visible()
        expect(page.get_by_role("link", name=f"{ACME}/tried")).to_have_attribute("href", f"/sources/{ACME}/tried")
        keep_picture(page, "task-asking")
        console.db["decisions"].update_one({"_id": id}, {"$set": {"state": "answered"}})
        expect(asking).not_to_be_visible()


def test_a_published_version_is_run_once_on_a_robot(console: Site, browser: Browser) -> None:
    with console.client("ada") as http:
        files = workflow_files("once-here")
        schema = "input: {type: object, required: [n], properties: {n: {type: integer, title: Number}}}\n"
        files["workflow.yaml"] = files["workflow.yaml"].replace("input: {type: object}\n", schema)
        http.post("workflows", json={"account": ACME, "files": files}).raise_for_status()
    worker = put_worker(console, "0c0000000041", ACME, name="desk-once")
    with browsing.visiting(browser, console, "ada") as page, answer_commands(console) as commands:
        page.goto(f"/workflows/{ACME}/once-here")
        page.get_by_role("button", name="Run once on a robot").click()
        send = page.get_by_role("button", name="Run once", exact=True)
        page.get_by_label("Number").fill("seven")
        send.click()
        expect(page.locator(".field").get_by_role("alert")).to_have_text("A whole number, please.")
        page.get_by_label("Number").fill("7")
        page.get_by_label("Robot").click()
        page.locator(".q-menu .q-item", has_text="desk-once").click()
        keep_picture(page, "once")
        send.click()
        until(lambda: len(commands) == 1, "a run is asked for")
        page.wait_for_url("**/tasks/task_*")
    (command,) = commands
    assert (command["kind"], command["target"], command["args"]["input"]) == ("run.once", worker, {"n": 7})


def test_learned_waits_are_shown_and_frozen(console: Site, browser: Browser) -> None:
    key = f"{ACME}/paced"
    with console.client("ada") as http:
        http.post("workflows", json={"account": ACME, "files": workflow_files("paced")}).raise_for_status()
    place = pacing.fresh()
    for _ in range(41):
        paused_s = pacing.plan(place, Bounds(), 0, robot="02aa").pause_s
        seen = Observation(
            early=paused_s < 0.3, paused_s=paused_s, found_s=0.25, wait=Wait(25), robot="02aa", object="issue"
        )
        place = pacing.learn(place, seen, Bounds(), 0)
    head = {
        "key": key,
        "account": ACME,
        "workflow": "paced",
        "place": "browser.click issue",
        "rev": 1,
        "seen_at": now(),
    }
    console.db["paces_learned"].insert_one({"_id": f"{key}/1", **head, **pacing.to_document(place)})
    with browsing.visiting(browser, console, "otto") as page, answer_commands(console) as commands:
        page.goto(f"/workflows/{key}")
        row = page.locator("tr", has_text="browser.click issue")
        expect(row).to_contain_text("41")
        keep_picture(page, "workflow-pacing")
        row.get_by_role("button", name="Freeze").click()
        until(lambda: len(commands) == 1, "it is asked for")
    assert (commands[0]["kind"], commands[0]["target"], commands[0]["args"]) == (
        "pacing.freeze",
        key,
        {"on": True, "place": "browser.click issue"},
    )
