"""The pages about alerts in a real browser: what is wrong is seen, taken, silenced; rules and recipients change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Browser, Page, expect

from shared.domain.alert_rules import DEFAULTS, PARAMS, RuleKind, parse_rule, rule_document
from shared.domain.recipients import parse_recipient
from tests.integration.console import browsing
from tests.integration.console.site import (
    ACME,
    OTHER,
    Site,
    answer_commands,
    put_evidence,
    put_task,
    until,
)
from tests.integration.console.test_recipients import put_alert

expect.set_options(timeout=browsing.DEADLINE_MS)
LEADER = "evaluation/leader"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser."""
    with browsing.browser() as started:
        yield started


@pytest.fixture(autouse=True)
def seeded(console: Site) -> None:
    """The rules that every installation has."""
    for rule in DEFAULTS:
        document = rule_document(rule, at=datetime.now(UTC), by="installation")
        console.db["rules"].replace_one({"_id": rule.id}, document, upsert=True)


def fill(page: Page, label: str, text: str) -> None:
    """Write into the field with this label."""
    field = page.get_by_label(label, exact=True)
    field.fill(text)
    field.press("Tab")


@pytest.mark.parametrize(
    ("language", "title", "take", "note", "silence", "reason", "until_", "told"),
    [
        ("en-US", "Alerts", "Acknowledge", "What is being done about it (may stay empty)", "Silence",
         "Why (for the others) *", "silenced until", "still so"),
        ("pt-BR", "Alertas", "Assumir", "O que está sendo feito (pode ficar vazio)", "Silenciar",
         "Por quê (para os outros) *", "silenciado até", "continua assim"),
    ],
)  # fmt: skip
def test_an_alert_is_seen_with_its_facts_taken_and_silenced(
    console: Site, browser: Browser, language: str, title: str, take: str, note: str, silence: str, reason: str,
    until_: str, told: str,
) -> None:  # fmt: skip
    task = put_task(console, state="failed")
    put_evidence(console, "run_of_alert", task, 3, "the error box")
    alert = put_alert(
        console, rule="task_in_doubt", kind="task_in_doubt", target=f"task/{task}", severity="critical",
        text=f"task <b>{language}</b> is in doubt", facts={"task": task, "workflow": "tax"},
    )  # fmt: skip
    console.db["notifications"].insert_one(
        {"_id": f"ntf_{alert}", "lane": f"{ACME}/ops#{alert}", "n": 1, "recipient": f"{ACME}/ops", "account": ACME,
         "kind": "mail", "state": "dead", "reason": "no such box", "opened_at": datetime.now(UTC), "attempts": [],
         "items": [{"alert": alert, "what": "repeat"}]}
    )  # fmt: skip
    with browsing.visiting(browser, console, "otto", language) as page, answer_commands(console) as commands:
        page.goto("/alerts?severity=critical")
        expect(page.locator("h1")).to_have_text(title)
        row = page.locator("tr", has_text=f"<b>{language}</b>")
        row.get_by_role("link", name=f"task <b>{language}</b>").click()
        expect(page.locator(".why")).to_have_text(f"task <b>{language}</b> is in doubt")
        expect(page.locator("a[href='/runbooks/task_in_doubt']")).to_be_visible()
        expect(page.locator("tr", has_text="no such box")).to_contain_text(told)
        expect(page.get_by_alt_text("the error box")).to_be_visible()
        expect(page.locator("dl.facts").get_by_role("link", name=task)).to_have_attribute("href", f"/tasks/{task}")
        page.get_by_role("button", name=take).click()
        page.get_by_label(note).fill("on my way")
        page.locator(".q-dialog").get_by_role("button", name=take).click()
        until(lambda: len(commands) == 1, "it was asked for")
        page.get_by_role("button", name=silence).click()
        page.get_by_label(reason).fill("we know")
        page.locator(".q-dialog").get_by_role("button", name=silence).click()
        expect(page.locator(".strip")).to_contain_text(until_)
    assert [(one["kind"], one["args"]) for one in commands] == [("alert.ack", {"alert": alert, "note": "on my way"})]
    made = console.db["silences"].find_one({"reason": "we know", "matchers.value": f"task/{task}"}) or {}
    assert (made["account"], made["by"], len(made["matchers"])) == (ACME, "otto", 2)


