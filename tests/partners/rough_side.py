"""A partner's server in bad health: slow, closing connections, answering 500 to every second call. It verifies every
webhook and keeps what came under each id."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any

from regente_client import WebhookInvalid, verify
from tests.partners.stack import Side

SLOW_S = 0.3
SLOW, CLOSING = 0.02, 0.05
"""Of the calls: answered late; not answered at all, by closing the connection."""


class RoughSide(Side):
    """By path: `/rough` answers 500 to every second call; both paths are sometimes slow and sometimes close."""

    def __init__(self, secrets: Mapping[str, str], seed: int) -> None:
        self._lock = threading.Lock()
        self._draw = random.Random(f"{seed}/side")
        self._secrets = dict(secrets)
        self.calls: Counter[str] = Counter()
        self.under_way = 0
        self.contents: dict[str, set[bytes]] = defaultdict(set)
        """Bodies by webhook-id."""
        self.ids: dict[str, set[str]] = defaultdict(set)
        """Webhook-ids by task."""
        self.taken: Counter[str] = Counter()
        """How often a task's outcome was answered 2xx."""
        self.invalid: list[str] = []
        self.cut_off = 0
        """Requests whose caller died before the end."""
        super().__init__()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Take it, or not."""
        size = int(request.headers["content-length"])
        body = request.rfile.read(size)
        if len(body) < size:  # the caller was killed while it sent; it sends again
            self.cut_off += 1
            request.close_connection = True
            return
        headers = {name.lower(): value for name, value in request.headers.items()}
        with self._lock:
            self.under_way += 1
            self.calls[request.path] += 1
            fails = request.path == "/rough" and self.calls[request.path] % 2 == 0
            fate = self._draw.random()
        try:
            task = self._read(request.path, headers, body)
            if fate < SLOW:
                time.sleep(SLOW_S)  # what is tested is a partner that takes its time
            if SLOW <= fate < SLOW + CLOSING:
                request.close_connection = True
                return
            self._respond(request, 500 if fails else 204)
            if not fails and task is not None:
                with self._lock:
                    self.taken[task] += 1
        finally:
            with self._lock:
                self.under_way -= 1

    def _read(self, path: str, headers: dict[str, str], body: bytes) -> str | None:
        try:
            event = verify(headers, body, self._secrets[path.strip("/")])
        except WebhookInvalid as error:
            with self._lock:
                self.invalid.append(str(error))
            return None
        assert event.task is not None
        with self._lock:
            self.contents[event.id].add(body)
            self.ids[event.task.id].add(event.id)
        return event.task.id

    def _respond(self, request: BaseHTTPRequestHandler, status: int) -> None:
        try:
            request.send_response(status)
            request.send_header("content-length", "0")
            request.end_headers()
        except OSError:  # the caller was killed; it asks again
            request.close_connection = True

    def summary(self) -> dict[str, Any]:
        """In figures."""
        return {"calls": dict(self.calls), "ids": len(self.contents), "taken": len(self.taken), "cut off": self.cut_off}
