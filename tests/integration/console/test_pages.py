"""The pages in a real browser: log-in, fleet, a run as it happens, the live log, a decision, Portuguese."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from shared.domain.limits import period
from tests.integration.console import browsing
from tests.integration.console.site import (
    ACME,
    PASSWORD,
    Site,
    answer_commands,
    answer_decisions,
    now,
    put_circuit,
    put_decision,
    put_event,
    put_evidence,
    put_log,
    put_run,
    put_task,
    put_worker,
    until,
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


def keep_picture(page: Page, name: str) -> None:
    """A picture of the page for people, where REGENTE_PICTURES names a folder."""
    folder = os.environ.get("REGENTE_PICTURES")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def publish(console: Site, name: str, **settings: object) -> str:
    """A workflow of its own for a test."""
    with console.client() as admin:
        admin.post("workflows", json={"account": ACME, "files": workflow_files(name)}).raise_for_status()
        if settings:
            admin.patch(f"workflows/{ACME}/{name}/settings", json=settings).raise_for_status()
    return name


@pytest.mark.parametrize(("language", "hold", "held"), [("en-US", "Hold", "on hold"), ("pt-BR", "Reter", "retido")])
def test_overview_shows_limits_and_holds_a_workflow(
    console: Site, browser: Browser, language: str, hold: str, held: str
) -> None:
    name = publish(
        console, f"limited-{language.lower()}", limits=[{"per": "day", "max": 10}, {"per": "month", "max": 90}]
    )
    month = period("month", now(), "UTC")
    about = {"account": ACME, "workflow": name, "per": "month", "period": month, "used": 76}
    console.db["usage"].insert_one({"_id": f"{ACME}/{name}/month/{month}", **about})
    for _ in range(3):
        put_task(console, workflow=name)
    with browsing.visiting(browser, console, "otto", language) as page, answer_commands(console) as commands:
        page.goto("/")
        row = page.locator("tr", has=page.locator(f"a[href$='/workflows/{ACME}/{name}']"))
        expect(row.locator(".limits")).to_contain_text("76 / 90")
        expect(row.locator(".bar.nearly")).to_have_count(1)
        keep_picture(page, f"overview-{language}")
        row.get_by_role("button", name=hold).click()
        dialog = page.locator(".q-dialog")
        dialog.locator("input").last.fill("the certificate is being changed")
        keep_picture(page, f"overview-dialog-{language}")
        dialog.get_by_role("button", name=hold).click()
        expect(page.locator(".q-notification")).to_be_visible()
        scenario = {
            "_id": f"{ACME}/{name}#certificates",
            "scenario": "certificates",
            "reason": "setup",
            "text": "no page",
        }
        about = {"account": ACME, "workflow": name, "state": "open", "failures": 5, "at": now(), "run": None}
        console.db["circuits"].insert_one({**about, **scenario})
        expect(row).to_contain_text("certificates: no page")
        expect(row.get_by_role("button")).to_have_count(2)
        put_circuit(console, name, text="the certificate is being changed", reason="person", by="otto")
        expect(row).to_contain_text(held)
        expect(row).to_contain_text("the certificate is being changed")
        expect(row.get_by_role("button", name=hold)).to_have_count(0)
        page.goto(f"/workflows/{ACME}/{name}")
        expect(page.locator(".standing")).to_contain_text(held)
        keep_picture(page, f"workflow-{language}")
    (command,) = commands
    assert (command["kind"], command["target"]) == ("workflow.hold", f"{ACME}/{name}")
    assert command["args"] == {"text": "the certificate is being changed"}


@pytest.mark.parametrize(
    ("language", "title", "priority"),
    [("en-US", "Why it waits", "Priority"), ("pt-BR", "Por que espera", "Prioridade")],
)
def test_task_page_says_why_it_waits_and_steers(
    console: Site, browser: Browser, language: str, title: str, priority: str
) -> None:
    name = publish(console, f"steered-{language.lower()}")
    put_worker(console, "0c0000000011", ACME, status="running", run="run_x", connected=True)
    put_task(console, workflow=name)
    task = put_task(console, workflow=name, deadline=now() + timedelta(hours=5), reference=f"steer-{language}")
    with browsing.visiting(browser, console, "otto", language) as page, answer_commands(console) as commands:
        page.goto(f"/tasks/{task}")
        part = page.locator(".part", has=page.get_by_role("heading", name=title))
        expect(part.locator(".why")).not_to_be_empty()
        expect(part.locator("table tr").nth(1)).to_be_visible()
        expect(part.locator(".strip")).to_be_visible()
        keep_picture(page, f"task-{language}")
        page.get_by_role("button", name=priority).click()
        dialog = page.locator(".q-dialog")
        dialog.locator(".q-select").click()
        page.locator(".q-menu .q-item", has_text="5 ").click()
        dialog.get_by_role("button", name=priority).click()
        expect(page.locator(".q-notification").first).to_be_visible()
    (command,) = commands
    assert (command["kind"], command["target"], command["args"]) == ("task.priority", task, {"priority": 5})


def test_buttons_of_a_task_are_those_that_its_state_allows(console: Site, browser: Browser) -> None:
    names = ["Hold", "Release", "To the front", "Priority", "Cancel"]
    allowed = {
        "queued": {"Hold", "To the front", "Priority", "Cancel"},
        "held": {"Release", "Priority", "Cancel"},
        "running": {"Cancel"},
        "failed": set(),
    }
    with browsing.visiting(browser, console, "otto") as page:
        for state, wanted in allowed.items():
            page.goto(f"/tasks/{put_task(console, state=state)}")
            for name in names:
                button = page.get_by_role("button", name=name, exact=True)
                (expect(button).to_be_visible if name in wanted else expect(button).not_to_be_visible)()
    with browsing.visiting(browser, console, "vera") as page:
        page.goto(f"/tasks/{put_task(console)}")
        expect(page.locator(".part", has_text="Why it waits").first).to_be_visible()
        for name in names:
            expect(page.get_by_role("button", name=name, exact=True)).not_to_be_visible()


@pytest.mark.parametrize(
    ("language", "hold", "asked"),
    [("en-US", "Hold", "4 tasks: Take out of the queue"), ("pt-BR", "Reter", "4 tarefas: Retirar da fila")],
)
def test_tasks_page_acts_on_all_that_match(
    console: Site, browser: Browser, language: str, hold: str, asked: str
) -> None:
    name = publish(console, f"many-{language.lower()}")
    for state in ["queued"] * 4 + ["running", "failed"]:
        put_task(console, workflow=name, state=state)
    with browsing.visiting(browser, console, "otto", language) as page:
        page.goto(f"/tasks?workflow={name}&state=failed")
        expect(page.locator("table").first).to_be_visible()
        expect(page.locator(".bulk")).to_have_count(0)
        page.goto(f"/tasks?workflow={name}")
        page.locator(".bulk").get_by_role("button", name=hold).click()
        dialog = page.locator(".q-dialog")
        expect(dialog).to_contain_text(asked)
        dialog.locator("input").fill("stock-taking")
        keep_picture(page, f"bulk-dialog-{language}")
        dialog.get_by_role("button", name=hold).click()
        row = page.locator(".part tr", has_text=name).first
        expect(row).to_contain_text("otto")
        console.db["commands"].update_many(
            {"kind": "queue.bulk", "state": "pending"}, {"$set": {"progress": {"done": 3, "refused": 1}}}
        )
        expect(row.locator("td.num").first).to_have_text("3")
        keep_picture(page, f"tasks-{language}")
    stored = console.db["commands"].find_one({"kind": "queue.bulk", "args.filter.workflow": name})
    assert stored is not None
    assert stored["args"] == {"action": "hold", "filter": {"account": ACME, "workflow": name}, "text": "stock-taking"}
    console.db["commands"].delete_one({"_id": stored["_id"]})


def test_who_sees_many_accounts_chooses_one_before_acting_on_all(console: Site, browser: Browser) -> None:
    with browsing.visiting(browser, console, "ole") as page:
        page.goto("/tasks")
        expect(page.locator(".bulk")).to_contain_text("choose an account first")
        expect(page.locator(".bulk").get_by_role("button")).to_have_count(0)
        page.goto(f"/tasks?account={ACME}")
        expect(page.locator(".bulk").get_by_role("button")).to_have_count(5)


@pytest.mark.parametrize(
    ("language", "drain", "set_up", "change"),
    [("en-US", "Drain", "Set up", "Change"), ("pt-BR", "Esvaziar", "Configurar", "Alterar")],
)
def test_fleet_shows_what_robots_take_and_changes_it(
    console: Site, browser: Browser, language: str, drain: str, set_up: str, change: str
) -> None:
    name = publish(console, f"robots-{language.lower()}")
    ill = {"until": now() + timedelta(minutes=15), "times": 3, "reason": "3 runs in a row failed on it", "at": now()}
    sick = put_worker(console, "0c0000000021", ACME, quarantine=ill, failures=5, exclusive=f"{ACME}/{name}")
    going = put_worker(console, "0c0000000022", ACME, drain={"by": "otto", "at": now()}, tags=["sap"])
    worker = put_worker(console, "0c0000000023", ACME, tags=["sap", "windows-11"], workflows=[f"{ACME}/{name}"])
    with browsing.visiting(browser, console, "otto", language) as page, answer_commands(console) as commands:
        page.goto("/fleet")
        expect(page.locator("tr", has_text=sick)).to_contain_text("3 runs in a row")
        expect(page.locator("tr", has_text=sick)).to_contain_text(f"{ACME}/{name}")
        expect(page.locator("tr", has_text=going)).to_contain_text("otto")
        row = page.locator("tr", has_text=worker)
        expect(row.locator(".takes")).to_contain_text("windows-11")
        keep_picture(page, f"fleet-{language}")
        row.get_by_role("button", name=drain).click()
        page.locator(".q-dialog").get_by_role("button", name=drain).click()
        expect(page.locator(".q-dialog")).to_have_count(0)
        row.get_by_role("button", name=set_up).click()
        dialog = page.locator(".q-dialog")
        dialog.locator("input.q-field__native, input[type=text]").last.fill("sap, citrix")
        keep_picture(page, f"fleet-dialog-{language}")
        dialog.get_by_role("button", name=change).click()
        until(lambda: len(commands) == 2, "both requests were made")
    assert [(one["kind"], one["target"], one["args"]) for one in commands] == [
        ("worker.drain", worker, {}),
        ("worker.config", worker, {"tags": ["sap", "citrix"]}),
    ]


@pytest.mark.parametrize(("language", "title"), [("en-US", "Events"), ("pt-BR", "Eventos")])
def test_events_page_follows(console: Site, browser: Browser, language: str, title: str) -> None:
    target = f"{ACME}/tax"
    put_event(console, ACME, target=target, kind="workflow_held", severity="error", text="5 system failures in a row")
    put_event(console, ACME, target=put_task(console), kind="task_timed_out", severity="warning", text="over 30 min")
    with browsing.visiting(browser, console, "vera", language) as page:
        page.goto("/events")
        expect(page.locator("h1")).to_have_text(title)
        expect(page.locator("tr", has_text="5 system failures").first).to_contain_text(target)
        put_event(
            console, ACME, target=target, severity="info", kind="workflow_released", text=f"<b>otto</b> {language}"
        )
        expect(page.locator("tr", has_text=f"<b>otto</b> {language}")).to_be_visible()
        put_event(console, None, target="0c0000000099", text="not for vera")
        keep_picture(page, f"events-{language}")
        page.goto("/events?severity=error")
        expect(page.locator("tr", has_text="5 system failures").first).to_be_visible()
        expect(page.locator("tr", has_text="over 30 min")).to_have_count(0)
        expect(page.locator("tr", has_text="not for vera")).to_have_count(0)


@pytest.mark.parametrize("path", ["/workflows", f"/workflows/{ACME}/tax", "/runs", "/tasks"])
def test_other_pages_open(console: Site, browser: Browser, path: str) -> None:
    put_run(console, put_task(console), put_worker(console, "0c0000000077"))
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


@pytest.mark.parametrize(
    ("language", "title", "answer"), [("en-US", "Decisions", "Answer now"), ("pt-BR", "Decisões", "Responder")]
)
def test_operators_answer_in_place(console: Site, browser: Browser, language: str, title: str, answer: str) -> None:
    task = put_task(console)
    run = f"run_asks{language}".replace("-", "")
    picture = put_evidence(console, run, task, 3, "the invoice")
    chosen = put_decision(console, task=task, run=run, seq=4, question=f"Pay {language}?", image=picture)
    free = put_decision(console, question=f"Which protocol {language}?", options=[])
    with browsing.visiting(browser, console, "otto", language) as page, answer_decisions(console) as requests:
        page.goto("/decisions")
        expect(page.locator("h1")).to_have_text(title)
        expect(page.locator(".entry.here .count")).to_be_visible()
        row = page.locator("tr", has_text=f"Pay {language}?")
        expect(row.get_by_role("link", name=f"task …{task[-8:]}")).to_have_attribute("href", f"/tasks/{task}")
        keep_picture(page, f"decisions-{language}")
        row.get_by_role("button", name="no", exact=True).click()
        page.locator(".q-dialog").get_by_role("button", name=answer).click()
        expect(page.locator("tr", has_text=f"Pay {language}?")).to_contain_text("otto")
        page.locator("tr", has_text=f"Which protocol {language}?").get_by_role("link").first.click()
        expect(page.get_by_role("button", name=answer)).to_be_visible()
        page.get_by_role("button", name=answer).click()
        page.locator(".q-dialog textarea").fill("p-77")
        page.locator(".q-dialog").get_by_role("button", name=answer).click()
        expect(page.locator(".facts")).to_contain_text("p-77")
        expect(page.get_by_role("button", name=answer)).not_to_be_visible()
        page.goto(f"/decisions/{chosen.replace('/', '.')}")
        expect(page.locator(".asked img")).to_be_visible()
        keep_picture(page, f"decision-{language}")
    assert [(one["target"], one["args"]["answer"]) for one in requests] == [(chosen, "no"), (free, "p-77")]


def test_a_link_is_handed_out_to_operators_only(console: Site, browser: Browser) -> None:
    id = put_decision(console)
    with browsing.visiting(browser, console, "otto") as page:
        page.goto(f"/decisions/{id.replace('/', '.')}")
        page.get_by_role("button", name="Copy link").click()
        expect(page.locator(".q-dialog .link input")).to_have_value(re.compile(r"/d/run_[0-9a-f]+\.00000012\?t="))
        page.locator(".q-dialog").get_by_role("button", name="Copy").click()
    with browsing.visiting(browser, console, "vera") as page:
        page.goto("/decisions")
        expect(page.locator("tr", has_text="Is the amount right?").first).to_be_visible()
        expect(page.locator("tr", has_text="Is the amount right?").get_by_role("button")).to_have_count(0)
        page.goto(f"/decisions/{id.replace('/', '.')}")
        expect(page.locator(".facts")).to_be_visible()
        expect(page.get_by_role("button", name="Copy link")).not_to_be_visible()
