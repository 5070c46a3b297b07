"""Partners without an API: an SFTP server of the test, and an account whose endpoint is of one of these kinds."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import asyncssh
from gridfs import GridFSBucket

from shared.seal import Sealer
from tests.integration.collector.running import MASTER_KEY, Ground
from tests.integration.delivery.conftest import Account

PASSWORD = "hunter2-of-the-test"
T = TypeVar("T")


class Loop:
    """An event loop of its own, on a thread: for peers, while the test itself blocks."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        """Run something there, and wait for it."""
        return asyncio.run_coroutine_threadsafe(what, self.loop).result(20)

    def close(self) -> None:
        """Stop."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()


class SftpPeer:
    """A real SFTP server below a folder; takes one user by password or by key."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.key = asyncssh.generate_private_key("ssh-ed25519")
        self.client_key = asyncssh.generate_private_key("ssh-ed25519")
        self.port = 0
        self.logins: list[str] = []
        self.posix_rename = True
        self._server: asyncssh.SSHAcceptor | None = None

    @property
    def host_key(self) -> str:
        """As ssh-keyscan prints it."""
        return self.key.export_public_key().decode().strip()

    async def start(self) -> None:
        """Listen."""
        peer = self

        class Auth(asyncssh.SSHServer):
            def password_auth_supported(self) -> bool:
                return True

            def validate_password(self, username: str, password: str) -> bool:
                peer.logins.append("password")
                return (username, password) == ("acme", PASSWORD)

            def public_key_auth_supported(self) -> bool:
                return True

            def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
                peer.logins.append("key")
                return username == "acme" and key == peer.client_key.convert_to_public()

        class Files(asyncssh.SFTPServer):
            def __init__(self, channel: asyncssh.SSHServerChannel[bytes]) -> None:
                super().__init__(channel, chroot=str(peer.root).encode())

            def posix_rename(self, oldpath: bytes, newpath: bytes) -> None:
                if not peer.posix_rename:
                    raise asyncssh.SFTPOpUnsupported("no such extension")
                super().posix_rename(oldpath, newpath)

        self._server = await asyncssh.create_server(
            Auth, "127.0.0.1", 0, server_host_keys=[self.key], sftp_factory=Files
        )
        self.port = self._server.get_port()

    async def stop(self) -> None:
        """Close."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()


@contextmanager
def sftp_peer(loop: Loop, root: Path) -> Iterator[SftpPeer]:
    """A server that listens."""
    peer = SftpPeer(root)
    loop.run(peer.start())
    try:
        yield peer
    finally:
        loop.run(peer.stop())


def endpoint(account: Account, kind: str, **options: Any) -> None:
    """The account's endpoint `hook`, of another kind than webhook."""
    document = {
        "_id": f"{account.name}/hook", "schema_version": 1, "account": account.name, "name": "hook", "kind": kind,
        "options": options, "events": None, "enabled": True, "disabled_reason": None, "created_at": datetime.now(UTC),
    }  # fmt: skip
    account.db["endpoints"].replace_one({"_id": document["_id"]}, document, upsert=True)


def secret(account: Account, name: str, text: str) -> None:
    """A document of the account, as the console stores it."""
    id = f"{account.name}/{name}"
    content = json.dumps({"kind": "text", "text": text}).encode()
    sealed = Sealer(MASTER_KEY).seal("document", content, id.encode())
    account.db["documents"].replace_one(
        {"_id": id}, {"_id": id, "account": account.name, "name": name, "kind": "text", "sealed": sealed}, upsert=True
    )


def evidence(
    on: Ground, account: str, task: str, data: bytes, name: str = "issued", run: str = "run_1"
) -> dict[str, Any]:
    """A picture of a task, stored as the executor does; as the task lists it."""
    sha256 = hashlib.sha256(data).hexdigest()
    if on.db["evidence"].find_one({"_id": sha256}) is None:
        file = GridFSBucket(on.db, "blobs").upload_from_stream(sha256, data)
        on.db["evidence"].insert_one(
            {
                "_id": sha256,
                "file": file,
                "size_bytes": len(data),
                "media_type": "image/png",
                "created_at": datetime.now(UTC),
            }
        )
    id = f"ev_{hashlib.sha256(f'{task}{name}{sha256}'.encode()).hexdigest()[:32]}"
    shown = {"name": name, "sha256": sha256, "media_type": "image/png", "size_bytes": len(data), "dropped": False}
    on.db["evidence_links"].insert_one(
        {"_id": id, "account": account, "workflow": "tax", "task": task, "run": run, "seq": 1, "worker": "w",
         "at": datetime.now(UTC), **shown}
    )  # fmt: skip
    return {"id": id, **shown}
