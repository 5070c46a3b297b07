"""What the driver can tell of what is open when an instruction fails: pages, dialogs, windows, and a last picture.

Owns: the browser's sessions in its own protocol, and the last dialogs. Called by: browser.py (what is open), driver.py
(a failure), and, while an instruction hangs, driver.py's reading thread just before the driver is killed.
Survives a crash: nothing. Change also: the server's worker_reply (`context`).

Titles and addresses come from the browser's own process, which answers although a page hangs. Nothing here may take
long: what does not answer in time is left out, and `notes` say so.
"""

from __future__ import annotations

import asyncio
import base64
import inspect
import threading
import time
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Optional

from regente_agent.drivers.windows import open_windows
from regente_agent.scrub import bare_url

ENTRIES_MAX = 20
RAW_CHARS_MAX = 2000
"""Texts are cut to their final length only after secrets were taken out of them: half a secret is one, too."""
Entry = Dict[str, Any]


class Sight:
    """Looks at one browser from beside its pages."""

    def __init__(self) -> None:
        self._session: Any = None
        self._pages: Dict[Any, Any] = {}
        self._dialogs: Deque[Entry] = deque(maxlen=ENTRIES_MAX)

    def begin(self, browser: Any) -> None:
        """A browser was started."""
        self.end()
        self._session = _or_none(browser.new_browser_cdp_session)

    def watch(self, page: Any) -> None:
        """A page is used: get ready to look at it even if it hangs."""
        if page not in self._pages:
            self._pages = {known: session for known, session in self._pages.items() if not known.is_closed()}
            self._pages[page] = _or_none(lambda: page.context.new_cdp_session(page))

    def end(self) -> None:
        """The browser is gone."""
        self._session = None
        self._pages.clear()
        self._dialogs.clear()

    def note_dialog(self, kind: str, message: str, answer: str) -> None:
        """A page asked something, and it was answered so."""
        self._dialogs.append({"type": kind, "message": message[:RAW_CHARS_MAX], "answer": answer})

    def look(self, active: Any) -> Entry:
        """What is open, from the driver's own thread between two calls of Playwright. `active`: the page in use."""
        targets = None
        if self._session is not None:
            targets = _or_none(lambda: self._session.send("Target.getTargets")["targetInfos"])
        return self._told(active, targets)

    def look_from_beside(self, active: Any, wait_s: float) -> Entry:
        """The same from another thread, while the driver's waits for Playwright."""
        found = _ask(self._session, "Target.getTargets", {}, wait_s)
        return self._told(active, found["targetInfos"] if found else None)

    def last_picture(self, active: Any, wait_s: float) -> Optional[bytes]:
        """A PNG of a page that may hang, from another thread. Its script is stopped for that: only for a driver that
        is about to be killed."""
        session = self._pages.get(active)
        end = time.monotonic() + wait_s
        _ask(session, "Runtime.terminateExecution", {}, wait_s / 4)
        found = _ask(session, "Page.captureScreenshot", {"format": "png"}, max(0.1, end - time.monotonic()))
        return base64.b64decode(found["data"]) if found else None

    def _told(self, active: Any, targets: Optional[List[Entry]]) -> Entry:
        address = _address(active)
        if targets is None:
            pages: List[Entry] = [{"url": address, "title": "", "active": True}] if active is not None else []
        else:
            pages = [_page(one) for one in targets if one.get("type") == "page"]
            _mark(pages, address)
        shown = [{**one, "url": bare_url(one["url"])} for one in pages[-ENTRIES_MAX:]]
        windows = open_windows()[:ENTRIES_MAX]
        told: Entry = {"pages": shown, "dialogs": list(self._dialogs), "windows": windows, "notes": []}
        if active is not None and targets is None:
            told["notes"].append("the browser did not tell its pages in time")
        return told


def _page(target: Entry) -> Entry:
    return {"url": str(target.get("url", "")), "title": str(target.get("title", ""))[:RAW_CHARS_MAX], "active": False}


def _mark(pages: List[Entry], address: str) -> None:
    """Mark the page in use: the newest one with its address."""
    for one in reversed(pages):
        if one["url"] == address:
            one["active"] = True
            return


def _address(page: Any) -> str:
    return str(_or_none(lambda: page.url) or "") if page is not None else ""


def _or_none(what: Callable[[], Any]) -> Any:
    """What a browser in trouble can still tell."""
    try:
        return what()
    except Exception:  # whatever it raises: the failure that this is told with is the one that counts
        return None


def _ask(session: Any, method: str, params: Entry, wait_s: float) -> Any:
    """Ask the browser from a thread that is not Playwright's: hand the question to its loop, which runs while its own
    thread waits for an answer. None when it does not answer in time, or does not wait for anything now."""
    if session is None:
        return None
    box: Dict[str, Any] = {}
    over = threading.Event()

    def done(task: Any) -> None:
        if not task.cancelled() and task.exception() is None:
            box["value"] = task.result()
        over.set()

    def begin() -> None:
        inner = session._impl_obj
        more = {"timeout": wait_s * 1000} if "timeout" in inspect.signature(inner.send).parameters else {}
        asyncio.ensure_future(inner.send(method, params=params, **more)).add_done_callback(done)

    try:
        session._loop.call_soon_threadsafe(begin)
    except Exception:  # another version of Playwright: then this is not known
        return None
    over.wait(wait_s)
    return box.get("value")
