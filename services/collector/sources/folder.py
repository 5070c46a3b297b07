"""A folder on the collector's machine, beneath the account's own: nothing outside it is read, whatever a name says.

Called by: files.py. Survives a crash: a move is one rename. With several collectors on several machines the folder has
to be shared by them.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

from services.collector.core.files import Found
from services.collector.core.looks import Failure
from services.collector.sources.session import Session
from shared.intake.source_settings import FolderSettings

LISTED_MAX = 10_000
T = TypeVar("T")


class LocalFolder:
    """One folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def files(self) -> list[Found]:
        """Its plain files; links are none."""
        return await _done(lambda: _list(self._path))

    async def found(self, name: str) -> Found | None:
        """One of them as it is now."""
        return await _done(lambda: _found(self._path / name))

    async def read(self, name: str, size_bytes_max: int) -> bytes:
        """The first bytes of a file."""
        return await _done(lambda: _read(self._path / name, size_bytes_max))

    async def put(self, folder: str, name: str, data: bytes) -> None:
        """Write a file into a folder beneath."""
        await _done(lambda: _put(self._path / folder, name, data))

    async def rename(self, name: str, to: str) -> None:
        """Give a file another name."""
        await _done(lambda: os.rename(self._path / name, self._path / to))

    async def free(self, folder: str, names: Sequence[str]) -> str:
        """The first name that is not used in a folder beneath, else the last."""
        return await _done(lambda: _free(self._path / folder, names))

    async def move(self, name: str, folder: str, to: str) -> None:
        """Move a file into a folder beneath."""
        await _done(lambda: _move(self._path / name, self._path / folder, to))


def opener(root: Path) -> Callable[[Session], AbstractAsyncContextManager[LocalFolder]]:
    """Opens the folders of sources beneath <root>/<account>/."""

    @asynccontextmanager
    async def opened(session: Session) -> AsyncIterator[LocalFolder]:
        settings = session.settings
        assert isinstance(settings, FolderSettings)
        yield LocalFolder(await _done(lambda: beneath(root / session.account, settings.folder)))

    return opened


def beneath(own: Path, folder: str) -> Path:
    """A folder beneath the account's own, links followed. Raises: Failure."""
    found = (own / folder).resolve()
    if not found.is_relative_to(own.resolve()):
        raise Failure(f"the folder {folder!r} leads out of the account's own")
    if not found.is_dir():
        raise Failure(f"there is no folder {folder!r} beneath {own} on the collector's machine; make it")
    return found


async def _done(work: Callable[[], T]) -> T:
    """What `work` gives, from a thread. Raises: Failure."""
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        name = Path(str(error.filename or "")).name
        raise Failure(f"the folder: {error.strerror or type(error).__name__} ({name})") from error


def _list(path: Path) -> list[Found]:
    found = []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                state = entry.stat(follow_symlinks=False)
                found.append(Found(entry.name, state.st_size, state.st_mtime))
            if len(found) >= LISTED_MAX:
                break
    return found


def _found(path: Path) -> Found | None:
    try:
        state = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return Found(path.name, state.st_size, state.st_mtime) if stat.S_ISREG(state.st_mode) else None


def _read(path: Path, size_bytes_max: int) -> bytes:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(0, "no plain file", str(path))
        return file.read(size_bytes_max)


def _put(folder: Path, name: str, data: bytes) -> None:
    with _within(folder) as at:
        half = f".{name}.part"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with os.fdopen(os.open(half, flags, 0o644, dir_fd=at), "wb") as file:
            file.write(data)
        os.replace(half, name, src_dir_fd=at, dst_dir_fd=at)


def _free(folder: Path, names: Sequence[str]) -> str:
    with _within(folder) as at:
        return next((name for name in names if not _exists(name, at)), names[-1])


def _move(file: Path, folder: Path, to: str) -> None:
    with _within(folder) as at:
        os.rename(file, to, dst_dir_fd=at)


@contextmanager
def _within(folder: Path) -> Iterator[int]:
    """A folder, made if there is none; a link is refused, since it could lead out of the account's own."""
    folder.mkdir(exist_ok=True)
    at = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield at
    finally:
        os.close(at)


def _exists(name: str, at: int) -> bool:
    try:
        os.stat(name, dir_fd=at, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
