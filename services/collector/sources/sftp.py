"""A folder on a partner's SFTP server.

Called by: files.py. The server is who its settings say: only the host keys that stand there are accepted. The address
is checked by the rules of shared/outbound and is the one that is connected to. Nothing of the machine's own SSH set-up
counts: no agent, no configuration, no known hosts. Survives a crash: a move is one rename.
"""

from __future__ import annotations

import asyncio
import posixpath
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar

import asyncssh

from services.collector.core.files import Found
from services.collector.core.looks import Failure
from services.collector.sources.secrets import Secrets
from services.collector.sources.session import Session
from shared.intake.source_settings import SftpSettings
from shared.outbound import Refused
from shared.outbound.resolver import Resolver

LISTED_MAX = 10_000
T = TypeVar("T")


class SftpFolder:
    """One folder of an open connection."""

    def __init__(self, client: asyncssh.SFTPClient, folder: str, timeout_s: float) -> None:
        self._client = client
        self._folder = folder
        self._timeout_s = timeout_s

    async def files(self) -> list[Found]:
        """Its plain files; links are none."""
        return await self._step("listing the folder", self._list())

    async def found(self, name: str) -> Found | None:
        """One of them as it is now."""
        return await self._step(f"looking at {name}", self._found(name))

    async def read(self, name: str, size_bytes_max: int) -> bytes:
        """The first bytes of a file."""
        return await self._step(f"reading {name}", self._read(name, size_bytes_max))

    async def put(self, folder: str, name: str, data: bytes) -> None:
        """Write a file into a folder beneath."""
        await self._step(f"writing {folder}/{name}", self._put(folder, name, data))

    async def rename(self, name: str, to: str) -> None:
        """Give a file another name."""
        await self._step(f"renaming {name}", self._client.rename(self._path(name), self._path(to)))

    async def free(self, folder: str, names: Sequence[str]) -> str:
        """The first name that is not used in a folder beneath, else the last."""
        return await self._step(f"looking into {folder}", self._free(folder, names))

    async def move(self, name: str, folder: str, to: str) -> None:
        """Move a file into a folder beneath."""
        await self._step(f"moving {name} to {folder}", self._move(name, folder, to))

    async def _list(self) -> list[Found]:
        found = []
        async for entry in self._client.scandir(self._folder):
            if isinstance(entry.filename, str) and (file := _plain(entry.filename, entry.attrs)) is not None:
                found.append(file)
            if len(found) >= LISTED_MAX:
                break
        return found

    async def _found(self, name: str) -> Found | None:
        try:
            return _plain(name, await self._client.lstat(self._path(name)))
        except asyncssh.SFTPNoSuchFile:
            return None

    async def _read(self, name: str, size_bytes_max: int) -> bytes:
        async with self._client.open(self._path(name), "rb") as file:
            data = await file.read(size_bytes_max)
        return data if isinstance(data, bytes) else data.encode()

    async def _put(self, folder: str, name: str, data: bytes) -> None:
        await self._client.makedirs(self._path(folder), exist_ok=True)
        path = self._path(folder, name)
        async with self._client.open(path, "wb") as file:
            await file.write(data)

    async def _free(self, folder: str, names: Sequence[str]) -> str:
        for name in names:
            if not await self._client.lexists(self._path(folder, name)):
                return name
        return names[-1]

    async def _move(self, name: str, folder: str, to: str) -> None:
        await self._client.makedirs(self._path(folder), exist_ok=True)
        target = self._path(folder, to)
        if await self._client.lexists(target):
            await self._client.remove(target)  # as `free` said: of the same content
        await self._client.rename(self._path(name), target)

    def _path(self, *parts: str) -> str:
        return posixpath.join(self._folder, *parts)

    async def _step(self, what: str, work: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await work
        except TimeoutError:
            raise Failure(f"{what} took longer than {self._timeout_s:g} s") from None
        except (asyncssh.Error, OSError) as error:
            raise Failure(f"{what} failed: {_said(error)}") from error


def _plain(name: str, attrs: asyncssh.SFTPAttrs) -> Found | None:
    """A file as it is listed; none when it is a folder, a link or anything else."""
    if attrs.type != asyncssh.FILEXFER_TYPE_REGULAR and not stat.S_ISREG(attrs.permissions or 0):
        return None
    return Found(name, attrs.size or 0, float(attrs.mtime or 0))


def opener(resolver: Resolver, secrets: Secrets) -> Callable[[Session], AbstractAsyncContextManager[SftpFolder]]:
    """Opens the folders of sources of kind sftp."""

    @asynccontextmanager
    async def opened(session: Session) -> AsyncIterator[SftpFolder]:
        settings = session.settings
        assert isinstance(settings, SftpSettings)
        options = await _options(session, settings, resolver, secrets)
        connection = await _connected(settings, options)
        try:
            async with asyncio.timeout(settings.timeout_s):
                client = await connection.start_sftp_client()
            yield SftpFolder(client, settings.folder, settings.timeout_s)
        except TimeoutError:
            raise Failure(f"{settings.host} opened no SFTP session in time") from None
        except asyncssh.Error as error:
            raise Failure(f"{settings.host}: {_said(error)}") from error
        finally:
            connection.abort()

    return opened


async def _options(session: Session, settings: SftpSettings, resolver: Resolver, secrets: Secrets) -> dict[str, Any]:
    """How to connect. Raises: Failure."""
    user, password = await secrets.login(session.account, settings.login)
    options: dict[str, Any] = {"username": user, "known_hosts": (host_keys(settings), [], [])}
    if settings.key is not None:
        text = await secrets.text(session.account, settings.key)
        try:
            options["client_keys"] = [asyncssh.import_private_key(text, password or None)]
        except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError, ValueError) as error:
            said = "is no private key, or has another passphrase (one with a passphrase is stored as PKCS#8)"
            raise Failure(f"document {settings.key!r} {said}") from error
    else:
        options |= {"password": password, "client_keys": None}
    try:
        addresses = await resolver.addresses(settings.host, settings.port)
    except Refused as error:
        raise Failure(f"{settings.host} can't be asked: {error.message}") from error
    return {**options, "addresses": addresses}


def host_keys(settings: SftpSettings) -> list[asyncssh.SSHKey]:
    """The keys that the server may have. Raises: Failure."""
    try:
        return [asyncssh.import_public_key(text) for text in settings.host_keys]
    except (asyncssh.KeyImportError, ValueError) as error:
        raise Failure("host_keys: one of them is no public key") from error


async def _connected(settings: SftpSettings, options: dict[str, Any]) -> asyncssh.SSHClientConnection:
    """Raises: Failure."""
    addresses = options.pop("addresses")
    for n, address in enumerate(addresses):
        try:
            async with asyncio.timeout(settings.timeout_s):
                return await asyncssh.connect(
                    address, settings.port, agent_path=None, config=None, gss_host=None, x509_trusted_certs=None,
                    keepalive_interval=15, **options,
                )  # fmt: skip
        except (TimeoutError, asyncssh.Error, OSError) as error:
            if n + 1 == len(addresses):
                raise Failure(f"{settings.host} can't be reached: {_said(error)}") from error
    raise Failure(f"{settings.host} has no address")


def _said(error: BaseException) -> str:
    """An error in words that hold no secret."""
    if isinstance(error, asyncssh.HostKeyNotVerifiable):
        return "its host key is none of those in the settings"
    if isinstance(error, asyncssh.PermissionDenied):
        return "it does not accept the log-in"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, asyncssh.Error):
        return f"{error.reason}"[:200] or type(error).__name__
    return getattr(error, "strerror", None) or type(error).__name__
