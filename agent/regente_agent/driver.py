"""The driver process: performs one instruction at a time, in a process that may be killed at any moment.

Owns: its pipes to the supervisor, and the drivers with what they opened. Called by: driver_process, as
`python -m regente_agent.driver <pid of the supervisor>`. Survives a crash: nothing, by design; the journal is the
supervisor's. Change also: driver_process.py, the other end of the pipes.

Frames in: {"settings"} once, then jobs {"id", "name", "args", "effect", "commit", "timeout_s", "find_s", "folder",
"evidence_folder"}, and {"look": id, "wait_s"} while a job hangs and the driver is about to be killed. Frames out:
{"hello", "drivers"} once, then {"id", "outcome", "value", "error", "evidence", "matched", "context", "found_s",
"lost"}, {"seen": id, "evidence", "matched", "context"} for each look, and lines for the log {"log", "level"} at any
time.

Jobs are done by the main thread, because Playwright wants one; frames are read by another, which also looks.
"""

from __future__ import annotations

import importlib.util
import os
import queue
import sys
import threading
from pathlib import Path
from typing import IO, Any, Dict, List, Optional, Tuple

from regente_agent import frames, processes
from regente_agent.drivers.browser import Browser, find_browser
from regente_agent.drivers.contract import Failure, InDoubt, Job
from regente_agent.drivers.files import Files
from regente_agent.drivers.process import Process
from regente_agent.drivers.screen import Screen, desktop_or_none, has_desktop
from regente_agent.settings import Settings

FAILURE = "failure"
"""Name of the picture that comes with a failure."""
FAILURE_PICTURE_S = 5.0


class Desk:
    """All drivers of one process, and the way from a frame to an answer."""

    def __init__(self, settings: Settings, out: IO[bytes]) -> None:
        """`out`: where frames go."""
        self._settings, self._out = settings, out
        self._writing = threading.Lock()
        self._job: Optional[Job] = None
        self._asked: Optional[Tuple[int, float]] = None
        """The look that was asked for, and how long it may take: the driver is killed after it."""
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
        self._job = job
        answer: Dict[str, Any] = {"id": frame["id"], "outcome": "done", "value": None}
        try:
            job.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            answer["value"] = getattr(self._drivers[driver], method)(**frame["args"])
        except Exception as error:  # whatever a library raises becomes an answer: the run decides
            answer.update(self._failed(job, error))
        answer.update(evidence=job.evidence, matched=job.matched, found_s=job.found_s, lost=self._browser.is_lost)
        return answer

    def look(self, id: int, wait_s: float) -> Dict[str, Any]:
        """What there is to see within `wait_s` while a job hangs, from the reading thread; nothing is raised."""
        job = self._job
        seen: Dict[str, Any] = {"seen": id, "context": None, "evidence": [], "matched": job.matched if job else None}
        self._asked = (id, wait_s)
        if job is None:
            return seen
        try:
            seen["context"] = self._browser.context_from_beside(wait_s / 4)
            picture = self._browser.last_picture(wait_s / 2) if self._browser.is_open else desktop_or_none()
            if picture is not None:
                job.keep(FAILURE, "image/png", picture)
            else:
                seen["context"]["notes"].append("no picture could be taken in time")
        except Exception as error:  # the driver is killed next: what could be seen is told
            self._say("warning", f"not all of what hangs could be seen: {type(error).__name__}: {error}"[:300])
        seen["evidence"] = list(job.evidence)
        return seen

    def look_again(self) -> Optional[Dict[str, Any]]:
        """What there is to see from the main thread, if a look was asked for and the job ended after all: once a page's
        script is stopped, what waited for it goes on, and nobody else could take the picture then."""
        job, asked = self._job, self._asked
        if job is None or asked is None:
            return None
        answer = self._failed(job, InDoubt("TIMEOUT", ""), asked[1] / 2)
        return {"seen": asked[0], "context": answer["context"], "evidence": list(job.evidence), "matched": job.matched}

    def write(self, frame: Dict[str, Any]) -> None:
        """Send a frame, from any thread."""
        with self._writing:
            frames.write(self._out, frame)

    def _failed(self, job: Job, error: Exception, picture_s: Optional[float] = None) -> Dict[str, Any]:
        outcome, code, text = _classify(job, error)
        notes = []
        try:
            if self._browser.is_lost:
                notes.append("no picture: the browser has crashed")
            elif self._browser.is_open or has_desktop():
                may_take_s = picture_s or min(FAILURE_PICTURE_S, job.left_s())
                job.keep(FAILURE, "image/png", self._screen.picture(may_take_s))
        except Exception as second:  # the first failure is the one that counts
            notes.append(f"no picture: {second}"[:300])
        context = self._browser.context()
        context["notes"] += notes
        return {"outcome": outcome, "value": None, "error": {"code": code, "message": text}, "context": context}

    def _say(self, level: str, text: str) -> None:
        self.write({"log": text, "level": level})


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
        find_s=frame.get("find_s"),
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
    desk.write({"hello": os.getpid(), "drivers": desk.usable()})
    jobs: "queue.Queue[Optional[Dict[str, Any]]]" = queue.Queue()
    threading.Thread(target=_read, args=(inward, desk, jobs), name="frames", daemon=True).start()
    while True:
        frame = jobs.get()
        if frame is None:
            return 0
        desk.write(desk.perform(frame))
        seen = desk.look_again()
        if seen is not None:
            desk.write(seen)


def _read(inward: IO[bytes], desk: Desk, jobs: "queue.Queue[Optional[Dict[str, Any]]]") -> None:
    """Read frames until the supervisor closes the pipe; a look is answered here, because the main thread may hang."""
    frame: Optional[Dict[str, Any]] = None
    try:
        while True:
            frame = frames.read(inward)
            if frame is None:
                return
            if "look" in frame:
                desk.write(desk.look(frame["look"], frame["wait_s"]))
            else:
                jobs.put(frame)
    finally:
        jobs.put(None)


if __name__ == "__main__":
    sys.exit(main())
