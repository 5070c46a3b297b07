"""Results as files: on a partner's SFTP server, or in a folder that the administrator allows.

Called by: sender.py. Survives a crash: nothing here; a file is written under a hidden name beside its own and then
renamed, so nobody sees half of one, and its name follows from the delivery, so a repeat overwrites it with the same
bytes. Evidence that is there already is passed over, so that a repeat goes on where the last attempt stood. The
result's file is written last: when it is there, so is its evidence. A crash can leave a hidden
`.<name>.<mark>.part`, which the same process overwrites at the repeat.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import asyncssh

from services.delivery.core.outcome import Answer, attempt_record
from services.delivery.parcels import Parcels, Unusable
from shared.domain.endpoint_options import FOLDER, SFTP, FolderSettings, SftpSettings, complaints
from shared.obs.clock import monotonic_s, now
from shared.outbound import Broken, OutboundError
from shared.outbound.resolver import Resolver
from shared.outbound.ssh import host_keys, ssh
from shared.seal import SealBroken

DONE = 200
"""Status of an attempt that succeeded, as a webhook's would be."""
FOLDER_MODE, FILE_MODE = 0o750, 0o640

Write = Callable[[str, bytes], Awaitable[None]]


class Sftp:
    """Files on partners' SFTP servers."""

    def __init__(
        self, parcels: Parcels, resolver: Resolver, *, instance: str, timeout_s: float, connect_s: float
    ) -> None:
        self._parcels = parcels
        self._resolver = resolver
        self._mark = _mark(instance)
        self._timeout_s = timeout_s
        self._connect_s = connect_s

    async def attempt(self, endpoint: Mapping[str, Any], delivery: Mapping[str, Any]) -> tuple[Answer, dict[str, Any]]:
        """Write the delivery's files once."""
        return await _attempted(lambda: self._send(endpoint, delivery), self._timeout_s)

    def problem(self, fields: Mapping[str, Any]) -> list[dict[str, str]]:
        """What is wrong with an endpoint's settings."""
        settings = fields.get("options") or {}
        found = complaints(SFTP, settings)
        if not found:
            try:
                host_keys(settings["host_key"])
            except ValueError as error:
                found.append({"path": "/options/host_key", "message": str(error)})
        return found

    def close(self) -> None:
        """Let the resolver's threads go."""
        self._resolver.close()

    async def _send(self, endpoint: Mapping[str, Any], delivery: Mapping[str, Any]) -> str:
        settings = SftpSettings.model_validate(endpoint.get("options") or {})
        login = await self._parcels.login(endpoint["account"], settings.user, settings.document)
        parcel = await self._parcels.of(settings, delivery)
        async with ssh(
            self._resolver, settings.host, settings.port, login, settings.host_key, connect_s=self._connect_s
        ) as connection:
            try:
                async with connection.start_sftp_client() as client:

                    async def write(name: str, data: bytes) -> None:
                        await _upload(client, settings.folder, name, data, self._mark)

                    for proof in parcel.proofs:
                        if await _is_there(client, f"{settings.folder}/{proof.name}", proof.size_bytes):
                            continue
                        if (data := await self._parcels.bytes_of(proof)) is not None:
                            await write(proof.name, data)
                    await write(parcel.name, parcel.data)
            except asyncssh.SFTPNoSuchFile:
                raise Unusable(f"the server has no folder {settings.folder}; make it, or set another") from None
            except asyncssh.SFTPError as error:
                raise Broken(f"the server refuses the file: {type(error).__name__}", sent=True) from None
            except (asyncssh.Error, OSError):
                raise Broken("the connection broke before the file was written", sent=True) from None
        return parcel.name


