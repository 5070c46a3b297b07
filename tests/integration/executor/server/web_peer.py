"""A web server of the test: real connections, and every way to fail that a real one has."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import lru_cache

MEGABYTE = 1024 * 1024
BOMB = bytes(100 * MEGABYTE)


@dataclass
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class WebPeer:
    """What it was asked, and where it is."""

    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    at_once: int = 0
    most_at_once: int = 0
    elsewhere: str = ""
    """Where /away leads."""

    def url(self, path: str, host: str = "api.test", scheme: str = "http") -> str:
        """The address of a path."""
        return f"{scheme}://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            first, *lines = head.rstrip().split("\r\n")
            headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            method, path, _ = first.split(" ")
            self.asked.append(Asked(method, path, headers, body))
            self.arrived.set()
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
            try:
                await self.answer(path.partition("?")[0], headers, writer)
            finally:
                self.at_once -= 1
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    async def answer(self, path: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> None:
        """What this path does."""
        if path in ("/hold", "/silent"):
            await self.let_go.wait()
        if path in ("/drop", "/silent"):
            return
        fixed = {
            "/garbage": b"nonsense\r\n\r\n",
            "/half": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nten bytes!",
            "/declared": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
            "/loop": b"HTTP/1.1 302 Found\r\nLocation: /loop\r\nContent-Length: 0\r\n\r\n",
            "/to": b"HTTP/1.1 303 See Other\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n",
            "/keep": b"HTTP/1.1 307 Again\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n",
            "/inside": b"HTTP/1.1 302 Found\r\nLocation: http://inside.test/\r\nContent-Length: 0\r\n\r\n",
            "/meta": b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n",
            "/file": b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\nContent-Length: 0\r\n\r\n",
            "/away": f"HTTP/1.1 307 Away\r\nLocation: {self.elsewhere}\r\nContent-Length: 0\r\n\r\n".encode(),
            "/error": b"HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops",
            "/handle": json_of('{"password": {"$secret": "portal/password"}}'),
            "/echo": json_of(json.dumps({"got": headers.get("authorization", "")})),
            "/gzip": packed(b'{"packed": true}'),
            "/bomb": packed(BOMB) if path == "/bomb" else b"",
            "/brotli": b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 3\r\n\r\nabc",
        }
        if path == "/large":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(6):
                writer.write(b"%x\r\n%s\r\n" % (MEGABYTE, b"x" * MEGABYTE))
                await writer.drain()
            writer.write(b"0\r\n\r\n")
        else:
            writer.write(fixed.get(path, json_of('{"ok": [1, 2.5, null, "é"]}')))
        await writer.drain()


def json_of(text: str) -> bytes:
    """An answer with this JSON."""
    body = text.encode()
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@lru_cache(maxsize=4)
def packed(body: bytes) -> bytes:
    """An answer that is packed although nobody asked."""
    data = gzip.compress(body)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"
    return head % len(data) + data


@asynccontextmanager
async def web_peer(tls: ssl.SSLContext | None = None) -> AsyncIterator[WebPeer]:
    """A web server while the test runs."""
    peer = WebPeer()
    connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(peer.serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        peer.let_go.set()
        server.close()
        await asyncio.gather(*connections, return_exceptions=True)
        await server.wait_closed()
