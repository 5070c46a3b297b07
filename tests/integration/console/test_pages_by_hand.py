"""Tasks by hand in a real browser: the form of a workflow's schema, and a file with its preview."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser, Page, expect

from tests.integration.console import browsing
from tests.integration.console.site import ACME, Site, answer_commands, put_task, until, workflow_files

expect.set_options(timeout=browsing.DEADLINE_MS)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["registration", "kind", "urgent"],
    "additionalProperties": False,
    "properties": {
        "registration": {
            "type": "string",
            "title": "Registration of the taxpayer",
            "pattern": "^[0-9]+$",
            "minLength": 3,
        },
        "kind": {"type": "string", "title": "What to issue", "enum": ["clearance", "withholding"]},
        "urgent": {"type": "boolean", "title": "Urgent"},
        "copies": {"type": "integer", "title": "Copies", "minimum": 1, "maximum": 9, "default": 1},
        "amount": {"type": "number", "title": "Amount", "description": "In the currency of the account."},
        "day": {"type": "string", "title": "Day", "format": "date"},
        "emails": {"type": "array", "title": "Mail it to", "items": {"type": "string"}},
        "address": {
            "type": "object",
            "title": "Address",
            "required": ["city"],
            "properties": {
                "city": {"type": "string", "title": "City"},
                "zip": {"type": "string", "title": "Post code"},
            },
        },
        "extra": {"type": "object", "title": "Anything else"},
    },
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this module."""
    with browsing.browser() as started:
        yield started


@pytest.fixture(scope="module")
def workflow(console: Site) -> str:
    """A workflow with many kinds of fields."""
    files = workflow_files("certificates")
    definition = yaml.safe_load(files["workflow.yaml"]) | {"title": "Issue a certificate", "input": SCHEMA}
    files["workflow.yaml"] = yaml.safe_dump(definition, sort_keys=False)
    with console.client("ada") as http:
        http.post("workflows", json={"account": ACME, "files": files}).raise_for_status()
    return "certificates"


def keep_picture(page: Page, name: str) -> None:
    """A picture of the page for people, where REGENTE_PICTURES names a folder."""
    folder = os.environ.get("REGENTE_PICTURES")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.mark.parametrize(
    ("language", "hand_in", "fill_in"), [("en-US", "Hand in", "Fill this in."), ("pt-BR", "Enviar", "Preencha.")]
)
def test_a_form_is_made_of_the_schema_and_says_what_is_wrong_at_its_field(
    console: Site, browser: Browser, workflow: str, language: str, hand_in: str, fill_in: str
) -> None:
    task = {"index": 0, "reference": "hand-1", "id": "task_1", "duplicate": False}
    progress = {"batch": "b", "accepted": 1, "duplicates": 0, "rejected": 0, "tasks": [task], "refused": []}
    with browsing.visiting(browser, console, "otto", language) as page:
        page.goto(f"/tasks/new?account={ACME}&workflow={workflow}")
        registration = page.locator(".field", has_text="Registration of the taxpayer")
        expect(page.locator("fieldset", has_text="Address").locator(".field")).to_have_count(2)
        expect(page.get_by_label("Copies", exact=True)).to_have_value("1")
        send = page.get_by_role("button", name=hand_in)
        send.click()
        expect(registration.get_by_role("alert")).to_have_text(fill_in)
        expect(page.locator(".field", has_text="What to issue").get_by_role("alert")).to_have_text(fill_in)
        registration.locator("input").fill("x1")
        page.get_by_label("What to issue").click()
        page.locator(".q-menu .q-item", has_text="withholding").click()
        page.get_by_label("Copies", exact=True).fill("10")
        send.click()
        expect(registration.get_by_role("alert")).to_contain_text("x1")
        expect(page.locator(".field", has_text="Copies").get_by_role("alert")).to_contain_text("10")
        keep_picture(page, f"new-task-{language}")
        registration.locator("input").fill("12345")
        page.get_by_label("Copies", exact=True).fill("2")
        page.get_by_label("Amount").fill("12,50")
        page.get_by_label("Day").fill("2027-01-31")
        page.get_by_label("Mail it to").fill("a@b.example\nc@d.example")
        page.get_by_label("City").fill("Recife")
        page.get_by_label("Anything else").fill('{"x": 1}')
        with answer_commands(console, progress=progress) as commands:
            send.click()
            expect(page.locator(".handed a")).to_have_attribute("href", "/tasks/task_1")
            keep_picture(page, f"new-task-done-{language}")
    (command,) = commands
    (item,) = command["args"]["tasks"]
    assert item["input"] == {
        "registration": "12345",
        "kind": "withholding",
        "urgent": False,
        "copies": 2,
        "amount": 12.5,
        "day": "2027-01-31",
        "emails": ["a@b.example", "c@d.example"],
        "address": {"city": "Recife"},
        "extra": {"x": 1},
    }
    assert item["reference"].startswith("hand-")


