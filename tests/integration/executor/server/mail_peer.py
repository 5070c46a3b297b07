"""A mail server of the test that can fail at every point of the conversation (RFC 5321)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass
class MailPeer:
    """What it took, and how it behaves."""

    tls: ssl.SSLContext | None = None
    fault: str = ""
    """refuse-recipient, refuse-data, refuse-message, drop-before-354, drop-after-354, drop-after-message, silent."""
    login: tuple[str, str] | None = None
    port: int = 0
    sender: str = ""
    recipients: list[str] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)
    secured: bool = False
    logged_in: bool = False
    commands: list[str] = field(default_factory=list)
    received: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One conversation."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            writer.write(b"220 mail.test\r\n")
            while line := (await reader.readline()).decode().rstrip("\r\n"):
                verb = line.split(" ")[0].upper()
                self.commands.append(verb)
                if not await self.answer(verb, line, reader, writer):
                    break
                await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    async def answer(self, verb: str, line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One command; whether the conversation goes on."""
        if verb == "EHLO":
            offers = ["mail.test"] + (["STARTTLS"] if self.tls and not self.secured else [])
            offers += ["AUTH PLAIN"] if self.login else []
            lines = [f"250{' ' if n == len(offers) else '-'}{offer}\r\n" for n, offer in enumerate(offers, 1)]
            writer.write("".join(lines).encode())
        elif verb == "STARTTLS":
            writer.write(b"220 go\r\n")
            await writer.drain()
            assert self.tls is not None
            await writer.start_tls(self.tls)
            self.secured = True
        elif verb == "AUTH":
            _, user, password = base64.b64decode(line.split(" ")[2]).decode().split("\0")
            self.logged_in = (user, password) == self.login
            writer.write(b"235 ok\r\n" if self.logged_in else b"535 no, not " + password.encode() + b"\r\n")
        elif verb == "RCPT":
            self.recipients.append(line)
            refused = self.fault == "refuse-recipient" and "nobody" in line
            writer.write(b"550 no such user\r\n" if refused else b"250 ok\r\n")
        elif verb == "DATA":
            return await self.take(reader, writer)
        else:
            self.sender = line if verb == "MAIL" else self.sender
            writer.write(b"221 bye\r\n" if verb == "QUIT" else b"250 ok\r\n")
            return verb != "QUIT"
        return True

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """DATA and what follows."""
        if self.fault in ("drop-before-354", "refuse-data"):
            writer.write(b"" if self.fault == "drop-before-354" else b"451 not now\r\n")
            return self.fault == "refuse-data"
        writer.write(b"354 go on\r\n")
        await writer.drain()
        if self.fault == "drop-after-354":
            return False
        message = await reader.readuntil(b"\r\n.\r\n")
        self.received.set()
        if self.fault == "silent":
            await self.let_go.wait()
            return False
        if self.fault == "drop-after-message":
            return False
        if self.fault == "refuse-message":
            writer.write(b"554 spam\r\n")
            return True
        self.taken.append(message)
        writer.write(b"250 taken\r\n")
        return True


@asynccontextmanager
async def mail_peer(**how: object) -> AsyncIterator[MailPeer]:
    """A mail server while the test runs."""
    peer = MailPeer(**how)  # type: ignore[arg-type]
    talks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.add(asyncio.ensure_future(peer.serve(reader, writer)))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        peer.let_go.set()
        server.close()
        await asyncio.gather(*talks, return_exceptions=True)
        await server.wait_closed()
