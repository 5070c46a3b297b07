"""HTTP to the console (as a user) and to collector and delivery (as a partner), with errors that are one line.

Called by: every module of commands. A log-in happens once per command, when it is needed; the session is closed
afterwards.
"""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import Iterator
from functools import cached_property
from types import TracebackType
from typing import Any

import httpx

from cli.errors import Refused, Unreachable, Usage
from cli.home import Access, read_access
from shared.outbound.trust import tls_context

TIMEOUT_S = 30.0
PAGE_SIZE = 200
CA_FILE = "REGENTE_CA_FILE"
NOT_FOUND_HINT = "set REGENTE_URL and REGENTE_TOKEN, or REGENTE_HOME to the folder that holds admin.json"


def trusted() -> ssl.SSLContext:
    """The machine's authorities, and those of REGENTE_CA_FILE (`regente --ca FILE`).

    Raises: Usage when the file can't be used.
    """
    path = os.environ.get(CA_FILE, "")
    try:
        return tls_context(path)
    except (OSError, ssl.SSLError) as error:
        raise Usage(f"{CA_FILE}: {path} can't be used: {error}") from error


class Client:
    """One command's connections. Use as a context manager."""

    def __init__(self, access: Access | None = None, *, timeout_s: float = TIMEOUT_S) -> None:
        """timeout_s: of each step of a request."""
        self.access = access or read_access()
        self._http = httpx.Client(timeout=timeout_s, verify=trusted())
        self._opened: str | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._opened:
            headers = {"Authorization": f"Bearer {self._opened}"}
            with contextlib.suppress(httpx.HTTPError):  # the session ends by itself, too
                self._http.delete(f"{self._console}/session", headers=headers)
        self._http.close()

    @cached_property
    def _console(self) -> str:
        if not self.access.url:
            raise Usage(f"no installation found: {NOT_FOUND_HINT}")
        return self.access.url.rstrip("/") + "/api/v1"

    @cached_property
    def _token(self) -> str:
        if self.access.token:
            return self.access.token
        if not self.access.user or not self.access.password:
            raise Usage(f"nobody to log in as: {NOT_FOUND_HINT}")
        body = {"user": self.access.user, "password": self.access.password}
        answer = self._send("POST", f"{self._console}/session", json=body)
        self._opened = str(answer.json()["token"])
        return self._opened

    def call(self, method: str, path: str, **arguments: Any) -> Any:
        """Call the console's API; the answer's JSON, or none.

        Raises: Refused, Unreachable, Usage.
        """
        answer = self.fetch(method, path, **arguments)
        return answer.json() if answer.content else None

    def fetch(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """As call, with the answer as it came."""
        url = f"{self._console}/{path}"
        headers = {**arguments.pop("headers", {}), "Authorization": f"Bearer {self._token}"}
        return self._send(method, url, headers=headers, **arguments)

    def pages(self, path: str, limit: int, **query: Any) -> Iterator[dict[str, Any]]:
        """The first `limit` items of a list, over as many pages as it takes."""
        params = {name: value for name, value in query.items() if value is not None}
        cursor: str | None = None
        while limit > 0:
            params["limit"] = min(limit, PAGE_SIZE)
            found = self.call("GET", path, params={**params, **({"cursor": cursor} if cursor else {})})
            yield from found["items"]
            limit -= len(found["items"])
            cursor = found["next"]
            if cursor is None:
                return

    def as_partner(self, service: str, method: str, path: str, **arguments: Any) -> Any:
        """Call the collector or delivery with the partner's key.

        Raises: Refused, Unreachable, Usage.
        """
        url = self.access.collector_url if service == "collector" else self.access.delivery_url
        if not url:
            raise Usage(f"the {service}'s address is unknown: set REGENTE_{service.upper()}_URL or REGENTE_HOME")
        if not self.access.key:
            raise Usage("no partner key: set REGENTE_KEY, or make one with `regente key create`")
        headers = {"Authorization": f"Bearer {self.access.key}"}
        answer = self._send(method, f"{url.rstrip('/')}{path}", headers=headers, **arguments)
        return answer.json() if answer.content else None

    def _send(self, method: str, url: str, **arguments: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, url, **arguments)
        except httpx.InvalidURL as error:
            raise Usage(f"{url} is no address: {error}") from error
        except httpx.TransportError as error:
            origin = f"{httpx.URL(url).scheme}://{httpx.URL(url).netloc.decode()}"
            reason = str(error) or type(error).__name__
            raise Unreachable(f"{origin} does not answer ({reason}); is it running? try `regente status`") from error
        if answer.is_error:
            raise Refused(_explain(answer), answer.status_code)
        return answer


def _explain(answer: httpx.Response) -> str:
    """One line of a problem document, with the first things that are wrong."""
    try:
        problem = answer.json()
    except ValueError:
        return f"{answer.request.url} answered {answer.status_code}"
    if not isinstance(problem, dict):
        return f"{answer.request.url} answered {answer.status_code}"
    text = str(problem.get("detail") or problem.get("title") or answer.status_code)
    errors = [_error(one) for one in (problem.get("errors") or [])[:5] if isinstance(one, dict)]
    more = [one for one in errors if one and one not in text]
    return "; ".join([text, *more]).replace("\n", " ")


def _error(one: dict[str, Any]) -> str:
    where = one.get("file") or one.get("path") or one.get("loc") or ""
    if isinstance(where, list):
        where = ".".join(str(part) for part in where)
    line = f":{one['line']}" if one.get("line") else ""
    message = one.get("message") or one.get("msg") or ""
    return f"{where}{line}: {message}" if where else str(message)
