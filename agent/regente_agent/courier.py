"""Carries evidence that is too large for a reply: PUT to the executor, then the reply goes.

Owns: a thread. Called by: engine. Survives a crash: the files stay on disk until a later act of the run shows that the
server has stored them; asked again, they are carried again. Change also: the executor's `PUT /v1/blobs/{sha256}`.
"""

from __future__ import annotations

import queue
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

PUT_TIMEOUT_S = 30
TRIES = 3
RETRY_S = 0.5
WAITING_MAX = 100
CARRIED_MAX = 10_000

Done = Callable[[Dict[str, Any]], None]
_Parcel = Tuple[Dict[str, Any], List[Path], Optional[Tuple[str, str]], Done]


class Courier:
    """One thread that brings files over in order."""

    def __init__(self, log: Callable[..., None]) -> None:
        """`log(level, event, **facts)`"""
        self._log = log
        self._parcels: "queue.Queue[_Parcel]" = queue.Queue(WAITING_MAX)
        self._carried: Set[str] = set()
        threading.Thread(target=self._run, name="courier", daemon=True).start()

    def carry(self, body: Dict[str, Any], files: List[Path], blobs: Optional[Tuple[str, str]], done: Done) -> None:
        """Bring the files over, mark in the reply's body which could not be, then hand it to `done` (on this thread).

        When too many wait already, nothing is sent: the executor asks again.
        """
        try:
            self._parcels.put_nowait((body, files, blobs, done))
        except queue.Full:
            self._log("warning", "too much evidence waits to be carried over: a reply was left to be asked for again")

    def _run(self) -> None:
        while True:
            body, files, blobs, done = self._parcels.get()
            lost = {file.name for file in files if not self._bring(file, blobs)}
            for entry in body["evidence"]:
                entry["dropped"] = entry["dropped"] or entry["sha256"] in lost
            done(body)

    def _bring(self, file: Path, blobs: Optional[Tuple[str, str]]) -> bool:
        if file.name in self._carried:
            return True
        if blobs is None:
            self._log(
                "warning", "evidence was dropped: the instruction named no place for large evidence", sha256=file.name
            )
            return False
        for attempt in range(TRIES):
            trouble = _put(file, blobs)
            if trouble is None:
                if len(self._carried) >= CARRIED_MAX:
                    self._carried.clear()
                self._carried.add(file.name)
                return True
            time.sleep(RETRY_S * 2**attempt)
        self._log("warning", f"evidence was dropped: {trouble}", sha256=file.name)
        return False


def _put(file: Path, blobs: Tuple[str, str]) -> Optional[str]:
    """One try; what went wrong, or None."""
    url, token = blobs
    if not url.startswith(("http://", "https://")):
        return "the instruction named a place for evidence that is no web address"
    try:
        data = file.read_bytes()
        request = urllib.request.Request(
            f"{url}/v1/blobs/{file.name}",
            data=data,
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"},
            method="PUT",
        )
        with urllib.request.urlopen(request, timeout=PUT_TIMEOUT_S):  # nosec B310 - http and https only, above
            return None
    except urllib.error.HTTPError as error:
        return f"the executor answered {error.code}"
    except (OSError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
