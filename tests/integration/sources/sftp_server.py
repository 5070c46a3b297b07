"""A real SFTP server on this machine, for the tests of the pick-up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncssh

from tests.integration.collector.running import until


@dataclass
class Sftp:
    """Where it is and who it is."""

    port: int
    host_key: str
    folder: Path
    client_key: str
    """The private key of the user `keys`, under the passphrase `open`."""


class _Users(asyncssh.SSHServer):
    """robot/s3cret by password, keys by key."""

    def __init__(self, public: asyncssh.SSHKey) -> None:
        self._public = public

    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == ("robot", "s3cret")

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == "keys" and key.public_data == self._public.public_data


@contextmanager
def sftp_server(folder: Path) -> Iterator[Sftp]:
    """One that serves `folder`."""
    host, client = asyncssh.generate_private_key("ssh-ed25519"), asyncssh.generate_private_key("ssh-ed25519")
    loop, ready = asyncio.new_event_loop(), threading.Event()
    found: dict[str, asyncssh.SSHAcceptor] = {}

    async def listen() -> None:
        found["server"] = await asyncssh.listen(
            "127.0.0.1", 0, server_host_keys=[host], server_factory=lambda: _Users(client),
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(folder).encode()),
        )  # fmt: skip
        ready.set()

    async def close() -> None:
        found["server"].close()
        await found["server"].wait_closed()

    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(listen(), loop)
    until(ready.is_set, "the SFTP server listens")
    try:
        public = host.export_public_key().decode().strip()
        private = client.export_private_key("pkcs8-pem", passphrase="open").decode()
        yield Sftp(found["server"].get_port(), public, folder, private)
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
