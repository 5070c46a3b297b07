"""What every driver's instructions have in common: their effect, their errors, and the job that they work on.

Called by: all drivers, driver.py, catalogue.py. Survives a crash: evidence is on disk, synced, before an answer names
it. Change also: nothing.

Failure is a clean error: it was not done, and the script may catch it. InDoubt says that it may have been done.
Everything else that is raised within an act counts as InDoubt, within a read as Failure, with the code DRIVER_FAILED.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

Target = Dict[str, Any]
"""A named element: {"$object": name, "selectors": [...]}."""
Certificate = Dict[str, Any]
"""{"$certificate": {"pkcs12": base64, "passphrase": text, "origins": [...]}}."""

EVIDENCE_MAX = 20
EVIDENCE_BYTES_MAX = 50 * 1024 * 1024
WAIT_GRACE_S = 5.0
"""Left of an instruction's time for what follows the wait: the act itself and a failure's picture."""


class Failure(Exception):
    """It was not done."""

    def __init__(self, code: str, text: str) -> None:
        """`code`: TIMEOUT, NOT_FOUND, BAD_ARGUMENT, NOT_ALLOWED or DRIVER_FAILED."""
        super().__init__(text)
        self.code = code


class InDoubt(Failure):
    """It may have been done."""


def act(function: F) -> F:
    """Mark a method as an instruction that changes something."""
    function.effect = "act"  # type: ignore[attr-defined]
    return function


def read(function: F) -> F:
    """Mark a method as an instruction that only looks."""
    function.effect = "read"  # type: ignore[attr-defined]
    return function


@dataclass
class Job:
    """One instruction in hand."""

    name: str
    effect: str
    commit: bool
    timeout_s: float
    folder: Path
    """The run's own folder."""
    evidence_folder: Path
    """Where this instruction's evidence is kept until the server has it."""
    find_s: Optional[float] = None
    """How long to wait for an element when the script does not say."""
    began: float = field(default_factory=time.monotonic)
    found_s: Optional[float] = None
    """How long what it waited for took to appear and be ready; none as long as it did not."""
    evidence: List[Dict[str, Any]] = field(default_factory=list)
    matched: Optional[int] = None
    """Index of the selector that showed the element, if one was found."""

    def wait_s(self, asked: Optional[float], usual: Optional[float] = None) -> float:
        """How long to wait for an element: as asked, else as the server says, else `usual`.

        What is not asked for ends within the instruction's time, which is also `usual` when there is none: with some
        seconds left for the act itself, and at least a second.
        """
        if asked is not None:
            return max(0.0, asked)
        whole = max(self.timeout_s - WAIT_GRACE_S, 1.0)
        wanted = self.find_s if self.find_s is not None else usual
        return whole if wanted is None else min(wanted, whole)

    def rest_s(self, wait_s: float) -> float:
        """What is left of a wait for what is there but not ready, at least a second (unless the whole was shorter)."""
        return max(min(wait_s, 1.0), wait_s - (time.monotonic() - self.began))

    def found(self) -> None:
        """What was waited for is there."""
        self.found_s = round(time.monotonic() - self.began, 4)

    def left_s(self) -> float:
        """What is left of the instruction's time, at least a second."""
        return max(self.timeout_s - 1.0 - (time.monotonic() - self.began), 1.0)

    def keep(self, name: str, media_type: str, data: bytes) -> Dict[str, Any]:
        """Keep bytes as evidence; returns its entry."""
        self._check(len(data))
        entry = _entry(name, media_type, hashlib.sha256(data).hexdigest(), len(data))
        _write(self.evidence_folder, entry["sha256"], data)
        self.evidence.append(entry)
        return entry

    def keep_file(self, path: Path, name: str) -> Dict[str, str]:
        """Keep a file as evidence; returns what an instruction answers with."""
        self._check(path.stat().st_size)
        media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        entry = self.keep(name, media_type, path.read_bytes())
        return {key: str(entry[key]) for key in ("name", "sha256", "size_bytes", "media_type")}

    def _check(self, size_bytes: int) -> None:
        if size_bytes > EVIDENCE_BYTES_MAX:
            raise Failure("BAD_ARGUMENT", f"{size_bytes} bytes are over the limit of {EVIDENCE_BYTES_MAX} for evidence")
        if len(self.evidence) >= EVIDENCE_MAX:
            raise Failure("BAD_ARGUMENT", f"an instruction keeps at most {EVIDENCE_MAX} pieces of evidence")


def _entry(name: str, media_type: str, sha256: str, size_bytes: int) -> Dict[str, Any]:
    return {"name": name[:200], "media_type": media_type[:100], "sha256": sha256, "size_bytes": size_bytes}


def _write(folder: Path, sha256: str, data: bytes) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = folder / (sha256 + ".part")
    with open(str(part), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(str(part), str(folder / sha256))