def test_who_may_only_look_sees_no_buttons_and_no_other_accounts(console: Site, browser: Browser) -> None:
    put_alert(console, text="ours to look at")
    foreign = put_alert(console, account=OTHER, text="not for our eyes")
    with browsing.visiting(browser, console, "vera") as page:
        page.goto("/alerts")
        row = page.locator("tr", has_text="ours to look at")
        expect(row).to_have_count(1)
        expect(row.get_by_role("button")).to_have_count(0)
        expect(page.locator("tr", has_text="not for our eyes")).to_have_count(0)
        page.goto(f"/alerts/{foreign}")
        expect(page.locator(".trouble")).to_contain_text("does not exist")
        page.goto("/silences")
        expect(page.locator("h1")).to_have_text("Silences")
        expect(page.get_by_text("New silence")).to_have_count(0)


def test_a_silence_is_made_and_ended(console: Site, browser: Browser) -> None:
    with browsing.visiting(browser, console, "otto") as page:
        page.goto("/silences")
        page.get_by_label("Value", exact=True).first.fill("robot_quiet")
        fill(page, "Why (for the others) *", "the page's silence")
        page.get_by_role("button", name="Silence").click()
        row = page.locator("tr", has_text="the page's silence")
        expect(row).to_contain_text("Rule = robot_quiet")
        row.get_by_role("button", name="End now").click()
        expect(page.locator("tr", has_text="the page's silence").get_by_role("button")).to_have_count(0)
    made = console.db["silences"].find_one({"reason": "the page's silence"}) or {}
    assert (made["account"], made["ends_at"] <= datetime.now(UTC)) == (ACME, True)


def test_an_accounts_own_rule_is_made_changed_and_removed(console: Site, browser: Browser) -> None:
    own = f"{ACME}/run_stuck"
    with browsing.visiting(browser, console, "ada") as page:
        page.goto("/rules")
        row = page.locator("tr").filter(has=page.get_by_role("link", name="run_stuck", exact=True))
        expect(row.get_by_role("button")).to_have_count(0)  # the installation's: not hers
        row.get_by_role("link", name="For one account").click()
        page.get_by_label("Account *").click()
        page.get_by_role("option", name=ACME).click()
        fill(page, "For so long, seconds", "60")
        fill(page, "Recipients, with commas between", "ops, night")
        fill(page, "Workflow", "tax*")
        page.get_by_role("button", name="Save").click()
        mine = page.locator("tr").filter(has=page.get_by_role("link", name=own, exact=True))
        expect(mine).to_contain_text("ops, night")
        stored = console.db["rules"].find_one({"_id": own}) or {}
        rule = parse_rule(stored)
        assert (rule.params["still_s"], rule.where and rule.where.workflow, rule.account) == (60, "tax*", ACME)
        mine.get_by_role("button", name="Switch off").click()
        until(lambda: not (console.db["rules"].find_one({"_id": own}) or {})["enabled"], "it is off")
        mine.get_by_role("link", name=own, exact=True).click()
        fill(page, "For so long, seconds", "-1")
        page.get_by_role("button", name="Save").click()
        expect(page.locator(".q-notification")).to_contain_text("params.still_s")
        page.goto("/rules")
        mine.get_by_role("button", name="Remove").click()
        page.locator(".q-dialog").get_by_role("button", name="Remove").click()
        expect(mine).to_have_count(0)
    assert console.db["rules"].find_one({"_id": own}) is None


