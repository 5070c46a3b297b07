"""The console's HTTP API as the demo uses it: what an operator would do by hand on the pages.

Every call may be repeated without harm, so one whose answer was lost is sent again.

Owns: the calls. Called by: demo.run, demo.progress. Survives a crash: nothing lives here. Change also: demo.run when
the console's API changes.
"""

from __future__ import annotations

import base64
import ssl
from types import TracebackType
from typing import Any
from urllib.parse import quote

import httpx
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential

from demo.config import Admin

RETRY_S = 20
REQUEST_S = 15


class ConsoleError(Exception):
    """The console refused a call; the text says which and why."""


class ConsoleUnreachable(Exception):
    """The console did not answer, or is not ready."""


class Console:
    """A logged-in operator. Use as a context manager."""

    def __init__(self, admin: Admin, trust: ssl.SSLContext | bool = True) -> None:
        """`trust`: whom to believe where the console speaks TLS; true: the usual authorities."""
        self._admin = admin
        self._http = httpx.Client(base_url=f"{admin.url.rstrip('/')}/api/v1/", timeout=REQUEST_S, verify=trust)

    def __enter__(self) -> Console:
        answer = self._call("POST", "session", json={"user": self._admin.user, "password": self._admin.password})
        self._http.headers["authorization"] = f"Bearer {answer['token']}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    @property
    def account(self) -> str:
        """The demo's account."""
        return self._admin.account

    def store_certificate(self, name: str, pkcs12: bytes, passphrase: str, origin: str) -> None:
        """Store a client certificate for one origin; the value never comes back."""
        body = {
            "kind": "certificate",
            "pkcs12": base64.b64encode(pkcs12).decode(),
            "passphrase": passphrase,
            "origins": [origin],
        }
        self._call("PUT", f"documents/{self.account}/{quote(name)}", json=body)

    def store_endpoint(self, name: str, url: str, secret: str, events: list[str]) -> None:
        """Make the partner's endpoint, or set its address and secret."""
        body = {"url": url, "secret": secret, "events": events}
        self._call("PUT", f"endpoints/{self.account}/{name}", json=body)

    def publish(self, files: dict[str, str]) -> dict[str, Any]:
        """Check and publish a workflow's folder with its settings; `number` and `unchanged` are in the answer."""
        body = {"account": self.account, "files": files, "publish": True, "settings": True}
        return self._call("POST", "workflows", json=body)

    def workers(self) -> dict[str, dict[str, Any]]:
        """Every robot by its id."""
        return {identify(one): one for one in self._call("GET", "workers", params={"limit": 100})["items"]}

    def authorise(self, worker: str) -> None:
        """Let a robot work."""
        self._call("POST", f"workers/{worker}/authorise", json={"account": self.account})

    def tasks(self, batch: str) -> list[dict[str, Any]]:
        """The tasks of a batch."""
        found = self._call("GET", "tasks", params={"account": self.account, "batch": batch, "limit": 100})["items"]
        return list(found)

    def task(self, task: str) -> dict[str, Any]:
        """One task in full, with why_waiting."""
        return self._call("GET", f"tasks/{task}")

    def deliveries(self) -> list[dict[str, Any]]:
        """The account's newest deliveries."""
        return list(self._call("GET", "deliveries", params={"account": self.account, "limit": 100})["items"])

    def _call(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        retrying = Retrying(
            retry=retry_if_exception_type(ConsoleUnreachable),
            wait=wait_random_exponential(multiplier=0.2, max=3),
            stop=stop_after_delay(RETRY_S),
            reraise=True,
        )
        return retrying(self._send, method, path, arguments)

    def _send(self, method: str, path: str, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            answer = self._http.request(method, path, **arguments)
        except httpx.TransportError as error:
            raise ConsoleUnreachable(f"no answer from {self._http.base_url}{path}: {error!r}") from error
        if answer.status_code in {429, 502, 503, 504}:
            raise ConsoleUnreachable(f"{answer.status_code} from {method} {path}: {answer.text[:500]}")
        if answer.is_error:
            raise ConsoleError(f"{method} {path} was refused with {answer.status_code}: {answer.text[:2000]}")
        result: dict[str, Any] = answer.json() if answer.content else {}
        return result


def identify(document: dict[str, Any]) -> str:
    """A document's id."""
    return str(document.get("id") or document["_id"])
