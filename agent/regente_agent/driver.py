"""The driver process: performs one instruction at a time, in a process that may be killed at any moment.

Owns: its pipes to the supervisor, and the drivers with what they opened. Called by: driver_process, as
`python -m regente_agent.driver <pid of the supervisor>`. Survives a crash: nothing, by design; the journal is the
supervisor's. Change also: driver_process.py, the other end of the pipes.

Frames in: {"settings"} once, then jobs {"id", "name", "args", "effect", "commit", "timeout_s", "folder",
"evidence_folder"}. Frames out: {"hello", "drivers"} once, then {"id", "outcome", "value", "error", "evidence", "page",
"lost"}, and lines for the log {"log", "level"} at any time.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from typing import IO, Any, Dict, List, Tuple

from regente_agent import frames, processes
from regente_agent.drivers.browser import Browser, find_browser
from regente_agent.drivers.contract import Failure, InDoubt, Job
from regente_agent.drivers.files import Files
from regente_agent.drivers.process import Process
from regente_agent.drivers.screen import Screen, has_desktop
from regente_agent.settings import Settings

FAILURE_PICTURE_S = 5.0


class Desk:
    """All drivers of one process, and the way from a frame to an answer."""

    def __init__(self, settings: Settings, out: IO[bytes]) -> None:
        """`out`: where frames go."""
        self._settings, self._out = settings, out
        self._browser = Browser(settings, self._say)
        self._screen = Screen(self._browser)
        self._drivers: Dict[str, Any] = {
            "browser": self._browser,
            "screen": self._screen,
            "files": Files(),
            "process": Process(settings.programs),
        }

    def usable(self) -> List[str]:
        """The drivers that have what they need on this machine."""
        found = ["files", "process"]
        if importlib.util.find_spec("playwright") is not None and find_browser(self._settings) is not None:
            found.append("browser")
        if "browser" in found or (has_desktop() and importlib.util.find_spec("mss") is not None):
            found.append("screen")
        return sorted(found)

    def perform(self, frame: Dict[str, Any]) -> Dict[str, Any]:
        """Do it and answer; nothing is raised."""
        job = _job(frame)
        driver, _, method = job.name.partition(".")
        for one in self._drivers.values():
            one.job = job
        answer: Dict[str, Any] = {"id": frame["id"], "outcome": "done", "value": None}
        try:
            job.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            answer["value"] = getattr(self._drivers[driver], method)(**frame["args"])
        except Exception as error:  # whatever a library raises becomes an answer: the run decides
            answer.update(self._failed(job, error))
        answer["evidence"] = job.evidence
        answer["lost"] = self._browser.is_lost
        return answer

    def _failed(self, job: Job, error: Exception) -> Dict[str, Any]:
        outcome, code, text = _classify(job, error)
        if self._browser.is_open and not self._browser.is_lost:
            try:
                job.keep("failure", "image/png", self._screen.picture(FAILURE_PICTURE_S))
            except Exception as second:  # the first failure is the one that counts
                self._say("warning", f"no picture of the failure: {type(second).__name__}: {second}"[:300])
        page = {} if self._browser.is_lost else self._browser.where()
        return {"outcome": outcome, "value": None, "error": {"code": code, "message": text}, "page": page}

    def _say(self, level: str, text: str) -> None:
        frames.write(self._out, {"log": text, "level": level})


def _classify(job: Job, error: Exception) -> Tuple[str, str, str]:
    if isinstance(error, InDoubt):
        return "in_doubt", error.code, str(error)
    if isinstance(error, Failure):
        return "error", error.code, str(error)
    outcome = "in_doubt" if job.effect == "act" else "error"
    return outcome, "DRIVER_FAILED", f"{type(error).__name__}: {error}"


def _job(frame: Dict[str, Any]) -> Job:
    return Job(
        name=frame["name"],
        effect=frame["effect"],
        commit=frame["commit"],
        timeout_s=frame["timeout_s"],
        folder=Path(frame["folder"]),
        evidence_folder=Path(frame["evidence_folder"]),
    )


def _private_pipes() -> Tuple[IO[bytes], IO[bytes]]:
    """Move the pipes away from stdin and stdout, where any library or child process could read or print."""
    inward, outward = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return inward, outward


def main() -> int:
    """Serve until the supervisor closes the pipe or dies."""
    processes.die_with_parent(int(sys.argv[1]))
    inward, outward = _private_pipes()
    first = frames.read(inward)
    if first is None:
        return 0
    desk = Desk(Settings.from_json(first["settings"]), outward)
    frames.write(outward, {"hello": os.getpid(), "drivers": desk.usable()})
    while True:
        frame = frames.read(inward)
        if frame is None:
            return 0
        frames.write(outward, desk.perform(frame))


if __name__ == "__main__":
    sys.exit(main())