def test_a_double_click_hands_in_one_task_and_a_second_one_is_asked_for(
    console: Site, browser: Browser, workflow: str
) -> None:
    def count() -> int:
        return console.db["commands"].count_documents({"kind": "tasks.add"})

    before = count()
    with browsing.visiting(browser, console, "otto") as page, answer_commands(console):
        page.goto(f"/tasks/new?account={ACME}&workflow={workflow}")
        page.get_by_label("Registration of the taxpayer").fill("777")
        page.get_by_label("What to issue").click()
        page.locator(".q-menu .q-item", has_text="clearance").click()
        send, dialog = page.get_by_role("button", name="Hand in").first, page.locator(".q-dialog")
        send.dblclick()
        expect(page.locator(".handed a")).to_have_count(1)
        assert count() == before + 1
        # clicks of the next moment are taken for the same one
        until(lambda: send.dispatch_event("click") or dialog.is_visible(), "it asks whether this is wanted twice")
        expect(dialog).to_contain_text("Once more?")
        assert count() == before + 1
        dialog.get_by_role("button", name="Hand in").click()
        expect(page.locator(".handed a")).to_have_count(2)
    assert count() == before + 2
    first, second = console.db["commands"].find({"kind": "tasks.add"}).sort("_id", -1).limit(2)
    assert first["args"]["tasks"][0]["reference"] != second["args"]["tasks"][0]["reference"]


def test_fields_and_json_are_two_views_of_one_input(console: Site, browser: Browser, workflow: str) -> None:
    like = put_task(console, workflow=workflow, input={"registration": "99", "kind": "clearance", "urgent": True})
    with browsing.visiting(browser, console, "otto") as page:
        page.goto(f"/tasks/new?account={ACME}&workflow={workflow}&like={like}")
        expect(page.get_by_label("Registration of the taxpayer")).to_have_value("99")
        page.get_by_role("switch", name="As JSON").click()
        text = page.get_by_label("Input as JSON")
        expect(text).to_have_value('{\n  "registration": "99",\n  "kind": "clearance",\n  "urgent": true\n}')
        text.fill('{"registration": "98", "kind": "other"}')
        page.get_by_role("switch", name="As JSON").click()
        expect(page.locator(".q-notification")).to_contain_text("stays JSON")
        text.fill('{"registration": "98", "kind": "withholding", "urgent": false}')
        page.get_by_role("switch", name="As JSON").click()
        expect(page.get_by_label("Registration of the taxpayer")).to_have_value("98")


def test_viewers_hand_nothing_in(console: Site, browser: Browser, workflow: str) -> None:
    with browsing.visiting(browser, console, "vera") as page:
        for address in ("new", "upload"):
            page.goto(f"/tasks/{address}?account={ACME}&workflow={workflow}")
            expect(page.locator(".empty")).to_have_text("Your role does not allow this.")
        page.goto("/tasks")
        expect(page.locator("table").first).to_be_visible()
        expect(page.locator(".ways")).to_have_count(0)