def test_a_recipient_is_made_tried_edited_and_removed(console: Site, browser: Browser) -> None:
    id = f"{ACME}/page"
    with browsing.visiting(browser, console, "ada") as page, answer_commands(console) as commands:
        page.goto("/recipients")
        page.get_by_role("link", name="New recipient").click()
        fill(page, "Name *", "page")
        fill(page, "Title", "The page's")
        fill(page, "Address, number or URL", "not an address")
        page.get_by_role("button", name="Save").click()
        expect(page.locator(".q-notification")).to_contain_text("channels.0.address")
        fill(page, "Address, number or URL", "ops@acme.example")
        page.get_by_role("button", name="One more way").click()
        expect(page.get_by_label("Kind")).to_have_count(2)
        page.get_by_label("Kind").last.click()
        page.get_by_role("option", name="webhook").click()
        last = page.get_by_label("Address, number or URL").last
        last.fill("https://acme.example/hook")
        last.press("Tab")
        page.get_by_role("button", name="One more time of the week").click()
        page.get_by_role("button", name="Save").click()
        expect(page.locator(".q-dialog")).to_contain_text("whsec_")
        page.locator(".q-dialog").get_by_role("button", name="Close").click()
        row = page.locator("tr", has_text=id)
        expect(row).to_contain_text("webhook https://acme.example/hook")
        row.get_by_role("button", name="Send a test").click()
        until(lambda: len(commands) == 1, "the test was asked for")
        before = parse_recipient(console.db["recipients"].find_one({"_id": id}) or {})
        row.get_by_role("link", name=id).click()
        fill(page, "Title", "Another")
        page.get_by_role("button", name="Save").click()
        expect(page.locator("tr", has_text="Another")).to_have_count(1)
        after = parse_recipient(console.db["recipients"].find_one({"_id": id}) or {})
        assert after == before.model_copy(update={"title": "Another"})
        assert after.hours is not None
        row.get_by_role("button", name="Remove").click()
        page.locator(".q-dialog").get_by_role("button", name="Remove").click()
        expect(row).to_have_count(0)
    assert commands[0]["args"] == {"recipient": id}


def test_every_page_says_that_nobody_looks_for_what_is_wrong(console: Site, browser: Browser) -> None:
    """The leader's lease stands still: also who watches no alerts is told."""
    lease = {"owner": "alerts-1", "token": 3, "counter": 1, "at": datetime.now(UTC)}
    console.db["leases"].replace_one({"_id": LEADER}, lease, upsert=True)
    with browsing.visiting(browser, console, "admin") as page:
        page.goto("/")
        expect(page.locator(".unwatched")).to_contain_text("nobody is told when something is wrong", timeout=60_000)
        health = page.locator(".part", has_text="Health").locator("tr", has_text="alerts")
        expect(health).to_contain_text("nobody looks for what is wrong")
        console.db["leases"].update_one({"_id": LEADER}, {"$inc": {"counter": 1}})
        expect(page.locator(".unwatched")).to_be_hidden(timeout=60_000)


def test_what_nobody_looks_at_is_counted_in_the_menu(console: Site, browser: Browser) -> None:
    put_alert(console, text="one to count")
    with browsing.visiting(browser, console, "vera") as page:
        page.goto("/tasks")
        count = page.locator("a.entry", has_text="Alerts").locator(".count")
        expect(count).to_have_text(re.compile(r"^[1-9][0-9]*\+?$"))


@pytest.mark.parametrize("kind", [kind for kind in RuleKind if PARAMS[kind].model_fields])
def test_every_parameter_has_a_name_for_people(kind: RuleKind) -> None:
    from services.console.pages.language import translate
    from services.console.pages.rule import param_names

    class Visit:
        text = staticmethod(translate("pt_BR"))

    names = param_names(Visit())  # type: ignore[arg-type]
    assert set(PARAMS[kind].model_fields) <= set(names)


def test_what_to_do_is_read_here(console: Site, browser: Browser) -> None:
    with browsing.visiting(browser, console, "otto") as page:
        page.goto("/runbooks/robot_lost")
        expect(page.locator("h1")).to_have_text("What to do")
        expect(page.locator(".runbook h2")).to_have_text(["Figure", "Log line", "Command", "What to do"])
        expect(page.locator(".runbook li", has_text="Is the machine on")).to_be_visible()
        page.goto("/runbooks/nothing")
        expect(page.locator(".empty")).to_have_text("There is no such kind of alert.")
