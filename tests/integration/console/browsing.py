"""A real browser on the console's pages. Used by test_pages.py."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.integration.console.site import Site

DEADLINE_MS = 20_000
SIZE = {"width": 1440, "height": 900}


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium: the machine's own."""
    with sync_playwright() as playwright:
        path = os.environ.get("REGENTE_BROWSER") or _chromium()
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


def _chromium() -> str:
    for path in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"):
        if Path(path).exists():
            return path
    raise AssertionError("no browser: install chromium, or name one in REGENTE_BROWSER")


@contextmanager
def visiting(on: Browser, site: Site, user: str, language: str = "en-US", dark: bool = False) -> Iterator[Page]:
    """A page whose user is logged in. Everything that its console complains of fails the test at the end."""
    context = on.new_context(
        base_url=site.url,
        locale=language,
        timezone_id="America/Sao_Paulo",
        viewport={"width": SIZE["width"], "height": SIZE["height"]},
        color_scheme="dark" if dark else "light",
    )
    context.add_cookies([{"name": "regente_session", "value": site.token(user), "url": site.url}])
    page = context.new_page()
    page.set_default_timeout(DEADLINE_MS)
    complaints: list[str] = []
    foreign: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
    page.on("request", lambda asked: foreign.append(asked.url) if not _ours(asked.url, site) else None)
    yield page
    context.close()
    assert complaints == []
    assert foreign == []


def _ours(url: str, site: Site) -> bool:
    return url.startswith((site.url, site.url.replace("http", "ws", 1), "data:", "blob:", "about:"))
