"""A partner on this machine: a real HTTP server with orders in pages, tokens and acknowledgements."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import uvicorn

from tests.integration.collector.running import free_port, until

Answer = tuple[int, dict[str, str], Any]


@dataclass
class Seen:
    """A request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Partner:
    """What it holds, and what it was asked."""

    url: str = ""
    orders: list[dict[str, Any]] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    tokens: int = 0
    gates: dict[str, threading.Event] = field(default_factory=dict)
    """A path waits until its event is set."""
    answers: dict[str, Callable[[Seen], Answer]] = field(default_factory=dict)
    """By path, over what it does else."""

    def add(self, count: int, start: int = 1, **fields: Any) -> None:
        """More orders."""
        for n in range(start, start + count):
            self.orders.append({"id": n, "registration": str(n), "at": f"2026-01-01T00:00:{n:06d}", **fields})

    def asked(self, path: str) -> list[Seen]:
        """Requests for a path."""
        return [one for one in list(self.seen) if one.path == path]

    def answer(self, one: Seen) -> Answer:
        """What it says."""
        if one.path in self.answers:
            return self.answers[one.path](one)
        if one.path == "/token":
            return self._token(one)
        if one.path in ("/secure", "/basic", "/key") and not self._knows(one):
            return 401, {}, {"error": "who are you"}
        if one.path.startswith("/ack"):
            self.acknowledged += one.body["references"] if one.body else [one.path.rpartition("/")[2]]
            return 204, {}, None
        return self._page(one)

    def _page(self, one: Seen) -> Answer:
        """Orders after `after`, `size` at a time from `offset`, with links to the next."""
        found = [order for order in self.orders if order["at"] > one.query.get("after", "")]
        offset, size = int(one.query.get("offset", "0")), int(one.query.get("size", "1000"))
        page, rest = found[offset : offset + size], found[offset + size :]
        body: dict[str, Any] = {"orders": page, "last": page[-1]["at"] if page else None}
        headers = {}
        if rest:
            query = "&".join(f"{k}={v}" for k, v in {**one.query, "offset": str(offset + size)}.items())
            headers["link"] = f'</first>; rel="first", <{one.path}?{query}>; rel="next"'
            body["next"] = f"{one.path}?{query}"
        return 200, headers, body

    def _token(self, one: Seen) -> Answer:
        expected = "Basic " + base64.b64encode(b"client%21:s3cret").decode()
        if one.headers.get("authorization") != expected:
            return 401, {}, {"error": "invalid_client"}
        self.tokens += 1
        return 200, {}, {"access_token": f"token-{self.tokens}", "token_type": "Bearer", "expires_in": 3600}

    def _knows(self, one: Seen) -> bool:
        if one.path == "/secure":
            return one.headers.get("authorization") == f"Bearer token-{self.tokens}"
        if one.path == "/basic":
            return one.headers.get("authorization") == "Basic " + base64.b64encode(b"client!:s3cret").decode()
        return one.headers.get("x-key") == "Key v4lue"


@contextmanager
def partner() -> Iterator[Partner]:
    """One that runs."""
    made, port = Partner(), free_port()
    made.url = f"http://127.0.0.1:{port}"

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        query = {name: values[-1] for name, values in parse_qs(scope["query_string"].decode()).items()}
        parsed: Any = body.decode()
        if headers.get("content-type") == "application/json" and body:
            parsed = json.loads(body)
        one = Seen(scope["method"], scope["path"], query, headers, parsed)
        made.seen.append(one)
        gate = made.gates.get(one.path)
        if gate is not None:
            await asyncio.to_thread(gate.wait, 20)
        status, more, value = made.answer(one)
        data = b"" if value is None else json.dumps(value).encode() if not isinstance(value, bytes) else value
        pairs = [(name.encode(), text.encode()) for name, text in {"content-type": "application/json", **more}.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        await send({"type": "http.response.body", "body": data})

    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, "the partner listens")
    try:
        yield made
    finally:
        for gate in made.gates.values():
            gate.set()
        server.should_exit = True
        thread.join(10)
