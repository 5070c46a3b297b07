"""The page behind a decision's link on a phone: readable, reachable with a thumb, a keyboard and a screen reader."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.integration.console import browsing
from tests.integration.console.site import (
    Site,
    answer_decisions,
    decision_link,
    now,
    put_decision,
    put_evidence,
    put_task,
)

TARGET_PX = 44
LONG = "Confirmação-do-pagamento-sem-nenhum-espaço-" * 4


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests."""
    with browsing.browser() as started:
        yield started


@contextmanager
def phone(browser: Browser, language: str = "en-US", width: int = 390, **more: Any) -> Iterator[Page]:
    """A page of a phone's size; anything that its console complains of fails the test."""
    context = browser.new_context(
        locale=language, timezone_id="America/Sao_Paulo", viewport={"width": width, "height": 800}, has_touch=True,
        device_scale_factor=2, **more,
    )  # fmt: skip
    page = context.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
    yield page
    context.close()
    assert complaints == []


def keep_picture(page: Page, name: str) -> None:
    """A picture of the page for people, where REGENTE_PICTURES names a folder."""
    folder = os.environ.get("REGENTE_PICTURES")
    if folder:
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def picture(width: int, height: int) -> bytes:
    """A grey PNG with a darker bar, as large as a desktop's."""
    rows = b"".join(
        b"\0"
        + bytes(60 if height // 3 < y < height // 2 and width // 8 < x < width // 2 else 205 for x in range(width))
        for y in range(height)
    )
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    chunks = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def asked(console: Site, **fields: Any) -> str:
    """A question with a screenshot and a deadline."""
    run = f"run_phone{os.urandom(6).hex()}"
    task = put_task(console)
    image = put_evidence(console, run, task, 11, "screen", data=picture(1280, 720))
    about = {"question": "The portal asks for R$ 1,204.50 instead of R$ 1,200.00. Pay it?", "image": image}
    options = {"options": ["Pay the new amount", "Do not pay", "Ask the accountant"], "default": "Do not pay"}
    return put_decision(console, run=run, task=task, **{**about, **options, **fields})


def test_nothing_sticks_out_and_all_can_be_hit(console: Site, browser: Browser) -> None:
    for fields in (
        {},
        {"options": []},
        {"options": [LONG, "não"], "question": f"{LONG}?"},
        {"state": "expired", "at": now()},
    ):
        id = asked(console, **fields)
        with phone(browser, "pt-BR", width=320) as page:
            page.goto(decision_link(console, id))
            assert page.evaluate("document.documentElement.scrollWidth") <= 320
            for target in page.locator("button, nav a, textarea").all():
                box = target.bounding_box()
                assert box is not None
                assert box["width"] >= TARGET_PX
                assert box["height"] >= TARGET_PX


@pytest.mark.parametrize(("language", "thanks"), [("en-US", "Thank you."), ("pt-BR", "Obrigado.")])
def test_a_tap_answers(console: Site, browser: Browser, language: str, thanks: str) -> None:
    id = asked(console)
    with phone(browser, language) as page, answer_decisions(console) as requests:
        page.goto(decision_link(console, id))
        expect(page.locator("figure img")).to_be_visible()
        assert page.evaluate("document.querySelector('figure img').naturalWidth") == 1280
        keep_picture(page, f"phone-open-{language}")
        page.get_by_role("button", name="Do not pay").tap()
        expect(page.get_by_role("status")).to_contain_text(thanks)
        keep_picture(page, f"phone-thanks-{language}")
        page.goto(decision_link(console, id))
        expect(page.get_by_role("button")).to_have_count(0)
        keep_picture(page, f"phone-answered-{language}")
    assert [one["args"]["answer"] for one in requests] == ["Do not pay"]


@pytest.mark.parametrize("language", ["en-US", "pt-BR"])
def test_the_deadline_is_in_the_readers_own_time(console: Site, browser: Browser, language: str) -> None:
    at = now().replace(year=2031, month=3, day=9, hour=15, minute=30)
    id = asked(console, due_at=at, options=[])
    with phone(browser, language) as page:
        page.goto(decision_link(console, id))
        expect(page.locator("time")).to_contain_text("12:30")
        keep_picture(page, f"phone-text-{language}")
    with phone(browser, language, java_script_enabled=False) as page:
        page.goto(decision_link(console, id))
        expect(page.locator("time")).to_contain_text("15:30 (UTC)")


def test_the_keyboard_is_enough_and_names_are_read(console: Site, browser: Browser) -> None:
    id = asked(console)
    with phone(browser, width=800) as page, answer_decisions(console) as requests:
        page.goto(decision_link(console, id))
        expect(page.get_by_role("group", name="Your answer")).to_be_visible()
        expect(page.get_by_role("heading", level=1)).to_contain_text("R$ 1,204.50")
        expect(page.get_by_role("img", name="Picture that goes with the question")).to_be_visible()
        for _ in range(10):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.textContent") == "Ask the accountant":
                break
        page.keyboard.press("Enter")
        expect(page.get_by_role("status")).to_contain_text("Thank you.")
    assert [one["args"]["answer"] for one in requests] == ["Ask the accountant"]


def test_without_scripts_a_text_is_sent_and_the_language_kept(console: Site, browser: Browser) -> None:
    id = asked(console, options=[], question="Which protocol does the picture show?")
    with phone(browser, "en-US", java_script_enabled=False) as page, answer_decisions(console) as requests:
        page.goto(decision_link(console, id))
        page.get_by_role("link", name="PT").click()
        page.get_by_label("Sua resposta").fill("2026-77\nlinha dois")
        page.get_by_role("button", name="Enviar").click()
        expect(page.get_by_role("status")).to_contain_text("Obrigado.")
    assert [one["args"]["answer"] for one in requests] == ["2026-77\nlinha dois"]


def test_two_presses_are_one_answer(console: Site, browser: Browser) -> None:
    id = asked(console)
    with phone(browser) as page, answer_decisions(console):
        page.goto(decision_link(console, id))
        page.get_by_role("button", name="Do not pay").dblclick()
        expect(page.get_by_role("status")).to_be_visible()
    found = console.db["decisions"].find_one({"_id": id})
    assert found is not None
    assert found["answer"] == "Do not pay"


def test_dark_phones_and_lost_links_look_right(console: Site, browser: Browser) -> None:
    id = asked(console, due_at=now() + timedelta(minutes=40))
    with phone(browser, "pt-BR", width=320, color_scheme="dark") as page:
        page.goto(decision_link(console, id))
        keep_picture(page, "phone-dark")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(14, 21, 27)"
    context = browser.new_context(locale="pt-BR", viewport={"width": 320, "height": 640})
    lost = context.new_page()
    lost.goto(f"{console.url}/d/run_x.00000001?t=no")
    expect(lost.get_by_role("heading")).to_have_text("Não há nada aqui")
    keep_picture(lost, "phone-lost")
    context.close()
