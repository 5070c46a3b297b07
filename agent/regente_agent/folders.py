"""What runs leave on this machine's disk, and when it goes.

Owns: REGENTE_AGENT_HOME/runs/<run> (files that scripts write) and /evidence/<run>/<seq>/<sha256>. Called by: engine.
Survives a crash: evidence, so that an act can be answered again with its proof; runs' folders go at the next start,
since their desktops are gone by then. Change also: nothing.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Iterable

from regente_agent import driver_process


class Folders:
    """The folders of one agent. Names of runs have been checked by wire.py: they are safe as names of files."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._runs, self._evidence = home / "runs", home / "evidence"

    def run(self, run: str) -> Path:
        """Where a run's scripts write."""
        return self._runs / run

    def evidence(self, run: str, seq: int) -> Path:
        """Where an instruction's evidence is kept until the server has it."""
        return self._evidence / run / str(seq)

    def clean_up(self, known: Iterable[str]) -> None:
        """After a start: what nobody can ask for any more. `known`: runs whose acts may be asked about."""
        shutil.rmtree(str(driver_process.scratch_root(self._home)), ignore_errors=True)
        shutil.rmtree(str(self._runs), ignore_errors=True)
        for folder in (self._runs, self._evidence):
            folder.mkdir(mode=0o700, exist_ok=True)
        names = set(known)
        for entry in self._evidence.iterdir():
            if entry.name not in names:
                shutil.rmtree(str(entry), ignore_errors=True)

    def remove(self, run: str) -> None:
        """A run's folders go when it ends, and when it begins anew."""
        for parent in (self._runs, self._evidence):
            shutil.rmtree(str(parent / run), ignore_errors=True)

    def forget_evidence(self, run: str, below: int) -> None:
        """Drop what belongs to instructions before an act: the server stored their replies before it sent the act."""
        folder = self._evidence / run
        for entry in folder.iterdir() if folder.is_dir() else ():
            if entry.name.isdigit() and int(entry.name) < below:
                shutil.rmtree(str(entry), ignore_errors=True)