@pytest.mark.parametrize(
    ("language", "hand_in", "preview"), [("en-US", "Hand in 2", "Preview"), ("pt-BR", "Enviar 2", "Prévia")]
)
def test_a_file_is_previewed_mapped_and_handed_in(
    console: Site, browser: Browser, workflow: str, language: str, hand_in: str, preview: str
) -> None:
    lines = [
        "Nota;Registration of the taxpayer;Tipo;urgent;copies",
        f"{language}-1;111;clearance;sim;1",
        f"{language}-2;22x;withholding;não;2",
        f"{language}-3;333;clearance;não;",
        f"{language}-4;444;other;não;99",
    ]
    with browsing.visiting(browser, console, "otto", language) as page:
        page.goto("/tasks")
        page.locator(".ways button").nth(1).click()
        page.locator(".choose").click()
        page.locator(".q-menu .q-item", has_text="certificates").click()
        page.locator("input[type=file]").set_input_files(
            {"name": "março.csv", "mimeType": "text/csv", "buffer": "\n".join(lines).encode()}
        )
        tiles = page.locator(".tiles .tile b")
        expect(tiles).to_have_text(["4", "0", "0", "4"])  # the column Tipo is not known
        select = page.locator(".mapping .q-select", has_text="What to issue")
        select.click()
        page.locator(".q-menu .q-item", has_text="Tipo").click()
        reference = page.locator(".mapping .q-select").nth(10)
        reference.click()
        page.locator(".q-menu .q-item", has_text="Nota").click()
        page.get_by_role("button", name=preview).click()
        expect(tiles).to_have_text(["4", "2", "0", "2"])
        refused = page.locator("tr", has_text=f"{language}-2")
        expect(refused).to_contain_text("registration: '22x' does not match")
        keep_picture(page, f"upload-{language}")
        progress = {"batch": "b", "accepted": 2, "duplicates": 0, "rejected": 0, "tasks": [], "refused": []}
        with answer_commands(console, progress=progress) as commands:
            page.get_by_role("button", name=hand_in).click()
            done = page.locator(".part a[href*='batch=']")
            expect(done).to_be_visible()
            keep_picture(page, f"upload-done-{language}")
        upload = commands[0]["args"]["upload"]
        batch = f"batch_{upload.removeprefix('upload_')}"
        put_task(console, workflow=workflow, batch=batch, reference=f"{language}-done")
        done.click()
        expect(page.locator("tr", has_text=f"{language}-done")).to_be_visible()
        expect(page.locator("tbody tr")).to_have_count(1)
    stored = console.db["uploads"].find_one({"_id": upload})
    assert stored is not None
    assert (stored["counts"]["new"], stored["confirmed_by"], stored["name"]) == (2, "otto", "março.csv")
    assert console.db["uploads"].count_documents({"name": "março.csv", "confirmed_at": None}) == 0


def test_a_file_goes_with_a_task_where_the_schema_says_so(console: Site, browser: Browser) -> None:
    files = workflow_files("with-scan")
    schema = "input: {type: object, required: [scan], properties: {scan: {type: string, format: file, title: Scan}}}\n"
    files["workflow.yaml"] = files["workflow.yaml"].replace("input: {type: object}\n", schema)
    with console.client("ada") as http:
        http.post("workflows", json={"account": ACME, "files": files}).raise_for_status()
    with browsing.visiting(browser, console, "otto") as page, answer_commands(console) as commands:
        page.goto(f"/tasks/new?account={ACME}&workflow=with-scan")
        page.locator("input[type=file]").set_input_files(
            {"name": "scan.pdf", "mimeType": "application/pdf", "buffer": b"%PDF-1.4 a scan"}
        )
        field = page.get_by_label("Scan")
        expect(field).to_have_value(re.compile("^file_[0-9a-f]{32}$"))
        keep_picture(page, "new-task-file")
        page.get_by_role("button", name="Hand in").click()
        expect(page.locator(".handed a")).to_have_count(1)
    (command,) = commands
    kept = console.db["files"].find_one({"_id": command["args"]["tasks"][0]["input"]["scan"]})
    assert kept is not None
    assert (kept["account"], kept["name"], kept["by"]) == (ACME, "scan.pdf", "otto")
