"""What can be seen: the open page, else the whole desktop where there is one.

Called by: driver.py, which also asks for the picture of a failure here. Survives a crash: nothing.
Change also: the server's stub `screen.pyi`.
"""

from __future__ import annotations

import os
import sys
from typing import Optional

from regente_agent.drivers.browser import Browser
from regente_agent.drivers.contract import Failure, Job, read

PICTURE_TIMEOUT_S = 10.0


class Screen:
    """The instructions screen.*"""

    def __init__(self, browser: Browser) -> None:
        self.job: Job = None  # type: ignore[assignment]  # set by driver.py before every instruction
        self._browser = browser

    @read
    def evidence(self, name: str) -> str:
        """Take a picture and keep it under this name."""
        return str(self.job.keep(name, "image/png", self.picture(min(PICTURE_TIMEOUT_S, self.job.left_s())))["sha256"])

    def picture(self, timeout_s: float) -> bytes:
        """A PNG of the page or the desktop.

        Raises: Failure NOT_ALLOWED when there is nothing to see, DRIVER_FAILED when it can't be taken.
        """
        if self._browser.is_open:
            return self._browser.picture(timeout_s)
        return _desktop()


def has_desktop() -> bool:
    """Whether this process has a screen to look at."""
    return os.name == "nt" or sys.platform == "darwin" or bool(os.environ.get("DISPLAY"))


def desktop_or_none() -> Optional[bytes]:
    """A PNG of the desktop, where there is one and it can be taken."""
    try:
        return _desktop()
    except Failure:
        return None


def _desktop() -> bytes:
    if not has_desktop():
        raise Failure("NOT_ALLOWED", "there is nothing to see: no page is open, and this robot has no desktop")
    try:
        import mss
        import mss.tools
    except ImportError as error:
        raise Failure("NOT_ALLOWED", "pictures of the desktop need the package mss on this robot") from error
    try:
        with mss.mss() as camera:
            shot = camera.grab(camera.monitors[0])
            data = mss.tools.to_png(shot.rgb, shot.size)
    except Exception as error:  # mss raises what the system gave it; any of it means no picture
        raise Failure("DRIVER_FAILED", f"the desktop's picture could not be taken: {error}") from error
    if not data:
        raise Failure("DRIVER_FAILED", "the desktop's picture is empty")
    return data
