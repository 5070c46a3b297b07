"""A web browser with one window, driven by Playwright.

Owns: the browser process of a run. Called by: driver.py, screen.py. Survives a crash: nothing; the run begins again
with its setup. Change also: the server's stub `browser.pyi`; elements.py finds what a target names.

An act first makes sure that it can be done (a clean error if not), then does it; what goes wrong from there on is in
doubt. Going to an address is the exception: a page that does not load is a clean error, since loading changes nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, TypeVar

from regente_agent import trust, wire
from regente_agent.drivers import elements
from regente_agent.drivers.contract import Certificate, Failure, InDoubt, Job, Target, act, read
from regente_agent.drivers.sight import Sight
from regente_agent.scrub import bare_url
from regente_agent.settings import Settings

VIEWPORT = {"width": 1280, "height": 800}
EXISTS_WAIT_S = 5.0
PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
WINDOWS_PATHS = (
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)
SWITCHES = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
_NET_ERROR = re.compile(r"net::ERR_[A-Z0-9_]+")

R = TypeVar("R")


class Browser:
    """The instructions browser.*"""

    def __init__(self, settings: Settings, say: Callable[[str, str], None]) -> None:
        """`say(level, text)` writes a log line."""
        self.job: Job = None  # type: ignore[assignment]  # set by driver.py before every instruction
        self._settings, self._say = settings, say
        self._playwright: Any = None
        self._browser: Any = None
        self._context: Any = None
        self._certificate = ""
        self._crashed = False
        self._sight = Sight()

    # instructions

    @act
    def open(self, url: str, *, certificate: Optional[Certificate] = None, timeout: Optional[float] = None) -> None:
        """Go to an address; returns when the page has loaded."""
        if not url.startswith(("http://", "https://", "about:", "file:", "data:")):
            raise Failure("BAD_ARGUMENT", f"{url[:200]!r} is no address that a browser can open")
        self._ready_for(certificate)
        page = self._page() or self._context.new_page()
        self._sight.watch(page)
        try:
            page.goto(url, wait_until="load", timeout=self.job.wait_s(timeout) * 1000)
        except Exception as error:  # Playwright's errors have no common ground but their texts
            if type(error).__name__ == "TimeoutError":
                self._give_up_loading(page)
            raise self._not_loaded(url, error) from error
        self.job.found()

    @act
    def fill(self, target: Target, text: str, *, timeout: Optional[float] = None) -> None:
        """Replace the text of a field."""
        field = self._ready(target, timeout, "is_editable", "can't be edited")
        self._do(lambda: field.fill(text, timeout=self._rest_ms()))

    @act
    def click(self, target: Target, *, commit: bool = False, timeout: Optional[float] = None) -> None:
        """Click an element once it can be clicked."""
        element = self._clickable(target, timeout)
        self._do(lambda: element.click(timeout=self._rest_ms()))

    @act
    def select(self, target: Target, option: str, *, timeout: Optional[float] = None) -> None:
        """Choose an option of a list by its label or its value."""
        field = self._ready(target, timeout, "is_enabled", "is disabled")
        choices: List[Dict[str, str]] = self._look(
            lambda: field.evaluate(
                "e => Array.from(e.options || []).map(o => ({label: o.label.trim(), value: o.value}))"
            )
        )
        by_label = [choice for choice in choices if choice["label"] == option.strip()]
        by_value = [choice for choice in choices if choice["value"] == option]
        if not by_label and not by_value:
            raise Failure("NOT_FOUND", f"{elements.title(target)} has no such option among its {len(choices)}")
        value = (by_label or by_value)[0]["value"]
        self._do(lambda: field.select_option(value=value, timeout=self._rest_ms()))

    @act
    def check(self, target: Target, on: bool = True, *, timeout: Optional[float] = None) -> None:
        """Tick a box, or clear it."""
        box = self._ready(target, timeout, "is_enabled", "is disabled")
        try:
            if box.is_checked(timeout=1000) == on:
                return
        except Exception as error:
            raise Failure("BAD_ARGUMENT", f"{elements.title(target)} is no box that can be ticked") from error
        self._do(lambda: box.set_checked(on, timeout=self._rest_ms()))

    @act
    def press(self, keys: str, *, commit: bool = False, timeout: Optional[float] = None) -> None:
        """Press a key or a combination in the page."""
        page = self._open_page()
        try:
            page.keyboard.press(keys)
        except Exception as error:
            if "Unknown key" in str(error):
                raise Failure("BAD_ARGUMENT", "there is no such key; examples are Enter, Tab, Control+A") from error
            raise self._in_doubt(error) from error

    @read
    def exists(self, target: Target, *, timeout: Optional[float] = None) -> bool:
        """Whether an element appears within the time."""
        wait_s = self.job.wait_s(timeout, EXISTS_WAIT_S)
        there = self._find(target, min(wait_s, self.job.left_s())).element is not None
        if there:
            self.job.found()
        return there

    @read
    def wait(self, target: Target, *, timeout: Optional[float] = None) -> None:
        """Wait until an element is visible."""
        self._found(target, timeout)

    @read
    def text(self, target: Target, *, timeout: Optional[float] = None) -> str:
        """The visible text of an element."""
        element = self._found(target, timeout)
        return str(self._look(lambda: element.inner_text(timeout=self._rest_ms())))

    @read
    def value(self, target: Target, *, timeout: Optional[float] = None) -> str:
        """The value of a field."""
        element = self._found(target, timeout)
        try:
            return str(element.input_value(timeout=self._rest_ms()))
        except Exception as error:
            if "Node is not" in str(error):
                raise Failure("BAD_ARGUMENT", f"{elements.title(target)} is no field with a value") from error
            raise self._broken(error) from error

    @read
    def url(self) -> str:
        """The address of the page that is open."""
        return str(self._open_page().url)

    @act
    def download(
        self, target: Target, *, name: Optional[str] = None, timeout: Optional[float] = None
    ) -> Dict[str, str]:
        """Click what starts a download and keep the file as evidence."""
        element = self._clickable(target, timeout)
        page = self._open_page()
        try:
            with page.expect_download(timeout=self._rest_ms()) as starting:
                element.click(timeout=self._rest_ms())
            download = starting.value
            path = Path(download.path())
        except Exception as error:
            raise self._in_doubt(error) from error
        try:
            return self.job.keep_file(path, name or str(download.suggested_filename))
        except Failure as failure:
            raise InDoubt(failure.code, f"the file came but could not be kept: {failure}") from failure

    @act
    def close(self) -> None:
        """Close the browser and forget its cookies."""
        for part in (self._context, self._browser):
            try:
                if part is not None:
                    part.close()
            except Exception as error:  # whatever is left of it ends with the driver
                self._say("warning", f"the browser did not close cleanly: {_first_line(error)}")
        self._context = self._browser = None
        self._certificate, self._crashed = "", False
        self._sight.end()

    # for driver.py and screen.py

    @property
    def is_open(self) -> bool:
        """Whether a page is open."""
        return self._page() is not None

    @property
    def is_lost(self) -> bool:
        """Whether the browser died: then the desktop that setup prepared is gone."""
        return self._crashed or (self._browser is not None and not self._browser.is_connected())

    def picture(self, timeout_s: float) -> bytes:
        """A PNG of the page.

        Raises: Failure when it can't be taken.
        """
        page = self._open_page()
        if not elements.answers(page, min(timeout_s, 2 * elements.ANSWER_S)):
            raise Failure("DRIVER_FAILED", "the page does not answer; no picture can be taken of it")
        try:
            picture: bytes = page.screenshot(type="png", scale="css", timeout=timeout_s * 1000)
            return picture
        except Exception as error:
            if type(error).__name__ != "TimeoutError" or self.is_lost:
                raise self._broken(error) from error
            # a film of it (Page.startScreencast) would not end before the next page comes, with Chromium 150
            raise Failure("DRIVER_FAILED", "the page waits for its next one; no picture can be taken of it") from error

    def context(self) -> Dict[str, Any]:
        """What is open, for a failure's record."""
        return self._sight.look(self._page())

    def context_from_beside(self, wait_s: float) -> Dict[str, Any]:
        """The same while an instruction hangs, from another thread."""
        return self._sight.look_from_beside(self._page(), wait_s)

    def last_picture(self, wait_s: float) -> Optional[bytes]:
        """A PNG of the page although an instruction hangs, from another thread; the driver is killed next."""
        page = self._page()
        return self._sight.last_picture(page, wait_s) if page is not None else None

    # private

    def _ready_for(self, certificate: Optional[Certificate]) -> None:
        """A browser and a context; another certificate needs another context."""
        if self._browser is None:
            self._launch()
        mark = self._mark(certificate)
        if self._context is not None and mark not in ("", self._certificate):
            self._context.close()
            self._context = None
        if self._context is None:
            self._new_context(certificate)
            self._certificate = mark

    def _launch(self) -> None:
        try:
            from playwright.sync_api import sync_playwright
        except ImportError as error:
            raise Failure(
                "NOT_ALLOWED", "this robot has no browser driver: its package playwright is missing"
            ) from error
        program = find_browser(self._settings)
        if program is None:
            raise Failure("NOT_ALLOWED", "this robot has no browser: set REGENTE_AGENT_BROWSER to its program")
        switches = SWITCHES + trust.switches(self._settings.ca_file)
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            switches.append("--no-sandbox")
        try:
            if self._playwright is None:
                self._playwright = sync_playwright().start()
            self._browser = self._playwright.chromium.launch(
                executable_path=program, headless=self._settings.headless, args=switches
            )
            self._sight.begin(self._browser)
        except Exception as error:
            raise Failure("DRIVER_FAILED", f"the browser did not start: {_why(error)}") from error

    def _give_up_loading(self, page: Any) -> None:
        """Stop a load that took too long: while a page waits for its next one, no picture of it can be taken."""
        try:
            session = self._context.new_cdp_session(page)
            session.send("Page.stopLoading")
            session.detach()
        except Exception:  # a page in trouble; what matters is told as the load's own failure
            return

    def _new_context(self, certificate: Optional[Certificate]) -> None:
        options: Dict[str, Any] = {}
        if certificate is not None:
            options["client_certificates"] = self._client_certificates(certificate)
        try:
            self._context = self._browser.new_context(
                viewport=VIEWPORT,
                accept_downloads=True,
                ignore_https_errors=self._settings.ignore_https_errors,
                **options,
            )
        except Exception as error:
            raise Failure("BAD_ARGUMENT", f"no browser window with these settings: {_first_line(error)}") from error
        self._context.on("dialog", self._on_dialog)
        self._context.on("page", lambda page: page.on("crash", self._on_crash))

    def _client_certificates(self, certificate: Certificate) -> List[Dict[str, Any]]:
        parts = wire.certificate_of(certificate)
        if parts is None or not parts[2]:
            raise Failure(
                "BAD_ARGUMENT", "the certificate must hold pkcs12 (base64), passphrase and at least one origin"
            )
        pkcs12, passphrase, origins = parts
        return [{"origin": origin, "pfx": pkcs12, "passphrase": passphrase} for origin in origins]

    def _mark(self, certificate: Optional[Certificate]) -> str:
        return hashlib.sha256(repr(certificate).encode()).hexdigest() if certificate is not None else ""

    def _on_dialog(self, dialog: Any) -> None:
        """A page's question would stop everything: information is accepted, a decision is declined."""
        self._say("warning", f"the page showed a dialog of type {dialog.type}: it was closed")
        accepted = dialog.type in ("alert", "beforeunload")
        self._sight.note_dialog(str(dialog.type), str(dialog.message), "accepted" if accepted else "dismissed")
        dialog.accept() if accepted else dialog.dismiss()

    def _on_crash(self, page: Any) -> None:
        self._crashed = True

    def _page(self) -> Any:
        """The newest window that is open, or None."""
        pages = [page for page in self._context.pages if not page.is_closed()] if self._context is not None else []
        return pages[-1] if pages else None

    def _open_page(self) -> Any:
        page = self._page()
        if page is None:
            raise Failure("NOT_FOUND", "no page is open: the script has to open one first")
        self._sight.watch(page)
        return page

    def _find(self, target: Target, wait_s: float) -> elements.Found:
        page = self._open_page()
        found = elements.find(page, target, wait_s, lambda: self.is_lost, exactly_one=self.job.commit)
        if self.is_lost:
            raise Failure("DRIVER_FAILED", "the browser has crashed")
        if found.index is not None:
            self.job.matched = found.index
            selector = target["selectors"][found.index]
            self._say("debug", f"{elements.title(target)} matched by {selector}")
            if found.visible > 1:
                text = f"{selector} shows {found.visible} visible elements; the first in the page's order was taken"
                self._say("warning", f"{elements.title(target)}: {text}")
        return found

    def _found(self, target: Target, timeout: Optional[float]) -> Any:
        wait_s = self.job.wait_s(timeout)
        found = self._find(target, wait_s)
        if found.element is None:
            name = elements.title(target)
            raise Failure("TIMEOUT", f"{name} did not appear within {wait_s:g} s; tried {found.tried}")
        self.job.found()
        return found.element

    def _ready(self, target: Target, timeout: Optional[float], test: str, lacking: str) -> Any:
        """The element once it passes a test (a method of Playwright's); nothing has been done to it."""
        wait_s = self.job.wait_s(timeout)
        found = self._found(target, timeout)
        may_take_ms = max(wait_s, 1.0) * 1000

        def passes() -> bool:
            return self._look(lambda: bool(getattr(found, test)(timeout=may_take_ms)))

        if not elements.poll(self._open_page(), passes, self.job.rest_s(wait_s)):
            self.job.found_s = None
            raise Failure("TIMEOUT", f"{elements.title(target)} {lacking} after {wait_s:g} s")
        self.job.found()
        return found

    def _clickable(self, target: Target, timeout: Optional[float]) -> Any:
        wait_s = self.job.wait_s(timeout)
        found = self._found(target, timeout)
        try:
            found.click(trial=True, timeout=max(self.job.rest_s(wait_s), 0.5) * 1000)
        except Exception as error:
            self.job.found_s = None
            if self.is_lost:
                raise Failure("DRIVER_FAILED", "the browser has crashed") from error
            raise Failure("TIMEOUT", f"{elements.title(target)} could not be clicked within {wait_s:g} s") from error
        self.job.found()
        return found

    def _do(self, what: Callable[[], Any]) -> None:
        """The act itself: what fails here may have been done."""
        try:
            what()
        except Exception as error:
            raise self._in_doubt(error) from error

    def _look(self, what: Callable[[], R]) -> R:
        """A question to the page: what fails here changed nothing."""
        try:
            return what()
        except Exception as error:
            raise self._broken(error) from error

    def _rest_ms(self) -> float:
        return self.job.left_s() * 1000

    def _in_doubt(self, error: Exception) -> InDoubt:
        code = "TIMEOUT" if type(error).__name__ == "TimeoutError" else "DRIVER_FAILED"
        return InDoubt(code, f"it was begun, then: {_first_line(error)}")

    def _broken(self, error: Exception) -> Failure:
        code = "TIMEOUT" if type(error).__name__ == "TimeoutError" else "DRIVER_FAILED"
        return error if isinstance(error, Failure) else Failure(code, _first_line(error))

    def _not_loaded(self, url: str, error: Exception) -> Failure:
        if type(error).__name__ == "TimeoutError":
            return Failure("TIMEOUT", f"{bare_url(url)[:200]} did not load in time")
        net = _NET_ERROR.search(str(error))
        why = net.group() if net else _first_line(error).replace(url, bare_url(url))
        return Failure("DRIVER_FAILED", f"{bare_url(url)[:200]} could not be loaded: {why}")


def find_browser(settings: Settings) -> Optional[str]:
    """The browser's program: as configured, else one that is found on the machine."""
    if settings.browser:
        return settings.browser if os.path.isfile(settings.browser) else None
    for name in PROGRAMS:
        path = shutil.which(name)
        if path:
            return path
    return next((path for path in WINDOWS_PATHS if os.path.isfile(path)), None)


def _why(error: Exception) -> str:
    """Why a browser did not start: its own words if it had any."""
    own = [line for line in str(error).splitlines() if "FATAL" in line or "error while loading" in line]
    return (own[0][-400:] if own else "") or _first_line(error)


def _first_line(error: Exception) -> str:
    """An error without Playwright's call log, which quotes arguments."""
    text = str(error).split("Call log:")[0].split("\n=====")[0].strip()
    return (text.splitlines() or [type(error).__name__])[0][:500]