class Folder:
    """Files below the folder that the administrator allows: `<root>/<account>/<path>`."""

    def __init__(self, parcels: Parcels, root: str, *, instance: str, timeout_s: float) -> None:
        """root: empty when no folder is allowed."""
        self._parcels = parcels
        self._root = Path(root).absolute() if root else None
        self._mark = _mark(instance)
        self._timeout_s = timeout_s

    async def attempt(self, endpoint: Mapping[str, Any], delivery: Mapping[str, Any]) -> tuple[Answer, dict[str, Any]]:
        """Write the delivery's files once."""
        return await _attempted(lambda: self._send(endpoint, delivery), self._timeout_s)

    def problem(self, fields: Mapping[str, Any]) -> list[dict[str, str]]:
        """What is wrong with an endpoint's settings."""
        if self._root is None:
            return [{"path": "/kind", "message": "this installation allows no folder (REGENTE_DELIVERY_FOLDER)"}]
        return complaints(FOLDER, fields.get("options"))

    def close(self) -> None:
        """Nothing is held."""

    async def _send(self, endpoint: Mapping[str, Any], delivery: Mapping[str, Any]) -> str:
        if self._root is None:
            raise Unusable("this installation allows no folder (REGENTE_DELIVERY_FOLDER)")
        settings = FolderSettings.model_validate(endpoint.get("options") or {})
        parcel = await self._parcels.of(settings, delivery)
        folder = await asyncio.to_thread(_inside, self._root, str(endpoint["account"]), settings.path)
        for proof in parcel.proofs:
            if await asyncio.to_thread(_size_of, folder / proof.name) == proof.size_bytes:
                continue
            if (data := await self._parcels.bytes_of(proof)) is not None:
                await asyncio.to_thread(_write, folder, proof.name, data, self._mark)
        await asyncio.to_thread(_write, folder, parcel.name, parcel.data, self._mark)
        return parcel.name


async def _attempted(send: Callable[[], Awaitable[str]], timeout_s: float) -> tuple[Answer, dict[str, Any]]:
    """One attempt, and what came of it."""
    at, began, said = now(), monotonic_s(), ""
    try:
        async with asyncio.timeout(timeout_s):
            said = await send()
        answer = Answer(DONE)
    except TimeoutError:
        answer = Answer(None, f"not written within {timeout_s:g} s")
    except SealBroken:
        answer = Answer(None, "the document can't be opened with this installation's master key")
    except Unusable as error:
        answer = Answer(None, f"not sent: {error}")
    except OutboundError as error:
        answer = Answer(None, error.message)
    except OSError as error:
        answer = Answer(None, f"the file can't be written: {error.strerror or type(error).__name__}")
    except ValueError as error:
        answer = Answer(None, f"not sent: the endpoint's settings can't be used: {str(error).splitlines()[0]}")
    return answer, attempt_record(answer, at=at, duration_s=monotonic_s() - began, text=said)


async def _upload(client: asyncssh.SFTPClient, folder: str, name: str, data: bytes, mark: str) -> None:
    """A file on a server: whole, or not at all."""
    hidden, own = f"{folder}/.{name}.{mark}.part", f"{folder}/{name}"
    async with client.open(hidden, "wb") as file:
        await file.write(data)
        with contextlib.suppress(asyncssh.SFTPError):  # an extension that not every server has
            await file.fsync()
    try:
        await client.posix_rename(hidden, own)
    except asyncssh.SFTPOpUnsupported:
        # Without the extension a rename does not overwrite; for a moment an earlier copy of this file is missing.
        with contextlib.suppress(asyncssh.SFTPNoSuchFile):
            await client.remove(own)
        await client.rename(hidden, own)


async def _is_there(client: asyncssh.SFTPClient, path: str, size_bytes: int) -> bool:
    """Whether an earlier attempt wrote this piece of evidence: its name follows from the delivery, and so its bytes."""
    try:
        return (await client.lstat(path)).size == size_bytes
    except asyncssh.SFTPNoSuchFile:
        return False


def _size_of(path: Path) -> int | None:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return None


def _inside(root: Path, account: str, path: str) -> Path:
    """The folder, made where it is missing.

    Raises: Unusable when a link leads out of the account's folder, or the root is missing; OSError.
    """
    if not root.is_dir():
        raise Unusable(f"the folder {root} does not exist (REGENTE_DELIVERY_FOLDER)")
    own = (root / account).resolve()
    folder = (own / path).resolve()
    if own.parent != root.resolve() or not folder.is_relative_to(own):
        raise Unusable("a link leads out of the account's folder")
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    return folder


def _write(folder: Path, name: str, data: bytes, mark: str) -> None:
    """A file in a folder: whole, or not at all, and there after a power cut."""
    hidden = folder / f".{name}.{mark}.part"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(hidden, flags, FILE_MODE), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    hidden.rename(folder / name)
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _mark(instance: str) -> str:
    return hashlib.sha256(instance.encode()).hexdigest()[:8]
