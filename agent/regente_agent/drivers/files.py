"""Files in the run's own folder; nothing outside of it can be named.

Called by: driver.py. Survives a crash: `write` replaces a file whole or not at all. The engine removes the folder when
the run ends. Change also: the server's stub `files.pyi`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Dict, List, Optional

from regente_agent.drivers import contract
from regente_agent.drivers.contract import Failure, InDoubt, Job

TEXT_BYTES_MAX = 1_000_000
FOLDER_BYTES_MAX = 200 * 1024 * 1024
NAMES_MAX = 1_000
PATH_MAX = 500


class Files:
    """The instructions files.*"""

    def __init__(self) -> None:
        self.job: Job = None  # type: ignore[assignment]  # set by driver.py before every instruction

    @contract.act
    def write(self, path: str, text: str) -> None:
        """Write a text file, replacing it if it exists."""
        file = self._inside(path)
        data = self._room_for(text)
        part = file.with_name(file.name + ".part")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(data)
            os.replace(str(part), str(file))
        except OSError as error:
            raise _failure(path, error) from error

    @contract.act
    def append(self, path: str, text: str) -> None:
        """Add text to the end of a file."""
        file = self._inside(path)
        data = self._room_for(text)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            stream = open(str(file), "ab")  # noqa: SIM115  # what fails here is a clean error, what fails below is not
        except OSError as error:
            raise _failure(path, error) from error
        with stream:
            try:
                stream.write(data)
                stream.flush()
            except OSError as error:
                raise InDoubt("DRIVER_FAILED", f"{path}: {error.strerror}; a part may have been written") from error

    @contract.read
    def read(self, path: str) -> str:
        """The text of a file."""
        file = self._existing(path)
        try:
            size = file.stat().st_size
            if size > TEXT_BYTES_MAX:
                raise Failure("BAD_ARGUMENT", f"{path} has {size} bytes, the limit for reading is {TEXT_BYTES_MAX}")
            return file.read_bytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise Failure("BAD_ARGUMENT", f"{path} is no UTF-8 text") from error
        except OSError as error:
            raise _failure(path, error) from error

    @contract.read
    def exists(self, path: str) -> bool:
        """Whether a file exists."""
        return self._inside(path).is_file()

    @contract.read
    def list(self, path: str = ".") -> "List[str]":
        """Names in a folder, sorted; folders end in a slash."""
        folder = self._inside(path)
        if not folder.is_dir():
            raise Failure("NOT_FOUND", f"there is no folder {path}")
        names = sorted(entry.name + "/" if entry.is_dir() else entry.name for entry in folder.iterdir())
        if len(names) > NAMES_MAX:
            raise Failure("BAD_ARGUMENT", f"{path} holds {len(names)} names, the limit is {NAMES_MAX}")
        return names

    @contract.act
    def delete(self, path: str) -> None:
        """Delete a file."""
        file = self._existing(path)
        try:
            file.unlink()
        except OSError as error:
            raise _failure(path, error) from error

    @contract.act
    def keep(self, path: str, *, name: Optional[str] = None) -> Dict[str, str]:
        """Keep a file as evidence."""
        file = self._existing(path)
        return self.job.keep_file(file, name or file.name)

    def _existing(self, path: str) -> Path:
        file = self._inside(path)
        if not file.is_file():
            raise Failure("NOT_FOUND", f"there is no file {path}")
        return file

    def _inside(self, path: str) -> Path:
        """The path within the run's folder, links resolved.

        Raises: Failure BAD_ARGUMENT for what leads out of it or is no path on every system.
        """
        if not path or len(path) > PATH_MAX or any(sign in path for sign in "\0\\:") or path.startswith("/"):
            raise Failure("BAD_ARGUMENT", f"{path[:80]!r} is no relative path")
        root = Path(os.path.realpath(str(self.job.folder)))
        found = Path(os.path.realpath(str(root / path)))
        if found != root and root not in found.parents:
            raise Failure("BAD_ARGUMENT", f"{path!r} leads out of the run's folder")
        return found

    def _room_for(self, text: str) -> bytes:
        data = text.encode("utf-8", "replace")
        if len(data) > TEXT_BYTES_MAX:
            raise Failure("BAD_ARGUMENT", f"{len(data)} bytes of text are over the limit of {TEXT_BYTES_MAX}")
        used = sum(file.stat().st_size for file in self.job.folder.rglob("*") if file.is_file())
        if used + len(data) > FOLDER_BYTES_MAX:
            raise Failure("BAD_ARGUMENT", f"the run's folder is full: its limit is {FOLDER_BYTES_MAX} bytes")
        return data


def _failure(path: str, error: OSError) -> Failure:
    code = (
        "BAD_ARGUMENT"
        if isinstance(error, (IsADirectoryError, NotADirectoryError, FileExistsError))
        else "DRIVER_FAILED"
    )
    return Failure(code, f"{path}: {error.strerror or error}")
